"""A small gRPC server with hand-written servicers, for tests of the client: records, and misbehaves on order."""

import inspect
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from rolecall.v1 import (
    generation_pb2,
    generation_pb2_grpc,
    matching_pb2,
    matching_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    types_pb2,
)
from rolecall_client import AsyncClient, AsyncTextStream, Client, StreamedMatch, TextStream

DIMENSIONS = 8
BAD_TEXT = "BAD"
"""A document of this text fails alone."""


def vector_of(text: str) -> np.ndarray:
    """A made-up embedding: the same text always gives the same unit vector, float32."""
    vector = np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def words_of(profile: types_pb2.Profile) -> str:
    return profile.text or str(profile.job) or str(profile.resume)


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    made = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        made.details.add().Pack(detail)
    return made


def bad_request(path: str, message: str) -> status_pb2.Status:
    violation = error_details_pb2.BadRequest.FieldViolation(field=path, description=message)
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    return status(grpc.StatusCode.INVALID_ARGUMENT, f"{path}: {message}", detail)


def overloaded(retry_seconds: float) -> status_pb2.Status:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromNanoseconds(round(retry_seconds * 1e9))
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", retry)


@dataclass
class Behaviour:
    """What the server does and saw.

    failures: statuses that the next calls of Match and Embed end with, in order. delay: seconds before each answer.
    refusals: how many messages of streams are answered with `refusal`. hold: a stream answers only once so many
    requests came, in reverse. cut_after: how many answers a stream gives before it is cut, for each stream in turn.
    models: names of the model in the stamps of the next answers. stream_ended: set once the RPC of a text that streams
    is over.
    """

    failures: deque[status_pb2.Status] = field(default_factory=deque)
    delay: float = 0.0
    refusals: int = 0
    refusal: status_pb2.Status = field(default_factory=lambda: status(grpc.StatusCode.UNAVAILABLE, "shutting down"))
    hold: int = 1
    cut_after: deque[int] = field(default_factory=deque)
    models: deque[str] = field(default_factory=deque)
    requests: list[Message] = field(default_factory=list)
    remaining: list[float] = field(default_factory=list)
    info_calls: int = 0
    streams: int = 0
    stream_ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, request: Message, context: grpc.ServicerContext) -> None:
        """Record a unary call, then fail or dawdle as ordered."""
        with self.lock:
            self.requests.append(request)
            self.remaining.append(context.time_remaining())
            failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            abort(context, failure)
        time.sleep(self.delay)

    def stamp(self) -> types_pb2.ModelStamp:
        return types_pb2.ModelStamp(name=self.models.popleft() if self.models else "made-up", version="1")


def abort(context: grpc.ServicerContext, failure: status_pb2.Status) -> None:
    context.set_trailing_metadata((("grpc-status-details-bin", failure.SerializeToString()),))
    code = next(code for code in grpc.StatusCode if code.value[0] == failure.code)
    context.abort(code, failure.message)


def answer_match(request: matching_pb2.MatchRequest, stamp: types_pb2.ModelStamp) -> matching_pb2.MatchResponse:
    """The contract's Match over the made-up embeddings."""
    query = vector_of(words_of(request.query))
    response = matching_pb2.MatchResponse(request_id=request.request_id or "made-here", model=stamp)
    scored, failed = [], []
    for index, document in enumerate(request.documents):
        result = matching_pb2.MatchResult(index=index, document_id=document.id)
        if document.text == BAD_TEXT:
            result.status.CopyFrom(bad_request(f"documents[{index}].text", "it is bad"))
            failed.append(result)
            continue
        given = np.frombuffer(document.embedding, "<f4") if document.embedding else vector_of(words_of(document))
        result.score = float(np.float32((query * given).sum()))
        if not request.HasField("min_score") or result.score >= request.min_score:
            scored.append(result)
    scored.sort(key=lambda result: (-result.score, result.index))
    response.results.extend(scored[: request.top_k or None] + failed)
    return response


class Matching(matching_pb2_grpc.MatchingServiceServicer):
    def __init__(self, behaviour: Behaviour, limits: model_pb2.ServerLimits) -> None:
        self._behaviour = behaviour
        self._limits = limits

    def Match(self, request, context):  # noqa: N802  named by the contract
        self._behaviour.note(request, context)
        if not 1 <= len(request.documents) <= (self._limits.max_documents or 2**32):
            abort(context, bad_request("documents", f"{len(request.documents)} of them"))
        return answer_match(request, self._behaviour.stamp())

    def Embed(self, request, context):  # noqa: N802
        self._behaviour.note(request, context)
        if not 1 <= len(request.inputs) <= (self._limits.max_documents or 2**32):
            abort(context, bad_request("inputs", f"{len(request.inputs)} of them"))
        response = matching_pb2.EmbedResponse(request_id=request.request_id, model=self._behaviour.stamp())
        for index, profile in enumerate(request.inputs):
            item = response.embeddings.add(index=index, dimensions=DIMENSIONS)
            if profile.text == BAD_TEXT:
                item.status.CopyFrom(bad_request(f"inputs[{index}].text", "it is bad"))
            else:
                item.vector = vector_of(profile.text).astype("<f4").tobytes()
        return response

    def MatchStream(self, request_iterator, context) -> Iterator[matching_pb2.MatchStreamResponse]:  # noqa: N802
        behaviour = self._behaviour
        behaviour.streams += 1
        cut_after = behaviour.cut_after.popleft() if behaviour.cut_after else None
        held: list[matching_pb2.MatchRequest] = []
        answered = 0
        for message in request_iterator:
            behaviour.requests.append(message.request)
            held.append(message.request)
            if len(held) < behaviour.hold:
                continue
            while held:
                if answered == cut_after:
                    abort(context, status(grpc.StatusCode.UNAVAILABLE, "moving on"))
                yield self._stream_answer(held.pop())
                answered += 1
        yield from (self._stream_answer(request) for request in reversed(held))

    def _stream_answer(self, request: matching_pb2.MatchRequest) -> matching_pb2.MatchStreamResponse:
        response = matching_pb2.MatchStreamResponse(request_id=request.request_id)
        if self._behaviour.refusals:
            self._behaviour.refusals -= 1
            response.status.CopyFrom(self._behaviour.refusal)
        elif request.query.text == BAD_TEXT:
            response.status.CopyFrom(bad_request("query.text", "it is bad"))
        else:
            response.response.CopyFrom(answer_match(request, self._behaviour.stamp()))
        return response


class Generation(generation_pb2_grpc.GenerationServiceServicer):
    """Writes the prompt once more, in capitals; a stream gives a piece for each word."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def Generate(self, request, context):  # noqa: N802
        self._behaviour.note(request, context)
        count = request.decoding.num_return_sequences or 1
        reason = generation_pb2.FINISH_REASON_EOS
        text = request.prompt.text.upper()
        response = generation_pb2.GenerateResponse(request_id=request.request_id, model=self._behaviour.stamp())
        for number in range(count):
            response.candidates.add(text=text, score=-number, finish_reason=reason, token_count=len(text))
        response.usage.CopyFrom(self._usage(request))
        if request.decoding.do_sample:
            response.seed = request.decoding.seed or 77
        return response

    def GenerateStream(self, request, context):  # noqa: N802
        behaviour = self._behaviour
        context.add_callback(behaviour.stream_ended.set)
        cut_after = behaviour.cut_after.popleft() if behaviour.cut_after else None
        behaviour.note(request, context)
        for number, word in enumerate(request.prompt.text.upper().split(" ")):
            if number == cut_after:
                abort(context, status(grpc.StatusCode.UNAVAILABLE, "moving on"))
            yield generation_pb2.GenerateStreamResponse(delta=f" {word}" if number else word)
            if word == "WAIT":
                behaviour.stream_ended.wait(10)
        if request.prompt.text.endswith("short"):
            return
        yield generation_pb2.GenerateStreamResponse(
            request_id=request.request_id,
            finish_reason=generation_pb2.FINISH_REASON_LENGTH,
            usage=self._usage(request),
            model=behaviour.stamp(),
            seed=5,
            score=-0.5,
        )

    def _usage(self, request):
        size = len(request.prompt.text)
        return generation_pb2.GenerateUsage(prompt_tokens=size, truncated_tokens=2, generated_tokens=size)


class Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, behaviour: Behaviour, limits: model_pb2.ServerLimits) -> None:
        self._behaviour = behaviour
        self._limits = limits
        self._model = model_pb2.ModelInfo(
            name="made-up",
            version="1",
            dimensions=DIMENSIONS,
            languages=["en", "zh"],
            state=model_pb2.MODEL_STATE_READY,
        )

    def GetServerInfo(self, request, context):  # noqa: N802
        self._behaviour.info_calls += 1
        return model_pb2.GetServerInfoResponse(version="0", backend="fake", limits=self._limits, models=[self._model])

    def ListModels(self, request, context):  # noqa: N802
        return model_pb2.ListModelsResponse(models=[self._model])


class ClientServer:
    """The server on a free port of the loopback interface, or on the one given."""

    def __init__(self, *, port: int = 0, options: Sequence[tuple[str, int]] = (), **limits: int) -> None:
        self.behaviour = Behaviour()
        self.limits = model_pb2.ServerLimits(**limits)
        self.health = health.HealthServicer()
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0), *options))
        matching_pb2_grpc.add_MatchingServiceServicer_to_server(Matching(self.behaviour, self.limits), self._server)
        generation_pb2_grpc.add_GenerationServiceServicer_to_server(Generation(self.behaviour), self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(Models(self.behaviour, self.limits), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    def __enter__(self) -> "ClientServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scores(documents: list[str], query: str = "q") -> np.ndarray:
    return np.stack([vector_of(document) for document in documents]) @ vector_of(query)


def wait_in_thread(address: str) -> None:
    with Client(address) as client:
        client.wait_until_serving(10.0)


class Asker:
    """One face for both clients, so that each case is written once."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        result = getattr(self.client, method)(*args, **options)
        return await result if inspect.isawaitable(result) else result

    def text(self, prompt: str, **options: Any) -> "Text":
        return Text(self.client.generate_stream(prompt, **options))

    async def stream(self, queries: Any, **options: Any) -> list[StreamedMatch]:
        if isinstance(self.client, AsyncClient):
            return [outcome async for outcome in self.client.match_stream(queries, **options)]
        return list(self.client.match_stream(queries, **options))


class Text:
    """One face for a text that streams from either client."""

    def __init__(self, stream: TextStream | AsyncTextStream) -> None:
        self.stream = stream

    async def next(self) -> str:
        return await anext(self.stream) if isinstance(self.stream, AsyncTextStream) else next(self.stream)

    async def rest(self) -> list[str]:
        if isinstance(self.stream, AsyncTextStream):
            return [piece async for piece in self.stream]
        return list(self.stream)

    async def close(self) -> None:
        closing = self.stream.close()
        if closing is not None:
            await closing
