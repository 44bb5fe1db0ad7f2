"""What a call can fail with: one exception class for each status code that callers handle, with its details parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAIL_TYPES = (
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.ErrorInfo,
    error_details_pb2.ResourceInfo,
    error_details_pb2.QuotaFailure,
    error_details_pb2.DebugInfo,
    error_details_pb2.Help,
    error_details_pb2.LocalizedMessage,
)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """`field` is a path in the request, for example `documents[3].text`."""

    field: str
    description: str


class RolecallError(Exception):
    """A call, or one item of a call, failed.

    code: gRPC's. message: one sentence. retry_after: seconds after which the server invites a retry, else None.
    details: the google.rpc messages that came with the status. index: position of the item in the caller's list
    where the failure is one item's.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        details: Sequence[Any] = (),
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = tuple(details)
        self.index = index

    def __str__(self) -> str:
        where = "" if self.index is None or self.field is not None else f"item {self.index}: "
        return f"{self.code.name}: {where}{self.message}"

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """Every broken field that a BadRequest among the details names."""
        return tuple(
            FieldViolation(violation.field, violation.description)
            for detail in self.details
            if isinstance(detail, error_details_pb2.BadRequest)
            for violation in detail.field_violations
        )

    @property
    def field(self) -> str | None:
        """The path of the first broken field."""
        return self.violations[0].field if self.violations else None

    @property
    def retry_after(self) -> float | None:
        for detail in self.details:
            if isinstance(detail, error_details_pb2.RetryInfo):
                return float(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)
        return None

    @property
    def reason(self) -> str | None:
        """The fixed word of an ErrorInfo among the details, for example `SHED_BEFORE_DEADLINE`."""
        return next((d.reason for d in self.details if isinstance(d, error_details_pb2.ErrorInfo)), None)


class InvalidArgumentError(RolecallError):
    """The request breaks the contract; `field` says where. Never worth a retry."""


class OverloadedError(RolecallError):
    """RESOURCE_EXHAUSTED: refused at the door, nothing ran. `retry_after` says when to come back."""


class DeadlineExceededError(RolecallError):
    """No answer within `timeout`, or the server saw beforehand that there could be none."""


class UnavailableError(RolecallError):
    """No server there, or it is starting or draining."""


class NotFoundError(RolecallError):
    """The server's repository has no such model or version."""


class FailedPreconditionError(RolecallError):
    """The model version exists and is not loaded."""


class AuthenticationError(RolecallError):
    """UNAUTHENTICATED: no or bad credentials."""


class NotPermittedError(RolecallError):
    """PERMISSION_DENIED."""


class UnimplementedError(RolecallError):
    """In the contract, not built in this server."""


class InternalError(RolecallError):
    """A bug on the server; the message holds the id to look for in its log."""


_CLASSES: dict[grpc.StatusCode, type[RolecallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: NotPermittedError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
}


def make_error(
    code: grpc.StatusCode, message: str, *, details: Sequence[Any] = (), index: int | None = None
) -> RolecallError:
    """The exception of the class that belongs to `code`."""
    return _CLASSES.get(code, RolecallError)(message, code=code, details=details, index=index)


def invalid(field: str, description: str, *, index: int | None = None) -> RolecallError:
    """What the server would answer; for what can't even be sent."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    details = (error_details_pb2.BadRequest(field_violations=[violation]),)
    return make_error(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {description}", details=details, index=index)


def from_status(status: status_pb2.Status) -> RolecallError:
    """The exception for a google.rpc.Status, as stream answers carry it."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return make_error(code, status.message, details=_unpack(status))


def from_item_status(status: status_pb2.Status, field: str, *, sent: int, index: int) -> RolecallError:
    """The exception for one item's status.

    The server counted the item as `field[sent]` in the message it got; field paths and text of the exception say
    `field[index]`, its position in the caller's list.
    """
    error = from_status(status)
    was, now = f"{field}[{sent}]", f"{field}[{index}]"
    for detail in error.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                violation.field = _moved(violation.field, was, now)
    return make_error(error.code, _moved(error.message, was, now), details=error.details, index=index)


def _moved(text: str, was: str, now: str) -> str:
    return now + text.removeprefix(was) if text.startswith(was) else text


CUT_WHILE_WRITING = "Internal error from Core"
"""What grpc.aio's own client makes of a stream that ended while it was writing; the server's status is lost then. It is
treated as the lost connection that it is most often."""


def from_rpc(error: grpc.RpcError) -> RolecallError:
    """The exception for a failed call, sync (`grpc.Call`) or asyncio (`AioRpcError`)."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        raise TypeError(f"not the error of a call: {error!r}") from error
    details: tuple[Any, ...] = ()
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS:
            details = _unpack(status_pb2.Status.FromString(value))
    code, message = error.code(), error.details() or ""
    if code is grpc.StatusCode.INTERNAL and message == CUT_WHILE_WRITING:
        code = grpc.StatusCode.UNAVAILABLE
    return make_error(code, message, details=details)


def _unpack(status: status_pb2.Status) -> tuple[Any, ...]:
    """The details as messages of their own types; those of a type unknown here stay packed."""
    unpacked = []
    for packed in status.details:
        kind = next((kind for kind in _DETAIL_TYPES if packed.Is(kind.DESCRIPTOR)), None)
        unpacked.append(packed if kind is None else kind.FromString(packed.value))
    return tuple(unpacked)
