"""Answers as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rolecall.v1 import matching_pb2, model_pb2, types_pb2

from rolecall_client.errors import RolecallError, from_item_status


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """Which model made an answer. The same pair on the same stamp gives the same score."""

    name: str
    version: str
    precision: str
    weights_hash: str
    tables_version: str = ""
    scoring_version: str = ""
    calibration_id: str = ""

    @classmethod
    def from_message(cls, message: types_pb2.ModelStamp) -> ModelStamp:
        return cls(*(getattr(message, name) for name in cls.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds on the server. Of a call that went in several parts: the largest of each over its parts."""

    tokenize_seconds: float = 0.0
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    total_seconds: float = 0.0
    batch_size: int = 0
    padded_tokens: int = 0

    @classmethod
    def from_messages(cls, messages: list[types_pb2.Timing]) -> Timing:
        return cls(*(max(getattr(message, name) for message in messages) for name in cls.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that reached the model over all windows, tokens that did not, windows."""

    input_tokens: int = 0
    truncated_tokens: int = 0
    chunks: int = 0

    @classmethod
    def from_message(cls, message: types_pb2.TokenUsage) -> TokenUsage:
        return cls(message.input_tokens, message.truncated_tokens, message.chunks)


@dataclass(frozen=True, slots=True)
class Match:
    """One document's result. With `error` set there is no score: `score` is NaN, where the wire says 0.

    index: position in the caller's list. message: the answer as it came, for what has no field here; an index in it
    counts within the part of the call that the document went in.
    """

    index: int
    document_id: str
    score: float
    error: RolecallError | None = None
    usage: TokenUsage = TokenUsage()
    cache_hit: bool = False
    message: matching_pb2.MatchResult | None = field(default=None, repr=False)

    @classmethod
    def from_message(cls, message: matching_pb2.MatchResult, index: int) -> Match:
        failed = message.HasField("status") and message.status.code != 0
        return cls(
            index=index,
            document_id=message.document_id,
            score=float("nan") if failed else message.score,
            error=_item_error(message, index) if failed else None,
            usage=TokenUsage.from_message(message.usage),
            cache_hit=message.cache_hit,
            message=message,
        )


def _item_error(message: matching_pb2.MatchResult, index: int) -> RolecallError:
    return from_item_status(message.status, "documents", sent=message.index, index=index)


@dataclass(frozen=True, slots=True)
class MatchResult:
    """matches: best first, ties by index, documents that failed last."""

    request_id: str
    matches: tuple[Match, ...]
    model: ModelStamp
    timing: Timing

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def __getitem__(self, rank: int) -> Match:
        return self.matches[rank]


@dataclass(frozen=True, slots=True)
class StreamedMatch:
    """One answer of a stream: `result`, or the `error` of this Match alone. index: position among the queries given."""

    index: int
    request_id: str
    result: MatchResult | None = None
    error: RolecallError | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """vectors: [n, dimensions], a row of NaN for each input in `errors`, which is by position."""

    vectors: NDArray[np.float32]
    errors: Mapping[int, RolecallError]
    model: ModelStamp | None
    usage: TokenUsage

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model version of the server's repository. state: `available`, `ready` or `unloading`. family: `encoder`, or
    that of a generator, such as `t5`. max_tokens: of the window or the prompt; max_new_tokens: of what it writes."""

    name: str
    version: str
    precision: str
    weights_hash: str
    source: str
    licence: str
    max_tokens: int
    dimensions: int
    languages: tuple[str, ...]
    measured: Mapping[str, float]
    state: str
    family: str = "encoder"
    max_new_tokens: int = 0

    @classmethod
    def from_message(cls, message: model_pb2.ModelInfo) -> ModelInfo:
        return cls(
            name=message.name,
            version=message.version,
            precision=message.precision,
            weights_hash=message.weights_hash,
            source=message.source,
            licence=message.licence,
            max_tokens=message.max_tokens,
            dimensions=message.dimensions,
            languages=tuple(message.languages),
            measured=dict(message.measured),
            state=model_pb2.ModelState.Name(message.state).removeprefix("MODEL_STATE_").lower(),
            family=message.family,
            max_new_tokens=message.max_new_tokens,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server publishes; 0 means no limit, and of the last three that no generator is loaded. Fields mean what
    they mean in the contract's ServerLimits."""

    max_message_bytes: int = 0
    max_documents: int = 0
    max_text_chars: int = 0
    max_concurrent_requests: int = 0
    max_stream_inflight: int = 0
    max_queue_tokens: int = 0
    max_batch_tokens: int = 0
    max_batch_requests: int = 0
    default_deadline_seconds: float = 0.0
    max_source_tokens: int = 0
    max_new_tokens: int = 0
    max_running_sequences: int = 0

    @classmethod
    def from_message(cls, message: model_pb2.ServerLimits) -> Limits:
        return cls(*(getattr(message, name) for name in cls.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """backend: `embedded`, `triton` or `fake`."""

    version: str
    backend: str
    limits: Limits
    models: tuple[ModelInfo, ...]

    @classmethod
    def from_message(cls, message: model_pb2.GetServerInfoResponse) -> ServerInfo:
        return cls(
            version=message.version,
            backend=message.backend,
            limits=Limits.from_message(message.limits),
            models=tuple(ModelInfo.from_message(model) for model in message.models),
        )
