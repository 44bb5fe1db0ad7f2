"""A real, briefly trained T5 on the embedded engine: texts do not depend on their company, rows come back."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rolecall_server.engine.embedded import EmbeddedEngine
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.errors import EngineError, ModelNotLoadedError
from rolecall_server.generation.types import Decoding, EarlyStopping, Finished, GenerationRequest, Hypothesis
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey, Priority
from tokenizers import Tokenizer

from tests import fixtures_t5
from tests.generators import repository_with_generator
from tests.observers import ListObserver
from tests.requirements import require_module
from tests.unit.generation.machine import FOREVER, Machine

KEY = ModelKey("generator", "1")
SECONDS = 60
DECODINGS = (
    {},
    {"max_new_tokens": 3},
    {"stop": ("a",)},
    {"num_beams": 4, "early_stopping": EarlyStopping.TRUE, "num_return_sequences": 2},
    {"do_sample": True, "num_return_sequences": 3, "seed": 5, "temperature": 1.5},
    {"do_sample": True, "top_k": 0, "top_p": 0.9},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
)


@pytest.fixture(scope="module")
def repository(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_module("torch")
    return repository_with_generator(tiny_models, tmp_path_factory.mktemp("generator") / "models")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return fixtures_t5.sources(12)


@pytest.fixture(scope="module")
def tokenizer(repository: Path) -> Tokenizer:
    return Tokenizer.from_file(str(ModelRepository(repository).artifact(KEY).tokenizer))


@pytest.fixture(scope="module")
def generator(repository: Path) -> T5Generator:
    return T5Generator(ModelRepository(repository).artifact(KEY), SessionSettings(), rows=8)


def asked(source: np.ndarray, number: int = 0, *, streams: bool = False, **decoding: object) -> GenerationRequest:
    return GenerationRequest(
        id=number,
        source=source,
        decoding=Decoding(**{"max_new_tokens": 40, **decoding}),
        priority=Priority.BULK,
        arrived=0.0,
        deadline=FOREVER,
        streams=streams,
    )


class Alone:
    """What each source gives with each decoding and nothing beside it, worked out once."""

    def __init__(self, generator: T5Generator, tokenizer: Tokenizer) -> None:
        self._generator = generator
        self._tokenizer = tokenizer
        self._known: dict[tuple[int, int], tuple[Hypothesis, ...]] = {}

    def of(self, which: int, how: int, source: np.ndarray) -> tuple[Hypothesis, ...]:
        if (which, how) not in self._known:
            machine = Machine(steppers=[self._generator.stepper()], tokenizer=self._tokenizer)
            machine.push(asked(source, **DECODINGS[how]))
            machine.run()
            end = machine.end(0)
            assert isinstance(end, Finished), end
            self._known[which, how] = end.hypotheses
        return self._known[which, how]


@pytest.fixture(scope="module")
def alone(generator: T5Generator, tokenizer: Tokenizer) -> Alone:
    return Alone(generator, tokenizer)


COMPANY = st.lists(
    st.tuples(
        st.integers(0, 11),  # source
        st.integers(0, len(DECODINGS) - 1),
        st.integers(0, 20),  # arrives before this step
        st.one_of(st.none(), st.integers(0, 15)),  # is cancelled so many steps later
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(company=COMPANY, lanes=st.integers(1, 2), seed=st.integers(0, 99))
def test_alone_is_batched_whatever_comes_and_goes(company, lanes, seed, *, generator, tokenizer, texts, alone):
    sources = [np.array(tokenizer.encode(text).ids) for text in texts]
    machine = Machine(lanes=lanes, steppers=[generator.stepper() for _ in range(lanes)], tokenizer=tokenizer)
    chooser = random.Random(seed)
    for moment in range(36):
        for number, (which, how, arrives, cancel) in enumerate(company):
            if arrives == moment:
                machine.push(asked(sources[which], number, **DECODINGS[how]))
            if cancel is not None and arrives + cancel == moment:
                machine.cancel(number)
        machine.step(chooser.randrange(lanes))
    machine.run(chooser)

    for number in machine.events:
        which, how, _, cancel = company[number]
        end = machine.end(number)
        assert isinstance(end, Finished), end
        if end.hypotheses or cancel is None:
            assert end.hypotheses == alone.of(which, how, sources[which])
    assert [stepper.rows for stepper in machine.steppers] == [0] * lanes
    assert machine.queue.leftovers() == 0


@pytest.fixture
async def engine(repository: Path) -> AsyncIterator[EmbeddedEngine]:
    made = EmbeddedEngine(
        repository, SessionSettings(), workers=1, on_health=lambda serving, reason: None, observer=ListObserver()
    )
    yield made
    await asyncio.wait_for(made.close(), SECONDS)


def now(request: GenerationRequest) -> GenerationRequest:
    return GenerationRequest(
        id=0,
        source=request.source,
        decoding=request.decoding,
        priority=Priority.INTERACTIVE,
        arrived=time.monotonic(),
        deadline=time.monotonic() + SECONDS,
        streams=request.streams,
    )


async def test_many_at_a_time_and_some_who_leave(engine, alone, texts, tokenizer):
    await engine.load(KEY)
    sources = [np.array(tokenizer.encode(text).ids) for text in texts]

    async def stays(which: int, how: int) -> None:
        events = [e async for e in engine.generate(KEY, now(asked(sources[which], streams=True, **DECODINGS[how])))]
        *deltas, end = events
        assert isinstance(end, Finished)
        assert end.hypotheses == alone.of(which, how, sources[which])
        if len(end.hypotheses) == 1:
            assert "".join(delta.text for delta in deltas) == end.hypotheses[0].text

    async def leaves(which: int) -> None:
        async with aclosing(engine.generate(KEY, now(asked(sources[which], streams=True)))) as events:
            await anext(events)

    for which, how in ((which, how) for which in range(4) for how in range(len(DECODINGS))):
        alone.of(which, how, sources[which])
    crowd = [stays(which, how) for which in range(4) for how in range(len(DECODINGS))]
    await asyncio.wait_for(asyncio.gather(*crowd, *(leaves(which) for which in range(12))), SECONDS)

    await asyncio.sleep(0.1)
    assert engine.leftovers() == 0


async def test_it_is_loaded_and_unloaded_beside_the_encoder(engine):
    await engine.load(ModelKey("encoder", "1"))
    model = await engine.load(KEY)
    assert model.generation is not None
    assert model.generation.max_source_tokens == model.info.max_tokens
    assert await engine.load(KEY) is model
    assert [loaded.info.key.name for loaded in engine.loaded()] == ["encoder", "generator"]

    await engine.unload(KEY)

    with pytest.raises(ModelNotLoadedError):
        engine.generation_backlog(KEY)
    with pytest.raises(ModelNotLoadedError):
        await anext(engine.generate(KEY, asked(np.array([1]))))
    with pytest.raises(ModelNotLoadedError):
        await engine.unload(KEY)
    assert await engine.health()


async def test_a_generator_with_a_damaged_tokenizer_is_refused(repository, tmp_path, monkeypatch):
    copy = tmp_path / "models"
    shutil.copytree(repository, copy)
    artifact = ModelRepository(copy).artifact(KEY)
    artifact.tokenizer.write_text("{}")
    monkeypatch.setattr(type(artifact), "verify", lambda self: None)
    engine = EmbeddedEngine(
        copy, SessionSettings(), workers=1, on_health=lambda serving, reason: None, observer=ListObserver()
    )

    with pytest.raises(EngineError, match="unreadable tokenizer"):
        await engine.load(KEY)

    assert engine.loaded() == []
    await engine.close()
