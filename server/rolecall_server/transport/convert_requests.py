"""Requests of the contract -> requests of the domain. InvalidInputError where the request as a whole breaks the
contract; NotImplementedYetError where it asks for what is declared and not built, which is never silently ignored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

from rolecall_server.errors import InvalidInputError, NotImplementedYetError
from rolecall_server.tasks.embed import EmbedInput
from rolecall_server.tasks.match import MatchInput
from rolecall_server.transport.convert_fields import check_id, known
from rolecall_server.transport.convert_profiles import to_profile, to_profiles
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.types import Metric, Priority, TextKind, Truncation

_PRIORITIES: Mapping[int, Priority] = {
    types_pb2.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    types_pb2.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    types_pb2.PRIORITY_BULK: Priority.BULK,
}
_TRUNCATIONS: Mapping[int, Truncation] = {
    types_pb2.TRUNCATION_UNSPECIFIED: Truncation.CHUNK,
    types_pb2.TRUNCATION_CHUNK: Truncation.CHUNK,
    types_pb2.TRUNCATION_TRUNCATE: Truncation.TRUNCATE,
    types_pb2.TRUNCATION_REJECT: Truncation.REJECT,
}
_METRICS: Mapping[int, Metric] = {
    pb.METRIC_UNSPECIFIED: Metric.COSINE,
    pb.METRIC_COSINE: Metric.COSINE,
    pb.METRIC_DOT: Metric.DOT,
    pb.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
}
_BUILDS_EXPLANATION: Mapping[int, bool] = {
    pb.EXPLAIN_LEVEL_UNSPECIFIED: False,
    pb.EXPLAIN_LEVEL_NONE: False,
    pb.EXPLAIN_LEVEL_FACTORS: True,
    pb.EXPLAIN_LEVEL_EVIDENCE: True,
}
_EMBED_KINDS: Mapping[int, TextKind] = {
    pb.EMBED_KIND_UNSPECIFIED: TextKind.DOCUMENT,
    pb.EMBED_KIND_QUERY: TextKind.QUERY,
    pb.EMBED_KIND_DOCUMENT: TextKind.DOCUMENT,
}
_FORMATS: Mapping[int, pb.EmbeddingFormat] = {
    pb.EMBEDDING_FORMAT_UNSPECIFIED: pb.EMBEDDING_FORMAT_FLOAT32,
    pb.EMBEDDING_FORMAT_FLOAT32: pb.EMBEDDING_FORMAT_FLOAT32,
    pb.EMBEDDING_FORMAT_FLOAT16: pb.EMBEDDING_FORMAT_FLOAT16,
}


def request_id_of(request: Any) -> str:
    """The id that the client gave; empty where it gave none or the request has no such field. InvalidInputError."""
    return check_id(getattr(request, "request_id", ""), "request_id")


def priority_of(request: Any) -> Priority:
    """INTERACTIVE where the request has no such field. InvalidInputError."""
    return known(getattr(request, "priority", types_pb2.PRIORITY_UNSPECIFIED), _PRIORITIES, "priority")


async def to_match_input(request: pb.MatchRequest, limits: ServerLimits) -> MatchInput:
    """Raises for what concerns the whole request; a bad document stands as its error in its place."""
    _check_match_options(request)
    _check_count(request.documents, "documents", limits)
    min_score = request.min_score if request.HasField("min_score") else None
    if min_score is not None and not math.isfinite(min_score):
        raise InvalidInputError("min_score", "is not a finite number")
    if not request.HasField("query"):
        raise InvalidInputError("query", "is not set")
    return MatchInput(
        query=to_profile(request.query, "query", max_text_chars=limits.max_text_chars),
        documents=await to_profiles(request.documents, "documents", max_text_chars=limits.max_text_chars),
        top_k=request.top_k,
        min_score=min_score,
        metric=known(request.metric, _METRICS, "metric"),
        truncation=known(request.truncation, _TRUNCATIONS, "truncation"),
        model=check_id(request.model, "model"),
        model_version=check_id(request.model_version, "model_version"),
    )


async def to_embed_input(request: pb.EmbedRequest, limits: ServerLimits) -> EmbedInput:
    """Raises for what concerns the whole request; a bad input stands as its error in its place."""
    check_redact(redact=request.redact)
    _check_count(request.inputs, "inputs", limits)
    return EmbedInput(
        kind=known(request.kind, _EMBED_KINDS, "kind"),
        truncation=known(request.truncation, _TRUNCATIONS, "truncation"),
        model=check_id(request.model, "model"),
        model_version=check_id(request.model_version, "model_version"),
        inputs=await to_profiles(request.inputs, "inputs", max_text_chars=limits.max_text_chars),
    )


def embedding_format_of(request: pb.EmbedRequest) -> pb.EmbeddingFormat:
    """FLOAT32 or FLOAT16. InvalidInputError."""
    return known(request.format, _FORMATS, "format")


def _check_match_options(request: pb.MatchRequest) -> None:
    if known(request.explain, _BUILDS_EXPLANATION, "explain"):
        raise NotImplementedYetError("explain: only NONE is built in this version of the server")
    if request.HasField("weights"):
        raise NotImplementedYetError("weights: weights of one's own are not built in this version of the server")
    check_redact(redact=request.redact)


def check_redact(*, redact: bool) -> None:
    """NotImplementedYetError where it is asked for."""
    if redact:
        raise NotImplementedYetError("redact: redaction is not built in this version of the server")


def _check_count(items: Sequence[Any], field: str, limits: ServerLimits) -> None:
    if not items:
        raise InvalidInputError(field, "is empty")
    if len(items) > limits.max_documents:
        raise InvalidInputError(field, f"has {len(items)} entries; at most {limits.max_documents} are taken")
