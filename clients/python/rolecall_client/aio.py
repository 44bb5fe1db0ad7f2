"""The asyncio client. What each method does is documented at the synchronous one."""

# ruff: noqa: ASYNC109 (a timeout here becomes the deadline of a gRPC call, which the server sees, too)

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, Unpack, overload

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from rolecall.v1 import generation_pb2_grpc, matching_pb2, matching_pb2_grpc, model_pb2_grpc

from rolecall_client.base import ClientBase, seconds_left
from rolecall_client.channel import Option
from rolecall_client.errors import DeadlineExceededError, RolecallError, UnavailableError, from_rpc
from rolecall_client.generation import GenerateOptions, GenerateQuery, Generation
from rolecall_client.health import RECONNECT_DELAY, Health, not_serving_in_time, to_health
from rolecall_client.operations import Call, Operation, T, raise_first
from rolecall_client.profiles import ProfileLike
from rolecall_client.requests import EmbedOptions, EmbedQuery, MatchOptions, MatchQuery
from rolecall_client.results import Embeddings, MatchResult, ModelInfo, ServerInfo, StreamedMatch
from rolecall_client.splitting import PARALLEL_PARTS
from rolecall_client.streaming import DEFAULT_STREAM_TIMEOUT, StreamBook, ended_early, in_order
from rolecall_client.text_stream import AsyncTextStream

_Outbox: TypeAlias = "asyncio.Queue[matching_pb2.MatchStreamRequest | None]"


class AsyncClient(ClientBase):
    """Rolecall over one channel, for one event loop; make it inside the loop."""

    def _connect(self, credentials: grpc.ChannelCredentials | None, options: Sequence[Option]) -> None:
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self.address, credentials, options=options)
        self._matching = matching_pb2_grpc.MatchingServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self._generation = generation_pb2_grpc.GenerationServiceStub(self._channel)
        models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._methods: Mapping[str, Any] = {
            "Match": self._matching.Match,
            "Embed": self._matching.Embed,
            "Generate": self._generation.Generate,
            "GetServerInfo": models.GetServerInfo,
            "ListModels": models.ListModels,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def match(
        self,
        query: ProfileLike,
        documents: Sequence[ProfileLike],
        *,
        timeout: float | None = None,
        **options: Unpack[MatchOptions],
    ) -> MatchResult:
        """Rank any number of documents for a query. options: see MatchQuery."""
        return await self._run(self._session.match(MatchQuery(query, documents, **options)), timeout)

    async def match_stream(
        self, queries: Iterable[MatchQuery] | AsyncIterable[MatchQuery], *, timeout: float = DEFAULT_STREAM_TIMEOUT
    ) -> AsyncIterator[StreamedMatch]:
        """Pipelined bulk matching, answers as they come. Close it (contextlib.aclosing) to leave it early."""
        deadline = time.monotonic() + timeout
        info = await self._run(self._session.known_info(), timeout)
        book = StreamBook(info, self._session.max_message_bytes, retry_delay=self._message_delays(deadline))
        source = aiter(queries) if isinstance(queries, AsyncIterable) else _to_async(queries)
        while True:
            outbox: _Outbox = asyncio.Queue()
            call = self._matching.MatchStream(
                _until_none(outbox), timeout=seconds_left(deadline), metadata=self._metadata
            )
            answers = aiter(call)
            try:
                async for outcome in _pump(book, source, outbox, answers):
                    yield outcome
                await _end(outbox, answers)
            except grpc.RpcError as error:
                book.cut(from_rpc(error))
            except UnavailableError as error:
                book.cut(error)
            else:
                return
            finally:
                outbox.put_nowait(None)
                call.cancel()

    @overload
    async def match_many(
        self,
        queries: Iterable[MatchQuery] | AsyncIterable[MatchQuery],
        *,
        errors: Literal["raise"] = ...,
        timeout: float = ...,
    ) -> list[MatchResult]: ...
    @overload
    async def match_many(
        self,
        queries: Iterable[MatchQuery] | AsyncIterable[MatchQuery],
        *,
        errors: Literal["keep"],
        timeout: float = ...,
    ) -> list[MatchResult | RolecallError]: ...
    async def match_many(
        self,
        queries: Iterable[MatchQuery] | AsyncIterable[MatchQuery],
        *,
        errors: Literal["raise", "keep"] = "raise",
        timeout: float = DEFAULT_STREAM_TIMEOUT,
    ) -> Sequence[MatchResult | RolecallError]:
        """match_stream, in the order of the queries. errors: raise the first, or keep each in its place."""
        return in_order([outcome async for outcome in self.match_stream(queries, timeout=timeout)], errors)

    @overload
    async def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["raise"] = ...,
        timeout: float | None = ...,
        **options: Unpack[EmbedOptions],
    ) -> NDArray[np.float32]: ...
    @overload
    async def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["keep"],
        timeout: float | None = ...,
        **options: Unpack[EmbedOptions],
    ) -> Embeddings: ...
    async def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["raise", "keep"] = "raise",
        timeout: float | None = None,
        **options: Unpack[EmbedOptions],
    ) -> NDArray[np.float32] | Embeddings:
        """The embeddings of any number of texts, [n, dimensions], of unit length. options: see EmbedQuery."""
        embeddings = await self._run(self._session.embed(EmbedQuery(texts, **options)), timeout)
        return embeddings if errors == "keep" else raise_first(embeddings)

    async def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """Write a text after a prompt. options: see GenerateQuery."""
        return await self._run(self._session.generate(GenerateQuery(prompt, **options)), timeout)

    def generate_stream(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> AsyncTextStream:
        """The same, piece by piece as it is written: `async for` over it, and close it to leave it early."""
        request = GenerateQuery(prompt, **options).to_stream_message()
        self._session.check_size(request)
        deadline = time.monotonic() + self._limit(timeout)
        return AsyncTextStream(
            lambda: self._generation.GenerateStream(request, timeout=seconds_left(deadline), metadata=self._metadata),
            lambda error, attempt: self._overload_delay(error, attempt, deadline),
        )

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Version, backend, limits and models. Asking also renews the limits that large calls are split by."""
        return await self._run(self._session.server_info(), timeout)

    async def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Every model version of the server's repository, loaded or not."""
        return await self._run(self._session.models(), timeout)

    async def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """What the server says of a service's health; empty for the server as a whole."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            return to_health(await self._health.Check(request, timeout=self._limit(timeout), metadata=self._metadata))
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    async def wait_until_serving(self, timeout: float | None = None, *, service: str = "") -> None:
        """Return as soon as the server is healthy, also one that starts later. Raises DeadlineExceededError."""
        deadline = time.monotonic() + self._limit(timeout)
        request = health_pb2.HealthCheckRequest(service=service)
        last: Health | None = None
        while left := seconds_left(deadline):
            call = self._health.Watch(request, timeout=left, wait_for_ready=True, metadata=self._metadata)
            try:
                async for response in call:
                    last = to_health(response)
                    if last == "serving":
                        return
            except grpc.RpcError as error:
                failure = from_rpc(error)
                if not isinstance(failure, UnavailableError | DeadlineExceededError):
                    raise failure from error
            finally:
                call.cancel()
            await asyncio.sleep(min(RECONNECT_DELAY, seconds_left(deadline)))
        raise not_serving_in_time(self._limit(timeout), last)

    async def _run(self, operation: Operation[T], timeout: float | None) -> T:
        """Drive an operation: make the calls that it yields, hand it their answers."""
        deadline = time.monotonic() + self._limit(timeout)
        try:
            calls = next(operation)
            while True:
                calls = operation.send(await self._make(calls, deadline))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _make(self, calls: Iterable[Call], deadline: float) -> list[Any]:
        """The answers in the order of the calls, of which a few are under way at a time."""
        answers: list[Any] = []
        pending: deque[tuple[Call, Any]] = deque()
        try:
            for call in calls:
                if len(pending) == PARALLEL_PARTS:
                    answers.append(await self._settle(*pending.popleft(), deadline=deadline))
                pending.append((call, self._start(call, deadline)))
            while pending:
                answers.append(await self._settle(*pending.popleft(), deadline=deadline))
        finally:
            for _, running in pending:
                running.cancel()
        return answers

    def _start(self, call: Call, deadline: float) -> Any:
        method = self._methods[call.method]
        return method(call.request, timeout=seconds_left(deadline), metadata=self._metadata)

    async def _settle(self, call: Call, running: Any, *, deadline: float) -> Any:
        attempt = 0
        while True:
            try:
                return await running
            except grpc.RpcError as error:
                failure = from_rpc(error)
                delay = self._overload_delay(failure, attempt, deadline)
                if delay is None:
                    raise failure from error
            await asyncio.sleep(delay)
            attempt += 1
            running = self._start(call, deadline)


async def _pump(
    book: StreamBook,
    source: AsyncIterator[MatchQuery],
    outbox: _Outbox,
    answers: AsyncIterator[matching_pb2.MatchStreamResponse],
) -> AsyncIterator[StreamedMatch]:
    """Move a stream on until everything is answered."""
    exhausted = False
    while not (exhausted and book.is_idle):
        while not exhausted and book.has_room:
            query = await anext(source, None)
            exhausted = query is None
            if query is not None:
                book.add(query)
        if pause := book.take_pause():
            await asyncio.sleep(pause)
        while (request := book.next_request()) is not None:
            outbox.put_nowait(request)
        while (outcome := book.next_outcome()) is not None:
            yield outcome
        if book.awaits_answer:
            response = await anext(answers, None)
            if response is None:
                raise ended_early()
            book.receive(response)


async def _end(outbox: _Outbox, answers: AsyncIterator[matching_pb2.MatchStreamResponse]) -> None:
    """Leave a stream on which everything is answered in order, lest the server count it as cancelled."""
    outbox.put_nowait(None)
    with suppress(grpc.RpcError):  # nothing is missing, however it ends
        await anext(answers, None)


async def _to_async(queries: Iterable[MatchQuery]) -> AsyncIterator[MatchQuery]:
    for query in queries:
        yield query


async def _until_none(outbox: _Outbox) -> AsyncIterator[matching_pb2.MatchStreamRequest]:
    while (request := await outbox.get()) is not None:
        yield request
