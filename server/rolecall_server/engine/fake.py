"""An engine without a model: settable speed and failures, embeddings that depend on the token ids alone.

Part of the product: `--backend fake` tries out clients, deployments and load limits on any machine, and the tests of
everything above the engine run on it.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rolecall_server.engine.base import EmbedOutput, EngineInfo, HealthListener, LoadedModel
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.engine.generators import GenerationOptions, Generators
from rolecall_server.engine.lanes import Generator, LaneOptions
from rolecall_server.errors import EngineError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.generation.types import Delta, Finished, GenerationRequest
from rolecall_server.types import Backlog, ModelInfo, ModelKey, Observer, Priority, TokenIds, Vector

BACKEND = "fake"
FAKE_KEY = ModelKey("encoder", "1")
FAKE_GENERATOR_KEY = ModelKey("generator", "1")
_OPTIONS = GenerationOptions()
_GENERATION = FakeGeneration()


@dataclass(frozen=True, slots=True)
class FakeBehaviour:
    """What the fake does. All times in seconds; 0 means never for the failures.

    max_tokens: with the tokenizer of fake_tokenizer.py tokens are bytes, so 2048 is about 512 of a real model's.
    fail_every: every Nth batch fails. fail_on_token: so does each batch that holds this id (None: no id does).
    generation, generation_rows, generation_lanes: how generators behave, and on how many lanes of how many rows.
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
    generation: FakeGeneration = FakeGeneration()
    generation_rows: int = 16
    generation_lanes: int = 2


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


def fake_generator_info(key: ModelKey = FAKE_GENERATOR_KEY, behaviour: FakeGeneration = _GENERATION) -> ModelInfo:
    """The made-up generator's facts."""
    return ModelInfo(
        key=key,
        precision="fake",
        weights_hash=hashlib.sha256(f"fake {key}".encode()).hexdigest(),
        source="made up",
        licence="Apache-2.0",
        max_tokens=behaviour.max_source_tokens,
        dimensions=64,
        languages=("en", "zh"),
        family="t5",
        max_new_tokens=behaviour.max_new_tokens,
    )


def fake_embedding(ids: TokenIds, dimensions: int) -> Vector:
    """A unit vector [dimensions] that is the same for the same ids, in every process, and like no other's."""
    digest = hashlib.blake2b(np.ascontiguousarray(ids, dtype="<i8").tobytes(), digest_size=16).digest()
    vector = np.random.default_rng(int.from_bytes(digest, "little")).standard_normal(dimensions)
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


class FakeEngine:
    """Implements Engine and ModelControl. Versions named in the behaviour can be loaded; none is at first.

    Embeddings are made on the event loop; generations run on the real scheduler, loop and threads, over FakeSteppers.
    """

    def __init__(
        self,
        behaviour: FakeBehaviour,
        on_health: HealthListener,
        *,
        observer: Observer,
        generation: GenerationOptions = _OPTIONS,
    ) -> None:
        """generation: but for lanes and rows, which the behaviour has."""
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
        self._generators = Generators(observer, lambda whole, reason: self._tell(reason))
        self._lanes = LaneOptions(
            lanes=behaviour.generation_lanes,
            prefill_tokens=generation.prefill_tokens,
            niceness=generation.niceness,
        )
        self._steppers = itertools.count()

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

    def generate(self, model: ModelKey, request: GenerationRequest) -> AsyncGenerator[Delta | Finished, None]:
        return self._generators.generate(model, request)

    def generation_backlog(self, model: ModelKey, priority: Priority = Priority.INTERACTIVE) -> Backlog:
        return self._generators.backlog(model, priority)

    def leftovers(self) -> int:
        """What is kept of generations; 0 when none is under way."""
        return self._generators.leftovers()

    async def health(self) -> bool:
        return self._serving

    async def close(self) -> None:
        self._closed = True
        await self._generators.close()
        await self._idle.wait()
        self._tell("closed")

    def loaded(self) -> Sequence[LoadedModel]:
        models = [*self._loaded.values(), *self._generators.models()]
        return sorted(models, key=lambda model: model.info.key)

    async def load(self, key: ModelKey) -> LoadedModel:
        if self._closed:
            raise UnavailableError("the engine is closed")
        known = key.name in (FAKE_KEY.name, FAKE_GENERATOR_KEY.name) and key.version in self._behaviour.versions
        if not known:
            raise ModelNotFoundError(key.name, key.version)
        if key.name == FAKE_GENERATOR_KEY.name:
            return await self._load_generator(key)
        info = fake_info(key, dimensions=self._behaviour.dimensions, max_tokens=self._behaviour.max_tokens)
        self._loaded[key] = LoadedModel(info, provider="none")
        self._tell(f"model {key} is loaded")
        return self._loaded[key]

    async def unload(self, key: ModelKey) -> None:
        if key in self._generators:
            await self._generators.remove(key)
            self._tell("no model is loaded")
            return
        if self._loaded.pop(key, None) is None:
            raise ModelNotLoadedError(key.name, key.version)
        self._tell("no model is loaded")

    async def _load_generator(self, key: ModelKey) -> LoadedModel:
        behaviour, rows = self._behaviour.generation, self._behaviour.generation_rows

        def make_stepper() -> FakeStepper:
            return FakeStepper(behaviour, rows, seed=next(self._steppers))

        info = behaviour.info(rows)
        model = LoadedModel(fake_generator_info(key, behaviour), provider="none", generation=info)
        if key not in self._generators:
            generator = Generator(key, info, make_stepper, byte_tokenizer())
            await self._generators.add(generator, model, self._lanes)
            self._tell(f"model {key} is loaded")
        return model

    @property
    def _serving(self) -> bool:
        loaded = bool(self._loaded) or bool(self._generators.models())
        return loaded and self._generators.whole and not self._dead and not self._closed

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
