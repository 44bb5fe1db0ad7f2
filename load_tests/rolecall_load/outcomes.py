"""What became of one request, and what a refusal says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS = "grpc-status-details-bin"
_LOCAL_DEADLINE = "Deadline Exceeded"
"""What gRPC's core says when the client's own timer ends a call."""

_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """The answer's own account of where its time went, seconds; batch sizes are those of the largest batch."""

    tokenize: float
    queue: float
    inference: float
    total: float
    batch_size: int
    padded_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response held: texts asked for, those that failed or came from the cache, tokens that the model saw."""

    texts: int
    failed: int
    cache_hits: int
    tokens: int
    timing: ServerTiming


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Kind of a status other than OK. `reason` is that of ErrorInfo; `local`: the client's own timer ended the call."""

    code: str
    reason: str = ""
    retry_info: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. Times are seconds of one monotonic clock; exactly one of `answer` and `refusal` is set."""

    intended: float
    sent: float
    finished: float
    answer: Answer | None = None
    refusal: Refusal | None = None

    @property
    def latency(self) -> float:
        """From the moment the request should have been sent: a client that falls behind hides nothing."""
        return self.finished - self.intended

    @property
    def lag(self) -> float:
        return self.sent - self.intended


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Code and details of a failed call; details that can't be read count as none."""
    code = error.code().name
    metadata = error.trailing_metadata()
    raw = metadata.get(STATUS_DETAILS) if metadata is not None else None
    if not isinstance(raw, bytes):
        return Refusal(code, local=not metadata and error.details() == _LOCAL_DEADLINE)
    status = status_pb2.Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return Refusal(code)
    info = _unpack(status, error_details_pb2.ErrorInfo())
    retry = _unpack(status, error_details_pb2.RetryInfo())
    return Refusal(code, reason=info.reason if info is not None else "", retry_info=retry is not None)


def _unpack(status: status_pb2.Status, into: _Detail) -> _Detail | None:
    """The first detail of the type of `into`, in it; None where there is none."""
    return into if any(detail.Unpack(into) for detail in status.details) else None
