"""Requests as the callers give them, and the messages made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, TypeVar

from rolecall.v1 import matching_pb2, types_pb2

from rolecall_client.profiles import ProfileLike, to_profile

Metric: TypeAlias = Literal["cosine", "dot", "euclidean"]
Truncation: TypeAlias = Literal["chunk", "truncate", "reject"]
Priority: TypeAlias = Literal["interactive", "bulk"]
EmbedKind: TypeAlias = Literal["query", "document"]

_Enum = TypeVar("_Enum", bound=int)

_METRICS = {
    "cosine": matching_pb2.METRIC_COSINE,
    "dot": matching_pb2.METRIC_DOT,
    "euclidean": matching_pb2.METRIC_EUCLIDEAN,
}
TRUNCATIONS = {
    "chunk": types_pb2.TRUNCATION_CHUNK,
    "truncate": types_pb2.TRUNCATION_TRUNCATE,
    "reject": types_pb2.TRUNCATION_REJECT,
}
PRIORITIES = {"interactive": types_pb2.PRIORITY_INTERACTIVE, "bulk": types_pb2.PRIORITY_BULK}
_KINDS = {"query": matching_pb2.EMBED_KIND_QUERY, "document": matching_pb2.EMBED_KIND_DOCUMENT}


class MatchOptions(TypedDict, total=False):
    """The optional fields of MatchQuery, as keyword arguments of `match`."""

    top_k: int
    min_score: float | None
    metric: Metric
    truncation: Truncation
    priority: Priority
    model: str
    model_version: str
    request_id: str


class EmbedOptions(TypedDict, total=False):
    """The optional fields of EmbedQuery, as keyword arguments of `embed`."""

    kind: EmbedKind
    truncation: Truncation
    priority: Priority
    model: str
    model_version: str
    request_id: str


@dataclass(frozen=True, slots=True)
class MatchQuery:
    """One Match: a query against documents.

    top_k: how many of the best to return, 0 for all. min_score: results below it are left out. model and
    model_version: empty for the server's default encoder and its newest version. request_id: made up where empty.
    """

    query: ProfileLike
    documents: Sequence[ProfileLike]
    top_k: int = 0
    min_score: float | None = None
    metric: Metric = "cosine"
    truncation: Truncation = "chunk"
    priority: Priority = "interactive"
    model: str = ""
    model_version: str = ""
    request_id: str = ""

    def to_message(self) -> matching_pb2.MatchRequest:
        """The request without its documents, which may go in several parts."""
        if self.top_k < 0:
            raise ValueError(f"top_k: {self.top_k} is negative")
        return matching_pb2.MatchRequest(
            request_id=self.request_id,
            query=to_profile(self.query, "query"),
            top_k=self.top_k,
            min_score=self.min_score,
            metric=choice("metric", self.metric, _METRICS),
            truncation=choice("truncation", self.truncation, TRUNCATIONS),
            priority=choice("priority", self.priority, PRIORITIES),
            model=self.model,
            model_version=self.model_version,
        )


@dataclass(frozen=True, slots=True)
class EmbedQuery:
    """One Embed. kind: the side of a match that the texts are on; some encoders treat the two differently."""

    inputs: Sequence[ProfileLike]
    kind: EmbedKind = "document"
    truncation: Truncation = "chunk"
    priority: Priority = "interactive"
    model: str = ""
    model_version: str = ""
    request_id: str = ""

    def to_message(self) -> matching_pb2.EmbedRequest:
        """The request without its inputs."""
        return matching_pb2.EmbedRequest(
            request_id=self.request_id,
            kind=choice("kind", self.kind, _KINDS),
            truncation=choice("truncation", self.truncation, TRUNCATIONS),
            priority=choice("priority", self.priority, PRIORITIES),
            format=matching_pb2.EMBEDDING_FORMAT_FLOAT32,
            model=self.model,
            model_version=self.model_version,
        )


def to_profiles(values: Sequence[ProfileLike], field: str) -> list[types_pb2.Profile]:
    """A Profile for each value. A lone text is refused: it would count as one document per character."""
    if isinstance(values, str | Mapping):
        raise TypeError(f"{field}: expected a sequence of profiles, not a single one")
    return [to_profile(value, f"{field}[{index}]") for index, value in enumerate(values)]


def choice(name: str, value: str, table: Mapping[str, _Enum]) -> _Enum:
    """The enum's value for a word. ValueError for a word that is none."""
    if value not in table:
        raise ValueError(f"{name}: expected one of {', '.join(table)}, not {value!r}")
    return table[value]
