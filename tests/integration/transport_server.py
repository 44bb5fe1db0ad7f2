"""A real server on a loopback port, with tasks that do as the test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from rolecall.v1 import generation_pb2, types_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall_server.batching.admission import Admission, AdmissionLimits
from rolecall_server.errors import ModelNotFoundError, NotPermittedError
from rolecall_server.generation.types import FinishReason, Hypothesis
from rolecall_server.tasks.embed import EmbeddedInput, EmbedInput, EmbedOutput
from rolecall_server.tasks.generate import GenerateInput, GenerateOutput
from rolecall_server.tasks.match import MatchedDocument, MatchInput, MatchOutput
from rolecall_server.tasks.models import ListedModel, ModelState
from rolecall_server.transport.limits import ServerFacts, ServerLimits
from rolecall_server.transport.server import GrpcServer, ServerOptions
from rolecall_server.transport.services import contract_services
from rolecall_server.types import ModelInfo, ModelKey, RequestContext, Timing

from tests.observers import ListObserver

LIMITS = ServerLimits(
    max_message_bytes=1 << 20,
    max_documents=8,
    max_text_chars=1000,
    max_stream_inflight=2,
    max_concurrent_requests=4,
    default_deadline_seconds=60.0,
)

INFO = ModelInfo(
    key=ModelKey("encoder", "1"),
    precision="cpu-int8",
    weights_hash="abc",
    source="somewhere",
    licence="MIT",
    max_tokens=512,
    dimensions=2,
)

TEXT = types_pb2.Profile(text="t")


def match_request(**fields: Any) -> pb.MatchRequest:
    return pb.MatchRequest(**({"query": TEXT, "documents": [TEXT]} | fields))


async def score(request: MatchInput, context: RequestContext) -> MatchOutput:
    """Every document scores the same, unless it is an error."""
    results = (
        MatchedDocument(index, error=document) if isinstance(document, Exception) else MatchedDocument(index, 0.5)
        for index, document in enumerate(request.documents)
    )
    return MatchOutput(tuple(results), INFO, Timing())


async def embed(request: EmbedInput, context: RequestContext) -> EmbedOutput:
    vector = np.array([0.6, 0.8], np.float32)
    return EmbedOutput(tuple(EmbeddedInput(vector) for _ in request.inputs), INFO, Timing())


GENERATOR = ModelInfo(
    key=ModelKey("generator", "1"),
    precision="cpu-int8",
    weights_hash="def",
    source="somewhere",
    licence="MIT",
    max_tokens=512,
    dimensions=64,
    family="t5",
    max_new_tokens=100,
)


def written(text: str, reason: FinishReason = FinishReason.EOS) -> GenerateOutput:
    hypothesis = Hypothesis(token_ids=tuple(range(len(text))), text=text, score=-0.5, finish_reason=reason)
    return GenerateOutput((hypothesis,), 3, 0, GENERATOR, Timing())


def generate_request(text: str = "write", **fields: Any) -> generation_pb2.GenerateStreamRequest:
    return generation_pb2.GenerateStreamRequest(prompt=generation_pb2.FreeText(text=text), **fields)


async def echo(request: GenerateInput) -> AsyncIterator[str | GenerateOutput]:
    """The prompt, word by word."""
    for word in request.prompt.split():
        yield word
    yield written("".join(request.prompt.split()))


@dataclass
class FakeGenerate:
    """Streams what `behave` gives, which a test replaces; closed: how many streams have ended, one way or another."""

    behave: Callable[[GenerateInput], AsyncIterator[str | GenerateOutput]] = echo
    requests: list[GenerateInput] = field(default_factory=list)
    closed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def run(self, request: GenerateInput, context: RequestContext) -> GenerateOutput:
        outputs = [event async for event in self.stream(request, context) if isinstance(event, GenerateOutput)]
        return outputs[0]

    async def stream(
        self, request: GenerateInput, context: RequestContext
    ) -> AsyncGenerator[str | GenerateOutput, None]:
        self.requests.append(request)
        try:
            async for event in self.behave(request):
                yield event
        finally:
            self.closed.release()


@dataclass
class FakeTask:
    """Runs `behave`, which a test replaces; `contexts` are those of the requests that came."""

    behave: Callable[[Any, RequestContext], Awaitable[Any]]
    contexts: list[RequestContext] = field(default_factory=list)

    async def run(self, request: Any, context: RequestContext) -> Any:
        self.contexts.append(context)
        return await self.behave(request, context)

    def fails(self, error: BaseException) -> None:
        async def fail(*_: object) -> None:
            raise error

        self.behave = fail


class FakeModels:
    def loaded(self) -> tuple[ListedModel, ...]:
        return (ListedModel(INFO, ModelState.READY),)

    async def list(self) -> tuple[ListedModel, ...]:
        other = ModelInfo(ModelKey("encoder", "2"), "p", "h", "s", "l", 512, 2)
        return ListedModel(INFO, ModelState.READY), ListedModel(other, ModelState.AVAILABLE)

    async def get(self, name: str, version: str) -> ListedModel:
        if name != "encoder":
            raise ModelNotFoundError(name, version)
        return ListedModel(INFO, ModelState.READY)

    async def load(self, name: str, version: str) -> ListedModel:
        raise NotPermittedError("loading of models is not allowed on this server")

    async def unload(self, name: str, version: str) -> None:
        return None


@dataclass
class Blocker:
    """A task's behaviour that holds each request until it is released, and notes what became of it."""

    started: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    release: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    running: int = 0

    async def __call__(self, request: MatchInput, context: RequestContext) -> MatchOutput:
        self.running += 1
        self.started.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        finally:
            self.running -= 1
        return await score(request, context)


@dataclass
class RpcList:
    """An RpcObserver that keeps what it hears."""

    started: list[str] = field(default_factory=list)
    done: list[tuple[str, str, str]] = field(default_factory=list)
    failed_streams: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_rpc_started(self, method: str) -> None:
        self.started.append(method)

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        self.done.append((method.rpartition("/")[2], code, request_id))
        self.changed.set()

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        self.failed_streams.append((method.rpartition("/")[2], code))
        self.changed.set()


@dataclass
class Running:
    server: GrpcServer
    channel: grpc.aio.Channel
    match: FakeTask
    embed: FakeTask
    generate: FakeGenerate
    gate: Admission
    rpcs: RpcList

    async def done(self, count: int = 1) -> list[tuple[str, str, str]]:
        """Wait until so many RPCs have been reported: grpc.aio answers a client before its handler ends."""
        async with asyncio.timeout(10):
            while len(self.rpcs.done) < count:
                self.rpcs.changed.clear()
                await self.rpcs.changed.wait()
        return self.rpcs.done

    async def failed_streams(self) -> list[tuple[str, str]]:
        """Wait until one has been reported."""
        async with asyncio.timeout(10):
            while not self.rpcs.failed_streams:
                self.rpcs.changed.clear()
                await self.rpcs.changed.wait()
        return self.rpcs.failed_streams


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Running]:
    match, embedder, generate, rpcs = FakeTask(score), FakeTask(embed), FakeGenerate(), RpcList()
    limits = options.pop("limits", LIMITS)
    gate = Admission(AdmissionLimits(limits.max_concurrent_requests, max_queue_tokens=1000), ListObserver())
    gate.open()
    services = contract_services(
        match=match,
        embed=embedder,
        generate=generate,
        models=FakeModels(),
        gate=gate,
        facts=ServerFacts("1.2.3", "fake", limits),
    )
    server = GrpcServer(services, ServerOptions("127.0.0.1", 0, limits, **options), observer=rpcs)
    port = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Running(server, channel, match, embedder, generate, gate, rpcs)
    finally:
        await server.stop(0.0)


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The google.rpc messages that came with an error, by name."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(raw, bytes)
    return unpacked(status_pb2.Status.FromString(raw))


def unpacked(status: status_pb2.Status) -> dict[str, Any]:
    found = {}
    for detail in status.details:
        name = detail.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name).FromString(detail.value)
    return found
