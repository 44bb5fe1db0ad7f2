"""The embedded engine: ONNX Runtime sessions in this process, run on supervised worker threads."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rolecall_server.engine.base import EmbedOutput, EngineInfo, HealthListener, LoadedModel
from rolecall_server.engine.ort.session import OrtSession, SessionSettings
from rolecall_server.engine.workers import WorkerPool
from rolecall_server.errors import ModelNotLoadedError, UnavailableError
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey, TokenIds

BACKEND = "embedded"
# Measured with the default encoder on one thread, texts of 32 to 512 tokens, in tokens a CPU second: 512 and 1,024
# padded tokens are within 6 % of the best, 2,048 is 2 to 9 % below it, 4,096 10 to 14 % (the caches no longer hold the
# batch), 64 about 15 %. Of the two best the smaller: less padding, shorter waits, more workers get a part of a burst.
CPU_BATCH_TOKENS = 512
# Not measured: enough for the matrix products to fill a GPU; the batcher's own maximum caps it.
GPU_BATCH_TOKENS = 16384


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
    ) -> None:
        """workers: batches run at a time, each on `settings.intra_op_threads`. See base.EngineInfo for the rest."""
        self._repository = ModelRepository(repository)
        self._settings = settings
        self._preferred_batch_tokens = preferred_batch_tokens
        self._on_health = on_health
        self._told = False
        # Never changed, only replaced: the probe reads it from a worker.
        self._sessions: Mapping[ModelKey, OrtSession] = {}
        self._loading = asyncio.Lock()
        self._closed = False
        self._pool = WorkerPool(workers, name="embed", probe=self._probe, on_change=self._workers_changed)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            backend=BACKEND,
            parallelism=self._pool.size,
            preferred_batch_tokens=self._preferred_batch_tokens,
        )

    async def embed(self, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        if self._closed:
            raise UnavailableError("the engine is closed")
        session = self._sessions.get(model)
        if session is None:
            raise ModelNotLoadedError(model.name, model.version)
        return await self._pool.run(partial(session.embed, sequences))

    async def health(self) -> bool:
        """False while a worker is being replaced, even if others still take batches."""
        return not self._closed and bool(self._sessions) and self._pool.whole

    async def close(self) -> None:
        self._closed = True
        await self._pool.close()
        self._sessions = {}
        self._tell(False, "closed")

    def loaded(self) -> Sequence[LoadedModel]:
        return [session.loaded for _, session in sorted(self._sessions.items())]

    async def load(self, key: ModelKey) -> LoadedModel:
        if self._closed:
            raise UnavailableError("the engine is closed")
        self._pool.start()
        async with self._loading:
            if key not in self._sessions:
                session = await asyncio.to_thread(self._open, key)
                if self._closed:
                    raise UnavailableError("the engine is closed")
                self._sessions = {**self._sessions, key: session}
                self._tell(self._pool.whole, f"model {key} is loaded")
            return self._sessions[key].loaded

    async def unload(self, key: ModelKey) -> None:
        if key not in self._sessions:
            raise ModelNotLoadedError(key.name, key.version)
        self._sessions = {other: session for other, session in self._sessions.items() if other != key}
        if not self._sessions:
            self._tell(False, "no model is loaded")

    def _open(self, key: ModelKey) -> OrtSession:
        return OrtSession(self._repository.artifact(key), self._settings)

    def _probe(self) -> None:
        for session in self._sessions.values():
            session.warm_up()

    def _workers_changed(self, whole: bool, reason: str) -> None:
        self._tell(whole and bool(self._sessions), reason)

    def _tell(self, serving: bool, reason: str) -> None:
        if serving != self._told:
            self._told = serving
            self._on_health(serving, reason)
