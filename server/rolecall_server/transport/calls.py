"""One RPC as its implementation sees it: its deadline, its requests' contexts and, for streams, its messages."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from rolecall_server.errors import DeadlinePassedError, EngineError, InvalidInputError
from rolecall_server.transport.convert_requests import priority_of, request_id_of
from rolecall_server.transport.hooks import RpcObserver
from rolecall_server.transport.inflight import InflightCalls
from rolecall_server.types import RequestContext

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

_GRACE_SECONDS = 0.02
"""A deadline is enforced here so much later, because whoever holds the request knows better what became of it."""


class MalformedMessage:
    """Stands for bytes that are no message; a deserializer that raises would be answered UNKNOWN by grpc.aio."""


MALFORMED = MalformedMessage()


class MessageParser:
    """A request deserializer that never raises."""

    def __init__(self, message_type: type[Message]) -> None:
        self._parse = message_type.FromString

    def __call__(self, data: bytes) -> Message | MalformedMessage:
        try:
            return self._parse(data)
        except DecodeError:
            return MALFORMED


def checked(message: Any) -> Any:
    """The message, unless it stands for bytes that are none: InvalidInputError."""
    if message is MALFORMED:
        raise InvalidInputError("", "the bytes received are not a message of this method")
    return message


async def settle(work: Awaitable[T], deadline: float) -> T:
    """Wait for `work` until `deadline` (seconds of `time.monotonic`), then cancel it. DeadlinePassedError.

    A cancellation that nobody asked for comes from a future cancelled inside: EngineError, since grpc.aio would
    leave the client without an answer.
    """
    try:
        async with asyncio.timeout_at(None if math.isinf(deadline) else deadline + _GRACE_SECONDS) as scope:
            return await work
    except TimeoutError as error:
        if scope.expired():
            raise DeadlinePassedError from error
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise EngineError("the work on a request was cancelled from inside") from error


class Call:
    """An RPC, or one message of a stream.

    deadline: the client's, in seconds of `time.monotonic`; None where it gave none, and each request then has
    `default_seconds` from its arrival. request_id: that of its one request, once it is known. code: the name of the
    status it ends with.
    """

    __slots__ = ("code", "deadline", "default_seconds", "method", "request_id", "started")

    def __init__(self, method: str, deadline: float | None, default_seconds: float) -> None:
        self.method = method
        self.started = time.monotonic()
        self.deadline = deadline
        self.default_seconds = default_seconds
        self.request_id = ""
        self.code = grpc.StatusCode.OK.name

    def context_for(self, request: Any) -> RequestContext:
        """The context of its request: its own id or a new one. InvalidInputError for a bad id or priority."""
        self.request_id = request_id_of(request) or uuid.uuid4().hex
        deadline = time.monotonic() + self.default_seconds if self.deadline is None else self.deadline
        return RequestContext(self.request_id, deadline, priority_of(request))

    def seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self.started

    @contextmanager
    def noting_cancellation(self) -> Iterator[None]:
        """The client went away, or its deadline passed: grpc.aio cancels the task, and with it all its work."""
        try:
            yield
        except asyncio.CancelledError:
            late = self.deadline is not None and time.monotonic() >= self.deadline
            self.code = (grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED).name
            raise

    @contextmanager
    def reported(self, observer: RpcObserver) -> Iterator[None]:
        """Tell of it as of one request."""
        observer.on_rpc_started(self.method)
        try:
            with self.noting_cancellation():
                yield
        finally:
            observer.on_rpc_done(self.method, self.code, seconds=self.seconds(), request_id=self.request_id)

    @contextmanager
    def reported_if_failed(self, observer: RpcObserver) -> Iterator[None]:
        """Tell of it as of a stream, each of whose messages is reported by itself."""
        try:
            with self.noting_cancellation():
                yield
        finally:
            if self.code != grpc.StatusCode.OK.name:
                observer.on_stream_failed(self.method, self.code, seconds=self.seconds())


class MessageStream(Generic[RequestT, ResponseT]):
    """The messages of a streaming RPC."""

    def __init__(
        self,
        call: Call,
        grpc_context: "grpc.aio.ServicerContext[Any, Any]",
        *,
        inflight: InflightCalls,
        observer: RpcObserver,
    ) -> None:
        self._call = call
        self._grpc_context = grpc_context
        self._inflight = inflight
        self._observer = observer
        self._sending = asyncio.Lock()

    @contextmanager
    def message(self) -> Iterator[Call]:
        """One message received, as a request: from here to the end of the block, reported with the code set in it."""
        call = Call(self._call.method, self._call.deadline, self._call.default_seconds)
        with call.reported(self._observer):
            yield call

    async def receive(self) -> RequestT | None:
        """The next message, None after the last. InvalidInputError for a malformed one, UnavailableError on a drain."""
        self._inflight.check()
        read = asyncio.ensure_future(self._grpc_context.read())
        try:
            await asyncio.wait((read, self._inflight.draining), return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                self._inflight.check()
            message = read.result()
        finally:
            read.cancel()
        return None if message is grpc.aio.EOF else checked(message)

    async def messages(self) -> AsyncIterator[RequestT]:
        while (message := await self.receive()) is not None:
            yield message

    async def send(self, message: ResponseT) -> None:
        """Send one message, after those that others are sending. Returns quietly when the client is gone."""
        async with self._sending:
            try:
                await self._grpc_context.write(message)
            except grpc.aio.InternalError:
                # The transport is broken. grpc.aio cancels the whole RPC in a moment, and nobody is left to tell.
                return
