"""The synchronous client."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
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
from rolecall_client.text_stream import TextStream

_Outbox: TypeAlias = "SimpleQueue[matching_pb2.MatchStreamRequest | None]"


class Client(ClientBase):
    """Rolecall over one channel; safe to share between threads."""

    def _connect(self, credentials: grpc.ChannelCredentials | None, options: Sequence[Option]) -> None:
        if credentials is None:
            self._channel = grpc.insecure_channel(self.address, options=options)
        else:
            self._channel = grpc.secure_channel(self.address, credentials, options=options)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()

    def match(
        self,
        query: ProfileLike,
        documents: Sequence[ProfileLike],
        *,
        timeout: float | None = None,
        **options: Unpack[MatchOptions],
    ) -> MatchResult:
        """Rank any number of documents for a query. options: see MatchQuery."""
        return self._run(self._session.match(MatchQuery(query, documents, **options)), timeout)

    def match_stream(
        self, queries: Iterable[MatchQuery], *, timeout: float = DEFAULT_STREAM_TIMEOUT
    ) -> Iterator[StreamedMatch]:
        """Pipelined bulk matching, answers as they come. A query that fails ends nothing; a lost server raises.

        Queries are taken ahead, up to the server's max_stream_inflight. timeout: of the whole stream.
        """
        deadline = time.monotonic() + timeout
        info = self._run(self._session.known_info(), timeout)
        book = StreamBook(info, self._session.max_message_bytes, retry_delay=self._message_delays(deadline))
        source = iter(queries)
        while True:
            outbox: _Outbox = SimpleQueue()
            call = self._matching.MatchStream(
                iter(outbox.get, None), timeout=seconds_left(deadline), metadata=self._metadata
            )
            try:
                yield from _pump(book, source, outbox, call)
                _end(outbox, call)
            except grpc.RpcError as error:
                book.cut(from_rpc(error))
            except UnavailableError as error:
                book.cut(error)
            else:
                return
            finally:
                outbox.put(None)
                call.cancel()

    @overload
    def match_many(
        self, queries: Iterable[MatchQuery], *, errors: Literal["raise"] = ..., timeout: float = ...
    ) -> list[MatchResult]: ...
    @overload
    def match_many(
        self, queries: Iterable[MatchQuery], *, errors: Literal["keep"], timeout: float = ...
    ) -> list[MatchResult | RolecallError]: ...
    def match_many(
        self,
        queries: Iterable[MatchQuery],
        *,
        errors: Literal["raise", "keep"] = "raise",
        timeout: float = DEFAULT_STREAM_TIMEOUT,
    ) -> Sequence[MatchResult | RolecallError]:
        """match_stream, in the order of the queries. errors: raise the first, or keep each in its place."""
        return in_order(list(self.match_stream(queries, timeout=timeout)), errors)

    @overload
    def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["raise"] = ...,
        timeout: float | None = ...,
        **options: Unpack[EmbedOptions],
    ) -> NDArray[np.float32]: ...
    @overload
    def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["keep"],
        timeout: float | None = ...,
        **options: Unpack[EmbedOptions],
    ) -> Embeddings: ...
    def embed(
        self,
        texts: Sequence[ProfileLike],
        *,
        errors: Literal["raise", "keep"] = "raise",
        timeout: float | None = None,
        **options: Unpack[EmbedOptions],
    ) -> NDArray[np.float32] | Embeddings:
        """The embeddings of any number of texts, [n, dimensions], of unit length. options: see EmbedQuery.

        errors: `raise` raises the first item's error, its position in `index`; `keep` returns Embeddings, with NaN
        in the rows that failed and their errors beside.
        """
        embeddings = self._run(self._session.embed(EmbedQuery(texts, **options)), timeout)
        return embeddings if errors == "keep" else raise_first(embeddings)

    def generate(self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]) -> Generation:
        """Write a text after a prompt. options: see GenerateQuery."""
        return self._run(self._session.generate(GenerateQuery(prompt, **options)), timeout)

    def generate_stream(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> TextStream:
        """The same, piece by piece as it is written: iterate over it, then look at its `result`; close it to leave it
        early. timeout: of the whole, from here on."""
        request = GenerateQuery(prompt, **options).to_stream_message()
        self._session.check_size(request)
        deadline = time.monotonic() + self._limit(timeout)
        return TextStream(
            lambda: self._generation.GenerateStream(request, timeout=seconds_left(deadline), metadata=self._metadata),
            lambda error, attempt: self._overload_delay(error, attempt, deadline),
        )

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Version, backend, limits and models. Asking also renews the limits that large calls are split by."""
        return self._run(self._session.server_info(), timeout)

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Every model version of the server's repository, loaded or not."""
        return self._run(self._session.models(), timeout)

    def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """What the server says of a service's health; empty for the server as a whole."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            return to_health(self._health.Check(request, timeout=self._limit(timeout), metadata=self._metadata))
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    def wait_until_serving(self, timeout: float | None = None, *, service: str = "") -> None:
        """Return as soon as the server is healthy, also one that starts later. Raises DeadlineExceededError."""
        deadline = time.monotonic() + self._limit(timeout)
        request = health_pb2.HealthCheckRequest(service=service)
        last: Health | None = None
        while left := seconds_left(deadline):
            call = self._health.Watch(request, timeout=left, wait_for_ready=True, metadata=self._metadata)
            try:
                for response in call:
                    last = to_health(response)
                    if last == "serving":
                        return
            except grpc.RpcError as error:
                failure = from_rpc(error)
                if not isinstance(failure, UnavailableError | DeadlineExceededError):
                    raise failure from error
            finally:
                call.cancel()
            time.sleep(min(RECONNECT_DELAY, seconds_left(deadline)))
        raise not_serving_in_time(self._limit(timeout), last)

    def _run(self, operation: Operation[T], timeout: float | None) -> T:
        """Drive an operation: make the calls that it yields, hand it their answers."""
        deadline = time.monotonic() + self._limit(timeout)
        try:
            calls = next(operation)
            while True:
                calls = operation.send(self._make(calls, deadline))
        except StopIteration as done:
            result: T = done.value
            return result

    def _make(self, calls: Iterable[Call], deadline: float) -> list[Any]:
        """The answers in the order of the calls, of which a few are under way at a time."""
        answers: list[Any] = []
        pending: deque[tuple[Call, Any]] = deque()
        try:
            for call in calls:
                if len(pending) == PARALLEL_PARTS:
                    answers.append(self._settle(*pending.popleft(), deadline=deadline))
                pending.append((call, self._start(call, deadline)))
            while pending:
                answers.append(self._settle(*pending.popleft(), deadline=deadline))
        finally:
            for _, future in pending:
                future.cancel()
        return answers

    def _start(self, call: Call, deadline: float) -> Any:
        start = self._methods[call.method].future
        return start(call.request, timeout=seconds_left(deadline), metadata=self._metadata)

    def _settle(self, call: Call, future: Any, *, deadline: float) -> Any:
        attempt = 0
        while True:
            try:
                return future.result()
            except grpc.RpcError as error:
                failure = from_rpc(error)
                delay = self._overload_delay(failure, attempt, deadline)
                if delay is None:
                    raise failure from error
            time.sleep(delay)
            attempt += 1
            future = self._start(call, deadline)


def _pump(
    book: StreamBook,
    source: Iterator[MatchQuery],
    outbox: _Outbox,
    answers: Iterator[matching_pb2.MatchStreamResponse],
) -> Iterator[StreamedMatch]:
    """Move a stream on until everything is answered."""
    exhausted = False
    while not (exhausted and book.is_idle):
        while not exhausted and book.has_room:
            query = next(source, None)
            exhausted = query is None
            if query is not None:
                book.add(query)
        if pause := book.take_pause():
            time.sleep(pause)
        while (request := book.next_request()) is not None:
            outbox.put(request)
        while (outcome := book.next_outcome()) is not None:
            yield outcome
        if book.awaits_answer:
            response = next(answers, None)
            if response is None:
                raise ended_early()
            book.receive(response)


def _end(outbox: _Outbox, answers: Iterator[matching_pb2.MatchStreamResponse]) -> None:
    """Leave a stream on which everything is answered in order, lest the server count it as cancelled."""
    outbox.put(None)
    with suppress(grpc.RpcError):  # nothing is missing, however it ends
        next(answers, None)
