"""Answers of the domain become responses that say all they say."""

from dataclasses import replace

import numpy as np
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2
from rolecall_server.errors import EngineError, InvalidInputError
from rolecall_server.tasks.embed import EmbeddedInput, EmbedOutput
from rolecall_server.tasks.match import MatchedDocument, MatchOutput
from rolecall_server.tasks.models import ListedModel, ModelState
from rolecall_server.transport.convert_responses import (
    to_embed_response,
    to_match_response,
    to_model_info,
    to_server_info,
)
from rolecall_server.transport.limits import ServerFacts, ServerLimits
from rolecall_server.types import ModelInfo, ModelKey, Timing, TokenUsage

INFO = ModelInfo(
    key=ModelKey("encoder", "2"),
    precision="cpu-int8",
    weights_hash="abc",
    source="somewhere",
    licence="MIT",
    max_tokens=512,
    dimensions=4,
    languages=("en", "zh"),
    measured={"cosine_mean_en": 0.75},
)
GENERATOR = replace(
    INFO, key=ModelKey("generator", "10"), family="t5", max_tokens=500, max_new_tokens=100, dimensions=64
)
TIMING = Timing(tokenize_seconds=1.0, queue_seconds=2.0, inference_seconds=3.0, batch_size=4, padded_tokens=5)
STAMP = types_pb2.ModelStamp(name="encoder", version="2", precision="cpu-int8", weights_hash="abc")
VECTOR = np.array([0.5, -0.5, 0.5, -0.5], np.float32)


async def test_a_match_response_keeps_order_ids_and_places() -> None:
    request = pb.MatchRequest(documents=[types_pb2.Profile(id="a"), types_pb2.Profile(id="b")])
    results = (MatchedDocument(1, 0.75, TokenUsage(7, 2, 3), cache_hit=True), MatchedDocument(0, 0.5))
    response = await to_match_response(MatchOutput(results, INFO, TIMING), request, request_id="r", total_seconds=6.0)
    first, second = response.results
    assert (first.document_id, first.index, first.score, first.cache_hit) == ("b", 1, 0.75, True)
    assert first.usage == types_pb2.TokenUsage(input_tokens=7, truncated_tokens=2, chunks=3)
    assert not first.HasField("status")
    assert (second.document_id, second.index) == ("a", 0)
    assert response.request_id == "r"
    assert response.model.scoring_version
    response.model.scoring_version = ""
    assert response.model == STAMP
    assert response.timing == types_pb2.Timing(
        tokenize_seconds=1.0,
        queue_seconds=2.0,
        inference_seconds=3.0,
        total_seconds=6.0,
        batch_size=4,
        padded_tokens=5,
    )


async def test_a_failed_document_has_its_status_and_no_score() -> None:
    request = pb.MatchRequest(documents=[types_pb2.Profile(id="a")])
    results = (MatchedDocument(0, error=InvalidInputError("documents[0].text", "is empty")),)
    response = await to_match_response(MatchOutput(results, INFO, TIMING), request, request_id="r", total_seconds=0.0)
    (result,) = response.results
    assert (result.document_id, result.status.code, result.score) == ("a", code_pb2.INVALID_ARGUMENT, 0.0)
    assert result.status.message == "documents[0].text: is empty"


async def test_documents_that_failed_for_one_error_share_one_id_and_one_log_entry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = pb.MatchRequest(documents=[types_pb2.Profile()] * 3)
    error = EngineError("the batch failed")
    results = tuple(MatchedDocument(index, error=error) for index in range(3))
    response = await to_match_response(MatchOutput(results, INFO, TIMING), request, request_id="r", total_seconds=0.0)
    assert {result.status.code for result in response.results} == {code_pb2.INTERNAL}
    assert len({result.status.message for result in response.results}) == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("vector_format", "dtype"), [(pb.EMBEDDING_FORMAT_FLOAT32, "<f4"), (pb.EMBEDDING_FORMAT_FLOAT16, "<f2")]
)
async def test_embeddings_are_packed_little_endian(vector_format: pb.EmbeddingFormat, dtype: str) -> None:
    output = EmbedOutput((EmbeddedInput(VECTOR, TokenUsage(7, 0, 1), cache_hit=True),), INFO, TIMING)
    response = await to_embed_response(output, vector_format, request_id="r", total_seconds=0.0)
    (embedding,) = response.embeddings
    assert np.frombuffer(embedding.vector, dtype).tolist() == VECTOR.tolist()
    assert (embedding.index, embedding.dimensions, embedding.format) == (0, 4, vector_format)
    assert (embedding.usage.input_tokens, embedding.cache_hit) == (7, True)
    assert (response.request_id, response.model) == ("r", STAMP)


async def test_a_failed_input_keeps_its_place_among_the_embeddings() -> None:
    failed = EmbeddedInput(error=InvalidInputError("inputs[0]", "is empty"))
    output = EmbedOutput((failed, EmbeddedInput(VECTOR)), INFO, TIMING)
    response = await to_embed_response(output, pb.EMBEDDING_FORMAT_FLOAT32, request_id="r", total_seconds=0.0)
    assert [(item.index, item.status.code, len(item.vector)) for item in response.embeddings] == [
        (0, code_pb2.INVALID_ARGUMENT, 0),
        (1, code_pb2.OK, 16),
    ]


def test_a_model_is_told_in_full() -> None:
    assert to_model_info(ListedModel(INFO, ModelState.UNLOADING)) == model_pb2.ModelInfo(
        name="encoder",
        version="2",
        precision="cpu-int8",
        weights_hash="abc",
        source="somewhere",
        licence="MIT",
        max_tokens=512,
        dimensions=4,
        languages=["en", "zh"],
        measured={"cosine_mean_en": 0.75},
        state=model_pb2.MODEL_STATE_UNLOADING,
        family="encoder",
    )


def test_every_limit_is_told() -> None:
    numbers = dict(zip(ServerLimits.__dataclass_fields__, range(1, 11), strict=True))
    facts = ServerFacts("1.2.3", "fake", ServerLimits(**numbers))
    old = replace(GENERATOR, key=ModelKey("generator", "9"), max_new_tokens=7)
    models = (INFO, old, GENERATOR)
    info = to_server_info(facts, tuple(ListedModel(model, ModelState.READY) for model in models))
    assert (info.version, info.backend) == ("1.2.3", "fake")
    assert {field.name: getattr(info.limits, field.name) for field in info.limits.DESCRIPTOR.fields} == {
        **numbers,
        "max_source_tokens": 500,
        "max_new_tokens": 100,
    }
    assert [(model.name, model.family, model.max_new_tokens) for model in info.models] == [
        ("encoder", "encoder", 0),
        ("generator", "t5", 7),
        ("generator", "t5", 100),
    ]


def test_without_a_generator_nothing_is_said_of_its_limits() -> None:
    facts = ServerFacts("1.2.3", "fake", ServerLimits(1, 2, 3, 4, max_running_sequences=5))
    limits = to_server_info(facts, (ListedModel(INFO, ModelState.READY),)).limits
    assert (limits.max_source_tokens, limits.max_new_tokens, limits.max_running_sequences) == (0, 0, 0)
