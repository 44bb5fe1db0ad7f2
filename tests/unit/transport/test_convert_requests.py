"""Requests of the contract become requests of the domain, or one error that says what is wrong with the whole."""

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rolecall.v1 import feedback_pb2, types_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall_server.errors import InvalidInputError, NotImplementedYetError, RolecallError
from rolecall_server.profiles import Profile
from rolecall_server.transport.convert_requests import (
    embedding_format_of,
    priority_of,
    request_id_of,
    to_embed_input,
    to_match_input,
)
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.types import Metric, Priority, TextKind, Truncation

from tests.unit.transport.messages import messages

LIMITS = ServerLimits(max_message_bytes=1 << 20, max_documents=3, max_text_chars=1000, max_stream_inflight=4)

TEXT = types_pb2.Profile(text="t")

profiles = st.lists(messages(types_pb2.Profile.DESCRIPTOR), min_size=1, max_size=3)


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that only ever lets others run."""
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value


def outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """The result, or the domain error raised instead; any other error is the test's failure."""
    try:
        return finish(work)
    except RolecallError as error:
        return error


def match_request(**fields: Any) -> pb.MatchRequest:
    return pb.MatchRequest(**({"query": TEXT, "documents": [TEXT]} | fields))


@settings(deadline=None)
@given(messages(pb.MatchRequest.DESCRIPTOR) | st.builds(lambda items: match_request(documents=items), profiles))
def test_any_match_request_converts_or_raises_a_domain_error(request: pb.MatchRequest) -> None:
    converted = outcome(to_match_input(request, LIMITS))
    if isinstance(converted, RolecallError):
        assert converted.message
        return
    assert len(converted.documents) == len(request.documents)
    for document, message in zip(converted.documents, request.documents, strict=True):
        assert isinstance(document, InvalidInputError) or document.id == message.id


@settings(deadline=None)
@given(messages(pb.EmbedRequest.DESCRIPTOR) | st.builds(lambda items: pb.EmbedRequest(inputs=items), profiles))
def test_any_embed_request_converts_or_raises_a_domain_error(request: pb.EmbedRequest) -> None:
    converted = outcome(to_embed_input(request, LIMITS))
    if isinstance(converted, RolecallError):
        assert converted.message
        return
    assert len(converted.inputs) == len(request.inputs)


def test_a_plain_match_gets_the_defaults_of_the_contract() -> None:
    converted = finish(to_match_input(match_request(), LIMITS))
    assert converted.query == Profile("query", "", "t")
    assert converted.documents == (Profile("documents[0]", "", "t"),)
    assert (converted.top_k, converted.min_score) == (0, None)
    assert (converted.metric, converted.truncation) == (Metric.COSINE, Truncation.CHUNK)
    assert (converted.model, converted.model_version) == ("", "")


def test_every_option_of_a_match_arrives() -> None:
    request = match_request(
        top_k=7,
        min_score=-0.5,
        metric=pb.METRIC_EUCLIDEAN,
        explain=pb.EXPLAIN_LEVEL_NONE,
        truncation=types_pb2.TRUNCATION_REJECT,
        model="encoder",
        model_version="3",
    )
    converted = finish(to_match_input(request, LIMITS))
    assert (converted.top_k, converted.min_score) == (7, -0.5)
    assert (converted.metric, converted.truncation) == (Metric.EUCLIDEAN, Truncation.REJECT)
    assert (converted.model, converted.model_version) == ("encoder", "3")


def test_a_min_score_of_zero_is_not_the_absence_of_one() -> None:
    assert finish(to_match_input(match_request(min_score=0.0), LIMITS)).min_score == 0.0


def test_every_option_of_an_embed_arrives() -> None:
    request = pb.EmbedRequest(
        inputs=[TEXT, types_pb2.Profile()],
        kind=pb.EMBED_KIND_QUERY,
        truncation=types_pb2.TRUNCATION_TRUNCATE,
        format=pb.EMBEDDING_FORMAT_FLOAT16,
        model="encoder",
        model_version="3",
    )
    converted = finish(to_embed_input(request, LIMITS))
    assert (converted.kind, converted.truncation) == (TextKind.QUERY, Truncation.TRUNCATE)
    assert (converted.model, converted.model_version) == ("encoder", "3")
    assert converted.inputs[0] == Profile("inputs[0]", "", "t")
    assert isinstance(converted.inputs[1], InvalidInputError)
    assert embedding_format_of(request) == pb.EMBEDDING_FORMAT_FLOAT16
    assert embedding_format_of(pb.EmbedRequest()) == pb.EMBEDDING_FORMAT_FLOAT32


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"documents": []}, "documents"),
        ({"documents": [TEXT] * 4}, "documents"),
        ({"query": None}, "query"),
        ({"query": types_pb2.Profile(id="a")}, "query"),
        ({"min_score": float("nan")}, "min_score"),
        ({"min_score": float("inf")}, "min_score"),
        ({"metric": 77}, "metric"),
        ({"truncation": 77}, "truncation"),
        ({"explain": 77}, "explain"),
        ({"model": "m" * 257}, "model"),
        ({"model_version": "1" * 257}, "model_version"),
    ],
)
def test_what_is_wrong_with_the_whole_match_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        finish(to_match_input(match_request(**fields), LIMITS))
    assert caught.value.field == path


@pytest.mark.parametrize(
    "fields",
    [
        {"explain": pb.EXPLAIN_LEVEL_FACTORS},
        {"explain": pb.EXPLAIN_LEVEL_EVIDENCE},
        {"weights": pb.ScoringWeights()},
        {"redact": True},
    ],
)
def test_what_is_not_built_is_refused_and_never_ignored(fields: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedYetError, match=next(iter(fields))):
        finish(to_match_input(match_request(**fields), LIMITS))
    if "redact" in fields:
        with pytest.raises(NotImplementedYetError, match="redact"):
            finish(to_embed_input(pb.EmbedRequest(inputs=[TEXT], redact=True), LIMITS))


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (pb.EmbedRequest(), "inputs"),
        (pb.EmbedRequest(inputs=[TEXT] * 4), "inputs"),
        (pb.EmbedRequest(inputs=[TEXT], kind=9), "kind"),
        (pb.EmbedRequest(inputs=[TEXT], truncation=9), "truncation"),
    ],
)
def test_what_is_wrong_with_the_whole_embed_is_named(request_: pb.EmbedRequest, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        finish(to_embed_input(request_, LIMITS))
    assert caught.value.field == path


def test_an_unknown_embedding_format_is_invalid() -> None:
    with pytest.raises(InvalidInputError) as caught:
        embedding_format_of(pb.EmbedRequest(format=9))
    assert caught.value.field == "format"


def test_id_and_priority_of_a_request() -> None:
    assert request_id_of(pb.MatchRequest(request_id="a")) == "a"
    assert priority_of(pb.MatchRequest()) is Priority.INTERACTIVE
    assert priority_of(pb.MatchRequest(priority=types_pb2.PRIORITY_BULK)) is Priority.BULK
    assert priority_of(feedback_pb2.RecordFeedbackRequest()) is Priority.INTERACTIVE
    with pytest.raises(InvalidInputError, match="request_id"):
        request_id_of(pb.MatchRequest(request_id="a" * 257))
    with pytest.raises(InvalidInputError, match="priority"):
        priority_of(pb.MatchRequest(priority=9))
