"""The composition root: what is made of what, and the one story of how the server starts and stops."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, start_http_server

from rolecall_server.batching.admission import Admission, AdmissionLimits
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.queue import BatchLimits
from rolecall_server.cache.embedding_cache import EmbeddingCache
from rolecall_server.engine.fake import FakeBehaviour
from rolecall_server.engine.generators import GenerationOptions
from rolecall_server.engine.registry import ControlledEngine, EngineOptions, create_engine
from rolecall_server.errors import ModelNotFoundError
from rolecall_server.observability.metrics import Metrics
from rolecall_server.observability.rpc_log import RpcHearers, RpcLog
from rolecall_server.settings import Settings
from rolecall_server.shelves import Shelf, make_model, open_shelf
from rolecall_server.stopping import REST_SECONDS, Teardown, stop_signals
from rolecall_server.tasks.catalog import Catalog, Model, Section
from rolecall_server.tasks.embed import EmbedTask
from rolecall_server.tasks.encoder import Encoder, Shared
from rolecall_server.tasks.generate import GenerateTask
from rolecall_server.tasks.generator import GenerationParts, Generator
from rolecall_server.tasks.match import MatchTask
from rolecall_server.tasks.models import ModelTask
from rolecall_server.tasks.tokenization import TokenizationThreads
from rolecall_server.transport.limits import ServerFacts, ServerLimits
from rolecall_server.transport.server import BindError, GrpcServer, ServerOptions
from rolecall_server.transport.services import GENERATION, contract_services
from rolecall_server.types import ModelKey

log = logging.getLogger(__name__)

DEFAULT_ENCODER = "encoder"
DEFAULT_GENERATOR = "generator"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves: where it listens, and the event that stops it as SIGTERM does."""

    grpc_port: int
    metrics_port: int
    stop: asyncio.Event


class Health:
    """SERVING only while the server has started, does not drain, and the engine is well; generation only while a
    generator is loaded as well. Owned by the event loop."""

    def __init__(self) -> None:
        self.has_started = False
        self._listener: Callable[[bool, Sequence[str]], None] = lambda serving, down: None
        self._draining = self._engine = self._generates = False

    def tell(self, listener: Callable[[bool, Sequence[str]], None]) -> None:
        """listener: gets whether the server serves, and the services that do not even so."""
        self._listener = listener

    def models_changed(self, serving: Sequence[Model]) -> None:
        self._generates = any(model.info.generates for model in serving)
        self._announce()

    def engine_changed(self, serving: bool, reason: str) -> None:
        level = logging.INFO if serving or self._draining else logging.ERROR
        log.log(level, "engine health changed", extra={"serving": serving, "reason": reason})
        self._engine = serving
        self._announce()

    def started(self) -> None:
        self.has_started = True
        self._announce()

    def drain(self) -> None:
        self._draining = True
        self._announce()

    def _announce(self) -> None:
        serving = self.has_started and self._engine and not self._draining
        self._listener(serving, () if self._generates else (GENERATION,))


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Running], None] = lambda running: None,
    fake: FakeBehaviour | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `Running.stop`. `fake`: how the backend of that name behaves.

    Up: metrics, engine, port (health says NOT_SERVING), models, batcher, admission, SERVING. Down: NOT_SERVING, the
    drain delay, no new requests, the accepted ones end or are cut at the exit timeout, then the rest in reverse, which
    has REST_SECONDS. Raises what makes a start impossible: EngineError (bad artifact), ModelNotFoundError, BindError;
    and UnfinishedError where a part did not stop in time and still runs.
    """
    health = Health()
    teardown = Teardown()
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        metrics_port = _serve_metrics(settings, registry, stack)
        shelf = open_shelf(settings.backend, settings.model_repository)
        options = _engine_options(settings, shelf, fake)
        engine = create_engine(settings.backend, options, on_health=health.engine_changed, observer=metrics)
        stack.push_async_callback(teardown.stop, "the engine", engine.close)
        parts = _assemble(settings, engine, shelf=shelf, metrics=metrics, health=health)
        stack.callback(parts.tokenization.close)
        stack.push_async_callback(teardown.stop, "the batcher", parts.batcher.close)
        port = await parts.server.start()
        health.tell(parts.server.health.set_serving)
        stack.push_async_callback(_drain, settings, health, parts=parts, teardown=teardown)
        await parts.models.load_key(_version_to_load(settings, shelf))
        if (generator := _generator_to_load(settings, shelf)) is not None:
            await parts.models.load_key(generator)
        parts.batcher.start()
        parts.admission.open()
        health.started()
        log.info("serving", extra={"address": f"{settings.host}:{port}", "metrics_port": metrics_port})
        on_ready(Running(port, metrics_port, stop))
        await stop.wait()
        log.info("stopping")
    teardown.check()
    log.info("stopped")


@dataclass(frozen=True, slots=True)
class _Parts:
    server: GrpcServer
    admission: Admission
    batcher: Batcher
    models: ModelTask
    tokenization: TokenizationThreads


def _assemble(
    settings: Settings, engine: ControlledEngine, *, shelf: Shelf, metrics: Metrics, health: Health
) -> _Parts:
    """Everything between the port and the engine."""
    admission = Admission(AdmissionLimits(settings.max_concurrent_requests, settings.max_queue_tokens), metrics)
    limits = BatchLimits(
        max_tokens=min(settings.max_batch_tokens, engine.info.preferred_batch_tokens),
        max_sequences=settings.max_batch_requests,
        max_delay=settings.max_queue_delay_us / 1e6,
    )
    batcher = Batcher(engine, limits=limits, observer=metrics, on_failure=lambda reason: health.drain())
    tokenization = TokenizationThreads(settings.tokenization_threads())
    cache = EmbeddingCache(settings.embedding_cache_mb << 20, metrics)
    shared = Shared(batcher=batcher, cache=cache, admission=admission, tokenization=tokenization, observer=metrics)
    generation = GenerationParts(engine=engine, admission=admission, tokenization=tokenization, observer=metrics)
    catalog = Catalog(DEFAULT_ENCODER, shelf.has, on_change=lambda: health.models_changed(catalog.serving()))
    encoders = Section(catalog, Encoder, DEFAULT_ENCODER)
    models = ModelTask(
        shelf=shelf,
        catalog=catalog,
        control=engine,
        batcher=batcher,
        make_model=lambda loaded: make_model(shelf, loaded, shared=shared, generation=generation),
        observer=metrics,
        allow_control=settings.allow_model_control,
    )
    facts = ServerFacts(version("rolecall"), settings.backend, _limits(settings, limits.max_tokens))
    services = contract_services(
        match=MatchTask(encoders, metrics),
        embed=EmbedTask(encoders),
        generate=GenerateTask(Section(catalog, Generator, DEFAULT_GENERATOR)),
        models=models,
        gate=admission,
        facts=facts,
    )
    options = ServerOptions(settings.host, settings.port, facts.limits)
    server = GrpcServer(services, options, observer=RpcHearers([metrics, RpcLog()]))
    return _Parts(server, admission, batcher, models, tokenization)


async def _drain(settings: Settings, health: Health, *, parts: _Parts, teardown: Teardown) -> None:
    health.drain()
    if health.has_started:  # nobody sends anything to a server that never served
        await asyncio.sleep(settings.drain_delay_secs)
    parts.admission.close("the server is shutting down")
    teardown.begin(settings.exit_timeout_secs + REST_SECONDS)
    await teardown.stop("the gRPC server", lambda: parts.server.stop(settings.exit_timeout_secs))


def _version_to_load(settings: Settings, shelf: Shelf) -> ModelKey:
    if settings.model_version:
        return ModelKey(DEFAULT_ENCODER, settings.model_version)
    return shelf.latest(DEFAULT_ENCODER)


def _generator_to_load(settings: Settings, shelf: Shelf) -> ModelKey | None:
    """None where the repository has none and none is asked for: the server then matches only."""
    if settings.generator_version:
        return ModelKey(DEFAULT_GENERATOR, settings.generator_version)
    return shelf.latest(DEFAULT_GENERATOR) if shelf.has(DEFAULT_GENERATOR) else None


def _engine_options(settings: Settings, shelf: Shelf, fake: FakeBehaviour | None) -> EngineOptions:
    try:
        first = _version_to_load(settings, shelf)
    except ModelNotFoundError:  # told when it is loaded, with the port open and health answering
        first = None
    return EngineOptions(
        repository=settings.model_repository,
        first=first,
        providers=settings.providers,
        workers=settings.engine_workers,
        intra_op_threads=settings.intra_op_threads,
        gpu_memory_bytes=settings.gpu_memory_limit_mb << 20 or None,
        cuda_graphs=settings.cuda_graphs,
        generation=GenerationOptions(
            cache_bytes=settings.kv_cache_mb << 20,
            max_rows=settings.max_running_sequences,
            lanes=settings.generation_workers,
            prefill_tokens=settings.generation_prefill_tokens,
            niceness=settings.generation_niceness,
        ),
        fake=fake or FakeBehaviour(),
    )


def _limits(settings: Settings, batch_tokens: int) -> ServerLimits:
    return ServerLimits(
        max_message_bytes=settings.payload_limit,
        max_documents=settings.max_client_batch_size,
        max_text_chars=settings.max_text_chars,
        max_stream_inflight=settings.max_stream_inflight,
        max_concurrent_requests=settings.max_concurrent_requests,
        max_queue_tokens=settings.max_queue_tokens,
        max_batch_tokens=batch_tokens,
        max_batch_requests=settings.max_batch_requests,
        max_running_sequences=settings.max_running_sequences,
        default_deadline_seconds=settings.default_deadline_ms / 1000,
    )


def _serve_metrics(settings: Settings, registry: CollectorRegistry, stack: AsyncExitStack) -> int:
    """Start the metrics endpoint on a thread of its own; its port."""
    try:
        server, thread = start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        raise BindError(f"can't listen on {settings.host}:{settings.metrics_port} for metrics: {error}") from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.callback(close)
    return int(server.server_port)
