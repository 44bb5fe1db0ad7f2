"""The embedded engine: ONNX Runtime sessions in this process, run on supervised worker threads."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path

from rolecall_server.engine.base import EmbedOutput, EngineInfo, HealthListener, LoadedModel
from rolecall_server.engine.generators import GenerationOptions, Generators
from rolecall_server.engine.opening import open_generator
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.session import OrtSession
from rolecall_server.engine.workers import WorkerPool
from rolecall_server.errors import ModelNotLoadedError, UnavailableError
from rolecall_server.generation.types import Delta, Finished, GenerationRequest
from rolecall_server.repository import Artifact, ModelRepository
from rolecall_server.types import Backlog, ModelKey, Observer, Priority, TokenIds

BACKEND = "embedded"
# Measured with the default encoder on one thread, texts of 32 to 512 tokens, in tokens a CPU second: 512 and 1,024
# padded tokens are within 6 % of the best, 2,048 is 2 to 9 % below it, 4,096 10 to 14 % (the caches no longer hold the
# batch), 64 about 15 %. Of the two best the smaller: less padding, shorter waits, more workers get a part of a burst.
CPU_BATCH_TOKENS = 512
# Not measured: enough for the matrix products to fill a GPU; the batcher's own maximum caps it.
GPU_BATCH_TOKENS = 16384
_GENERATION = GenerationOptions()


class EmbeddedEngine:
    """Implements Engine and ModelControl. All its state belongs to the event loop; sessions are shared by the workers.

    A batch that fails raises EngineError and harms nothing else. A worker that dies fails the batch that it ran with
    UnavailableError; batches that wait move to the other workers, or fail likewise where there is none. Health is
    False from then until the replacement has run every loaded model once, and before anything is loaded.
    """

    def __init__(
        self,
        repository: Path,
        settings: SessionSettings,
        *,
        workers: int,
        preferred_batch_tokens: int = CPU_BATCH_TOKENS,
        on_health: HealthListener,
        observer: Observer,
        generation: GenerationOptions = _GENERATION,
    ) -> None:
        """workers: batches run at a time, each on `settings.intra_op_threads`. See base.EngineInfo for the rest."""
        self._repository = ModelRepository(repository)
        self._settings = settings
        self._preferred_batch_tokens = preferred_batch_tokens
        self._generation = generation
        self._on_health = on_health
        self._told = False
        # Never changed, only replaced: the probe reads it from a worker.
        self._sessions: Mapping[ModelKey, OrtSession] = {}
        self._loading = asyncio.Lock()
        self._closed = False
        self._generators = Generators(observer, self._parts_changed)
        self._pool = WorkerPool(workers, name="embed", probe=self._probe, on_change=self._parts_changed)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            backend=BACKEND,
            parallelism=self._pool.size,
            preferred_batch_tokens=self._preferred_batch_tokens,
        )

    async def embed(self, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        self._require_open()
        session = self._sessions.get(model)
        if session is None:
            raise ModelNotLoadedError(model.name, model.version)
        return await self._pool.run(partial(session.embed, sequences))

    def generate(self, model: ModelKey, request: GenerationRequest) -> AsyncGenerator[Delta | Finished, None]:
        return self._generators.generate(model, request)

    def generation_backlog(self, model: ModelKey, priority: Priority = Priority.INTERACTIVE) -> Backlog:
        return self._generators.backlog(model, priority)

    def leftovers(self) -> int:
        """What is kept of generations; 0 when none is under way."""
        return self._generators.leftovers()

    async def health(self) -> bool:
        """False while a worker or a lane is being replaced, even if others still take work."""
        return not self._closed and self._whole

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(self._pool.close(), self._generators.close())
        self._sessions = {}
        self._tell(False, "closed")

    def loaded(self) -> Sequence[LoadedModel]:
        models = [*(session.loaded for session in self._sessions.values()), *self._generators.models()]
        return sorted(models, key=lambda model: model.info.key)

    async def load(self, key: ModelKey) -> LoadedModel:
        self._require_open()
        self._pool.start()
        async with self._loading:
            known = {model.info.key: model for model in self.loaded()}
            if key in known:
                return known[key]
            artifact = await asyncio.to_thread(self._repository.artifact, key)
            load = self._load_generator if artifact.info.generates else self._load_encoder
            model = await load(artifact)
            self._tell(self._whole, f"model {key} is loaded")
            return model

    async def unload(self, key: ModelKey) -> None:
        if key in self._sessions:
            self._sessions = {other: session for other, session in self._sessions.items() if other != key}
        else:
            await self._generators.remove(key)
        if not self.loaded():
            self._tell(False, "no model is loaded")

    async def _load_encoder(self, artifact: Artifact) -> LoadedModel:
        session = await asyncio.to_thread(OrtSession, artifact, self._settings)
        self._require_open()
        self._sessions = {**self._sessions, artifact.info.key: session}
        return session.loaded

    async def _load_generator(self, artifact: Artifact) -> LoadedModel:
        opened = await asyncio.to_thread(open_generator, artifact, self._settings, self._generation)
        self._require_open()
        await self._generators.add(opened.generator, opened.model, opened.lanes)
        return opened.model

    def _require_open(self) -> None:
        if self._closed:
            raise UnavailableError("the engine is closed")

    def _probe(self) -> None:
        for session in self._sessions.values():
            session.warm_up()

    @property
    def _whole(self) -> bool:
        """Whether something is loaded and all threads for it take work."""
        loaded = bool(self._sessions) or bool(self._generators.models())
        return loaded and self._pool.whole and self._generators.whole

    def _parts_changed(self, whole: bool, reason: str) -> None:
        self._tell(whole and self._whole, reason)

    def _tell(self, serving: bool, reason: str) -> None:
        if serving != self._told:
            self._told = serving
            self._on_health(serving, reason)
