"""The one status table: which code and which google.rpc details each error gets at the edge.

Inside the server errors are those of the domain; nothing else in the gateway decides about a gRPC status.
"""

import logging
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from rolecall_server.errors import (
    DeadlineError,
    DeadlinePassedError,
    InvalidInputError,
    ModelNotFoundError,
    ModelNotLoadedError,
    NotImplementedYetError,
    NotPermittedError,
    OverloadedError,
    RolecallError,
    UnavailableError,
)

DOMAIN = "rolecall"
SHED_BEFORE_DEADLINE = "SHED_BEFORE_DEADLINE"
INTERNAL_ERROR = "INTERNAL_ERROR"
DETAILS_KEY = "grpc-status-details-bin"

_MESSAGE_CHARS = 1024
"""Longer messages are cut: a status travels in HTTP headers, and clients refuse more than 8 KiB of these."""

_LOGGED_FRAMES = 12

logger = logging.getLogger(__name__)


class UnknownServiceError(RolecallError):
    """Health was asked about a service that this server does not have."""

    def __init__(self) -> None:
        super().__init__("this server has no such service")


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """A gRPC status with its details, ready to be sent as the end of an RPC or as the status of one item."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...] = ()

    def to_proto(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The details as clients look for them; nothing where there are none."""
        return ((DETAILS_KEY, self.to_proto().SerializeToString()),) if self.details else ()


_Details: TypeAlias = Callable[[Any], tuple[Message, ...]]


def _none(_: RolecallError) -> tuple[Message, ...]:
    return ()


def _bad_request(error: InvalidInputError) -> tuple[Message, ...]:
    if not error.field:
        return ()
    violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
    return (error_details_pb2.BadRequest(field_violations=[violation]),)


def _quota(error: OverloadedError) -> tuple[Message, ...]:
    if error.reason != "quota":
        return ()
    violation = error_details_pb2.QuotaFailure.Violation(subject="tenant", description=error.message)
    return (error_details_pb2.QuotaFailure(violations=[violation]),)


def _shed(_: DeadlineError) -> tuple[Message, ...]:
    return (error_details_pb2.ErrorInfo(reason=SHED_BEFORE_DEADLINE, domain=DOMAIN),)


def _model(error: ModelNotFoundError | ModelNotLoadedError) -> tuple[Message, ...]:
    return (error_details_pb2.ResourceInfo(resource_type="model", resource_name=error.resource),)


STATUS_TABLE: Mapping[type[RolecallError], tuple[grpc.StatusCode, _Details]] = {
    InvalidInputError: (grpc.StatusCode.INVALID_ARGUMENT, _bad_request),
    NotPermittedError: (grpc.StatusCode.PERMISSION_DENIED, _none),
    OverloadedError: (grpc.StatusCode.RESOURCE_EXHAUSTED, _quota),
    DeadlineError: (grpc.StatusCode.DEADLINE_EXCEEDED, _shed),
    DeadlinePassedError: (grpc.StatusCode.DEADLINE_EXCEEDED, _none),
    UnavailableError: (grpc.StatusCode.UNAVAILABLE, _none),
    ModelNotFoundError: (grpc.StatusCode.NOT_FOUND, _model),
    ModelNotLoadedError: (grpc.StatusCode.FAILED_PRECONDITION, _model),
    UnknownServiceError: (grpc.StatusCode.NOT_FOUND, _none),
    NotImplementedYetError: (grpc.StatusCode.UNIMPLEMENTED, _none),
}
"""Domain error -> code and details; a RetryInfo joins them wherever the error says when to retry.

What is not here, EngineError included, is our own fault: INTERNAL with an id, and the rest goes to the log.
"""


def status_of(error: BaseException) -> RpcStatus:
    """The status of an error. For one that is our own fault: logs it under a new id, and only the id goes out."""
    if isinstance(error, RolecallError):
        for kind in type(error).__mro__:
            if kind in STATUS_TABLE:
                code, details_of = STATUS_TABLE[kind]
                return RpcStatus(code, error.message[:_MESSAGE_CHARS], details_of(error) + _retry(error.retry_after))
    return _internal(error)


def to_proto(error: BaseException) -> status_pb2.Status:
    """The status of one item of a request."""
    return status_of(error).to_proto()


def _retry(seconds: float | None) -> tuple[Message, ...]:
    if seconds is None:
        return ()
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromNanoseconds(round(seconds * 1e9))
    return (retry,)


def _internal(error: BaseException) -> RpcStatus:
    error_id = uuid.uuid4().hex
    logger.error("internal error %s: %s", error_id, _describe(error), extra={"error_id": error_id})
    info = error_details_pb2.ErrorInfo(reason=INTERNAL_ERROR, domain=DOMAIN, metadata={"error_id": error_id})
    return RpcStatus(grpc.StatusCode.INTERNAL, f"internal error {error_id}", (info,))


def _describe(error: BaseException) -> str:
    """Types and frames of an error and its causes. No messages but our own: foreign ones may hold a user's text."""
    return ", caused by ".join(_describe_one(link) for link in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _describe_one(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    message = f" ({error.message})" if isinstance(error, RolecallError) else ""
    frames = [
        f"{PurePath(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return f"{name}{message} at {' > '.join(frames[-_LOGGED_FRAMES:]) or 'an unknown place'}"
