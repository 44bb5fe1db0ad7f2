"""Embed on every backend."""

import numpy as np
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

TEXTS = ["a nurse", "一名护士", "ممرضة", "nurse 👩‍⚕️", "n", "Nurse. " * 40]


def test_every_input_has_its_unit_vector_in_the_order_of_the_request(server):
    response = server.embed(TEXTS, request_id="e-1")

    assert response.request_id == "e-1"
    assert [embedding.index for embedding in response.embeddings] == list(range(len(TEXTS)))
    for embedding in response.embeddings:
        vector = np.frombuffer(embedding.vector, "<f4")
        assert len(vector) == embedding.dimensions == server.model.dimensions
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert embedding.format == pb.EMBEDDING_FORMAT_FLOAT32
    backwards = server.vectors(TEXTS[::-1])
    assert np.abs(backwards[::-1] - server.vectors(TEXTS)).max() <= 1e-6


def test_different_texts_have_different_vectors(server):
    vectors = server.vectors(TEXTS)

    assert len({vector.tobytes() for vector in vectors}) == len(TEXTS)


def test_float16_is_the_same_in_half_the_bytes(server):
    response = server.embed(TEXTS, format=pb.EMBEDDING_FORMAT_FLOAT16)
    halves = np.stack([np.frombuffer(embedding.vector, "<f2") for embedding in response.embeddings])

    assert {embedding.format for embedding in response.embeddings} == {pb.EMBEDDING_FORMAT_FLOAT16}
    assert halves.shape == (len(TEXTS), server.model.dimensions)
    assert (halves == server.vectors(TEXTS).astype(np.float16)).all()


def test_a_kind_has_its_own_prefix_where_the_model_has_prefixes(server):
    document, default, query = (
        server.vectors(TEXTS, kind=kind)
        for kind in (pb.EMBED_KIND_DOCUMENT, pb.EMBED_KIND_UNSPECIFIED, pb.EMBED_KIND_QUERY)
    )

    assert (document == default).all()
    assert (document != query).any() == server.backend.prefixes


def test_a_given_embedding_comes_back_at_unit_length(server):
    given = np.arange(1, server.model.dimensions + 1, dtype="<f4")
    (embedding,) = server.embed([types_pb2.Profile(embedding=given.tobytes())]).embeddings

    assert np.frombuffer(embedding.vector, "<f4") == pytest.approx(given / np.linalg.norm(given), abs=1e-6)
    assert (embedding.usage, embedding.cache_hit) == (types_pb2.TokenUsage(), False)


def test_a_bad_input_has_its_status_in_its_place(server):
    response = server.embed(["nurse", "", "cook"])

    assert [embedding.index for embedding in response.embeddings] == [0, 1, 2]
    assert [embedding.status.code for embedding in response.embeddings] == [0, code_pb2.INVALID_ARGUMENT, 0]
    assert (response.embeddings[1].vector, response.embeddings[1].dimensions) == (b"", 0)


def test_a_text_known_from_a_match_is_not_computed_again(server, unseen):
    text = unseen("known")
    server.match("nurse", [text])
    response = server.embed([text, unseen("new")])

    assert [embedding.cache_hit for embedding in response.embeddings] == [True, False]


def test_the_stamp_names_the_model(server):
    stamp = server.embed(["a"]).model

    assert (stamp.name, stamp.version, stamp.weights_hash) == (
        server.model.name,
        server.model.version,
        server.model.weights_hash,
    )
