import numpy as np
import pytest
from google.rpc import status_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall_load.bench.embedders import DirectEncoder, Tokens, read_vectors
from rolecall_load.errors import LoadError

from tests.fixtures_models import tiny_repository


def tokens(*lengths):
    return Tokens(tuple(np.arange(1, length + 1) for length in lengths))


def test_batch_pads_at_the_right_to_the_longest():
    inputs = tokens(3, 9, 5).batch([2, 0], pad=7)
    assert inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 7, 7]]
    assert inputs["attention_mask"].sum(axis=1).tolist() == [5, 3]


def test_vectors_of_an_answer():
    vector = np.array([0.6, 0.8], "<f4")
    response = pb.EmbedResponse(embeddings=[pb.Embedding(vector=vector.tobytes())] * 2)
    assert read_vectors(response).tolist() == [vector.tolist()] * 2


def test_a_failed_item_is_no_vector():
    failed = pb.Embedding(index=1, status=status_pb2.Status(code=3, message="too long"))
    with pytest.raises(LoadError, match="input 1 was not embedded: too long"):
        read_vectors(pb.EmbedResponse(embeddings=[pb.Embedding(vector=b"\0" * 4), failed]))


def test_a_repository_without_a_version(tmp_path):
    with pytest.raises(LoadError, match="holds no exported version"):
        DirectEncoder(tmp_path)


def test_direct_run_gives_vectors_in_the_order_of_the_texts(tmp_path):
    encoder = DirectEncoder(tiny_repository(tmp_path), threads=1, batch_size=3)
    texts = ["a longer text about welding", "b", "middle size", "护士", "five", "six words are not enough here"]
    together = encoder.embed(texts, "document")
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(encoder.embed([text], "document")[0], vector)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0)
    assert encoder.preset == "cpu-fp32"


def test_direct_run_puts_the_prefix_of_the_kind(tmp_path):
    encoder = DirectEncoder(tiny_repository(tmp_path), threads=1)
    assert not np.array_equal(encoder.embed(["x"], "query"), encoder.embed(["x"], "document"))
    assert np.array_equal(
        encoder.embed(["x"], "query"), encoder.run(encoder.inputs(encoder.tokenize(["x"], "query"), [0]))
    )


def test_direct_run_cuts_at_the_models_limit(tmp_path):
    encoder = DirectEncoder(tiny_repository(tmp_path, max_tokens=20), threads=1)
    assert [len(ids) for ids in encoder.tokenize(["x" * 500, "x"], "query").ids] == [20, len("query: x") + 2]


def test_the_newest_version_is_taken(tmp_path):
    tiny_repository(tmp_path, "9", manifest={"preset": "old"})
    tiny_repository(tmp_path, "10", manifest={"preset": "new"})
    assert DirectEncoder(tmp_path, threads=1).preset == "new"
