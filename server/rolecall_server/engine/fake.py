"""An engine without a model: settable speed and failures, embeddings that depend on the token ids alone.

Part of the product: `--backend fake` tries out clients, deployments and load limits on any machine, and the tests of
everything above the engine run on it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rolecall_server.engine.base import EmbedOutput, EngineInfo, HealthListener, LoadedModel
from rolecall_server.errors import EngineError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.types import ModelInfo, ModelKey, TokenIds, Vector

BACKEND = "fake"
FAKE_KEY = ModelKey("encoder", "1")


@dataclass(frozen=True, slots=True)
class FakeBehaviour:
    """What the fake does. All times in seconds; 0 means never for the failures.

    max_tokens: with the tokenizer of fake_tokenizer.py tokens are bytes, so 2048 is about 512 of a real model's.
    fail_every: every Nth batch fails. fail_on_token: so does each batch that holds this id (None: no id does).
    die_every: every Nth batch fails with UnavailableError and health is down for recovery_seconds.
    """

    seconds_per_batch: float = 0.0
    seconds_per_token: float = 0.0
    dimensions: int = 384
    max_tokens: int = 2048
    parallelism: int = 1
    preferred_batch_tokens: int = 8192
    fail_every: int = 0
    fail_on_token: int | None = None
    die_every: int = 0
    recovery_seconds: float = 0.5
    versions: tuple[str, ...] = ("1",)


def fake_info(key: ModelKey = FAKE_KEY, *, dimensions: int = 384, max_tokens: int = 2048) -> ModelInfo:
    """The made-up model's facts."""
    return ModelInfo(
        key=key,
        precision="fake",
        weights_hash=hashlib.sha256(f"fake {key} {dimensions}".encode()).hexdigest(),
        source="made up",
        licence="Apache-2.0",
        max_tokens=max_tokens,
        dimensions=dimensions,
        languages=("en", "zh"),
    )


def fake_embedding(ids: TokenIds, dimensions: int) -> Vector:
    """A unit vector [dimensions] that is the same for the same ids, in every process, and like no other's."""
    digest = hashlib.blake2b(np.ascontiguousarray(ids, dtype="<i8").tobytes(), digest_size=16).digest()
    vector = np.random.default_rng(int.from_bytes(digest, "little")).standard_normal(dimensions)
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


class FakeEngine:
    """Implements Engine and ModelControl. Versions named in the behaviour can be loaded; none is at first."""

    def __init__(self, behaviour: FakeBehaviour, on_health: HealthListener) -> None:
        self._behaviour = behaviour
        self._on_health = on_health
        self._places = asyncio.Semaphore(behaviour.parallelism)
        self._loaded: dict[ModelKey, LoadedModel] = {}
        self._batches = 0
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._dead = False
        self._closed = False
        self._told = False

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            backend=BACKEND,
            parallelism=self._behaviour.parallelism,
            preferred_batch_tokens=self._behaviour.preferred_batch_tokens,
        )

    async def embed(self, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        if model not in self._loaded:
            raise ModelNotLoadedError(model.name, model.version)
        async with self._places:
            self._require_alive()
            self._running += 1
            self._idle.clear()
            try:
                return await self._run(sequences)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()

    async def health(self) -> bool:
        return self._serving

    async def close(self) -> None:
        self._closed = True
        await self._idle.wait()
        self._tell("closed")

    def loaded(self) -> Sequence[LoadedModel]:
        return [model for _, model in sorted(self._loaded.items())]

    async def load(self, key: ModelKey) -> LoadedModel:
        if self._closed:
            raise UnavailableError("the engine is closed")
        if key.name != FAKE_KEY.name or key.version not in self._behaviour.versions:
            raise ModelNotFoundError(key.name, key.version)
        info = fake_info(key, dimensions=self._behaviour.dimensions, max_tokens=self._behaviour.max_tokens)
        self._loaded[key] = LoadedModel(info, provider="none")
        self._tell(f"model {key} is loaded")
        return self._loaded[key]

    async def unload(self, key: ModelKey) -> None:
        if self._loaded.pop(key, None) is None:
            raise ModelNotLoadedError(key.name, key.version)
        self._tell("no model is loaded")

    @property
    def _serving(self) -> bool:
        return bool(self._loaded) and not self._dead and not self._closed

    def _require_alive(self) -> None:
        if self._closed:
            raise UnavailableError("the engine is closed")
        if self._dead:
            raise UnavailableError("the fake engine is dead for the moment")

    async def _run(self, sequences: Sequence[TokenIds]) -> EmbedOutput:
        behaviour = self._behaviour
        self._batches += 1
        number = self._batches
        padded_tokens = max(len(ids) for ids in sequences) * len(sequences)
        seconds = behaviour.seconds_per_batch + behaviour.seconds_per_token * padded_tokens
        await asyncio.sleep(seconds)
        if behaviour.die_every and number % behaviour.die_every == 0:
            self._die()
        if self._dead:
            raise UnavailableError("the fake engine died while it ran this batch")
        if behaviour.fail_every and number % behaviour.fail_every == 0:
            raise EngineError(f"the fake engine was told to fail on every batch number {behaviour.fail_every}")
        if behaviour.fail_on_token is not None and any(behaviour.fail_on_token in ids for ids in sequences):
            raise EngineError(f"the fake engine was told to fail on token {behaviour.fail_on_token}")
        embeddings = np.stack([fake_embedding(ids, behaviour.dimensions) for ids in sequences])
        return EmbedOutput(embeddings, padded_tokens, seconds)

    def _die(self) -> None:
        self._dead = True
        self._tell("the fake engine was told to die")
        asyncio.get_running_loop().call_later(self._behaviour.recovery_seconds, self._recover)

    def _recover(self) -> None:
        self._dead = False
        self._tell("the fake engine is back")

    def _tell(self, reason: str) -> None:
        if self._serving != self._told:
            self._told = self._serving
            self._on_health(self._told, reason)
