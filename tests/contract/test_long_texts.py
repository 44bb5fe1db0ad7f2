"""Texts longer than the window, on every backend: cut into windows, cut off, or refused; always with what it cost."""

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

from tests.servers import details_of, field_of, unpacked

SENTENCE = "She led a team of nine engineers and shipped a product that people liked. "
CHUNK, TRUNCATE, REJECT = types_pb2.TRUNCATION_CHUNK, types_pb2.TRUNCATION_TRUNCATE, types_pb2.TRUNCATION_REJECT


def usage(server, text, truncation):
    (embedding,) = server.embed([text], truncation=truncation).embeddings
    return embedding.usage


@pytest.fixture(params=["en", "zh"])
def long_text(request, server):
    """More than two windows of any of the encoders."""
    sentence = SENTENCE if request.param == "en" else "她带领一个九人的工程师团队，交付了一款大家喜欢的产品。"
    return sentence * (3 * server.model.max_tokens // 16)


def test_short_texts_are_one_window_however_they_are_treated(server):
    found = [usage(server, SENTENCE, truncation) for truncation in (0, CHUNK, TRUNCATE, REJECT)]

    assert all(each == found[0] for each in found)
    assert (found[0].chunks, found[0].truncated_tokens) == (1, 0)
    assert 0 < found[0].input_tokens <= server.model.max_tokens


def test_chunk_is_the_default_and_loses_nothing(server, long_text):
    whole = usage(server, long_text, CHUNK)
    head = usage(server, long_text, TRUNCATE)

    assert usage(server, long_text, types_pb2.TRUNCATION_UNSPECIFIED) == whole
    assert whole.chunks > 2
    assert whole.truncated_tokens == 0
    assert (head.chunks, head.input_tokens) == (1, server.model.max_tokens)
    # Each window after the first repeats the special tokens and the prefix; the text's own tokens are all there.
    repeated = whole.input_tokens - head.input_tokens - head.truncated_tokens
    assert repeated % (whole.chunks - 1) == 0
    assert 2 <= repeated // (whole.chunks - 1) <= 16


def test_the_end_of_a_long_text_counts_under_chunk_only(server, long_text):
    texts = [long_text, long_text + "x" * 500]
    chunked, cut = (server.vectors(texts, truncation=truncation) for truncation in (CHUNK, TRUNCATE))

    assert not np.allclose(chunked[0], chunked[1])
    assert (cut[0] == cut[1]).all()
    assert np.linalg.norm(chunked, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_reject_fails_the_document_alone(server, long_text):
    response = server.match("engineer", [SENTENCE, long_text], truncation=REJECT)
    good, bad = response.results

    assert (good.index, good.HasField("status")) == (0, False)
    assert (bad.index, bad.status.code) == (1, code_pb2.INVALID_ARGUMENT)
    assert field_of(unpacked(bad.status)) == "documents[1].text"
    (embedding,) = server.embed([long_text], truncation=REJECT).embeddings
    assert field_of(unpacked(embedding.status)) == "inputs[0].text"


def test_reject_of_the_query_ends_the_request(server, long_text):
    with pytest.raises(grpc.RpcError) as caught:
        server.match(types_pb2.Profile(job=types_pb2.Job(description=long_text)), [SENTENCE], truncation=REJECT)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(details_of(caught.value)) == "query.job"


def test_how_a_text_was_cut_is_not_mixed_up_in_the_cache(server, long_text):
    for _ in range(2):
        (embedding,) = server.embed([long_text], truncation=REJECT).embeddings
        assert embedding.status.code == code_pb2.INVALID_ARGUMENT
        assert usage(server, long_text, TRUNCATE).truncated_tokens > 0
        assert usage(server, long_text, CHUNK).truncated_tokens == 0


def test_the_usage_of_a_match_is_that_of_an_embed(server, long_text):
    (embedding,) = server.embed([long_text], kind=pb.EMBED_KIND_DOCUMENT).embeddings
    (result,) = server.match("engineer", [long_text]).results

    assert result.usage == embedding.usage
