"""The embedded engine on real ONNX Runtime sessions, with worker threads that are really killed."""

import asyncio
import ctypes
import random
import threading

import numpy as np
import pytest
from rolecall_server.engine.embedded import EmbeddedEngine
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.session import OrtSession
from rolecall_server.errors import EngineError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.types import ModelKey

from tests.fixtures_models import tiny_repository, write_manifest
from tests.observers import ListObserver

FIRST, SECOND = ModelKey("encoder", "1"), ModelKey("encoder", "2")
SECONDS = 30
"""For a wait that must end; never a measure."""


class Health:
    def __init__(self):
        self.changes = []
        self._changed = asyncio.Event()

    def __call__(self, serving, reason):
        self.changes.append((serving, reason))
        self._changed.set()

    @property
    def states(self):
        return [serving for serving, _ in self.changes]

    async def until_serving(self):
        while not self.states[-1]:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), SECONDS)


@pytest.fixture
def root(tmp_path):
    tiny_repository(tmp_path, "1")
    return tiny_repository(tmp_path, "2", seed=1)


@pytest.fixture
async def health():
    return Health()


@pytest.fixture
async def engine(root, health):
    engine = EmbeddedEngine(root, SessionSettings(), workers=2, on_health=health, observer=ListObserver())
    yield engine
    await asyncio.wait_for(engine.close(), SECONDS)


def batch(size=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 260, length) for length in rng.integers(1, 60, size)]


def workers():
    """Idents of the threads that run batches."""
    named = (thread for thread in threading.enumerate() if thread.name.startswith("embed-"))
    return [thread.ident for thread in named if thread.is_alive() and not thread.name.endswith("watch")]


def kill(thread):
    return ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))


async def test_nothing_is_served_before_a_model_is_loaded(engine, health):
    assert not await engine.health()
    with pytest.raises(ModelNotLoadedError):
        await engine.embed(FIRST, batch())

    loaded = await engine.load(FIRST)

    assert await engine.health()
    assert health.states == [True]
    assert loaded.provider == "CPUExecutionProvider"
    assert (await engine.embed(FIRST, batch())).embeddings.shape == (4, 32)


async def test_versions_are_loaded_and_unloaded_side_by_side(engine, health):
    with pytest.raises(ModelNotFoundError):
        await engine.load(ModelKey("encoder", "3"))
    one, again, _ = await asyncio.gather(engine.load(FIRST), engine.load(FIRST), engine.load(SECOND))
    assert one is again
    assert [model.info.key for model in engine.loaded()] == [FIRST, SECOND]
    first, second = await asyncio.gather(engine.embed(FIRST, batch()), engine.embed(SECOND, batch()))
    assert not np.allclose(first.embeddings, second.embeddings)

    await engine.unload(FIRST)

    with pytest.raises(ModelNotLoadedError):
        await engine.embed(FIRST, batch())
    with pytest.raises(ModelNotLoadedError):
        await engine.unload(FIRST)
    assert await engine.health()
    await engine.unload(SECOND)
    assert health.states == [True, False]


async def test_a_damaged_version_is_not_loaded_and_harms_no_other(engine, root, health):
    await engine.load(FIRST)
    (root / "encoder" / "2" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match="hash"):
        await engine.load(SECOND)
    write_manifest(root / "encoder" / "2")
    with pytest.raises(EngineError, match="InvalidProtobuf"):
        await engine.load(SECOND)

    assert [model.info.key for model in engine.loaded()] == [FIRST]
    assert (await engine.embed(FIRST, batch())).embeddings.shape == (4, 32)
    assert health.states == [True]


async def test_a_failing_batch_fails_alone(engine, health):
    await engine.load(FIRST)
    before = workers()
    bad = [np.array([99_999])]

    outcomes = await asyncio.gather(
        *(engine.embed(FIRST, bad if number % 3 == 0 else batch(seed=number)) for number in range(30)),
        return_exceptions=True,
    )

    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, EngineError) == (number % 3 == 0), outcome
    assert workers() == before
    assert health.states == [True]
    assert await engine.health()


async def test_concurrent_batches_give_what_each_gives_alone(engine):
    await engine.load(FIRST)
    alone = [(await engine.embed(FIRST, batch(seed=number))).embeddings for number in range(50)]

    together = await asyncio.gather(*(engine.embed(FIRST, batch(seed=number)) for number in range(50)))

    for expected, output in zip(alone, together, strict=True):
        assert (output.embeddings == expected).all()


async def test_workers_killed_in_the_middle_of_a_batch(engine, health, monkeypatch):
    """Each round: a worker dies while ONNX Runtime's result is on its way back; another batch runs beside it."""
    await engine.load(FIRST)
    run = OrtSession.embed
    victims = threading.Semaphore(0)

    def embed(session, sequences):
        output = run(session, sequences)
        if len(sequences) == 7 and victims.acquire(blocking=False):
            kill(threading.get_ident())
        return output

    monkeypatch.setattr(OrtSession, "embed", embed)
    expected = (await engine.embed(FIRST, batch(7))).embeddings
    for round_number in range(100):
        health.changes.clear()
        victims.release()
        outcomes = await asyncio.wait_for(
            asyncio.gather(engine.embed(FIRST, batch(7)), engine.embed(FIRST, batch(3)), return_exceptions=True),
            SECONDS,
        )
        assert isinstance(outcomes[0], UnavailableError), round_number
        assert not isinstance(outcomes[1], BaseException), round_number
        await health.until_serving()
        assert health.states == [False, True]
        assert "SystemExit" in health.changes[0][1]
        assert await engine.health()
        assert ((await engine.embed(FIRST, batch(7))).embeddings == expected).all()
    assert len(workers()) == 2


async def test_workers_killed_at_random_moments_leave_no_batch_unanswered(engine, health):
    await engine.load(FIRST)
    chance = random.Random(0)
    expected = {seed: (await engine.embed(FIRST, batch(seed=seed))).embeddings for seed in range(4)}
    for _ in range(100):
        runs = [asyncio.create_task(engine.embed(FIRST, batch(seed=seed))) for seed in range(4)]
        await asyncio.sleep(chance.random() / 1000)
        for thread in chance.sample(workers(), 1) if workers() else ():
            kill(thread)
        outcomes = await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), SECONDS)
        for seed, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, UnavailableError)
            else:
                assert (outcome.embeddings == expected[seed]).all()
        await asyncio.wait_for(health.until_serving(), SECONDS)
    assert health.states.count(False) > 20
    # A worker that was hit while it waited dies of its next batch: give each one until all are sound.
    for _ in range(10):
        await asyncio.gather(*(engine.embed(FIRST, batch()) for _ in range(2)), return_exceptions=True)
        await asyncio.wait_for(health.until_serving(), SECONDS)
    assert await engine.health()
    assert len(workers()) == 2


async def test_closing_finishes_what_runs_and_refuses_the_rest(root, health):
    engine = EmbeddedEngine(root, SessionSettings(), workers=1, on_health=health, observer=ListObserver())
    await engine.load(FIRST)
    runs = [asyncio.create_task(engine.embed(FIRST, batch(seed=number))) for number in range(5)]
    await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(engine.close(), engine.close()), SECONDS)

    outcomes = await asyncio.gather(*runs, return_exceptions=True)
    assert not isinstance(outcomes[0], BaseException)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes[1:])
    assert workers() == []
    assert health.states == [True, False]
    assert not await engine.health()
    for call in (engine.embed(FIRST, batch()), engine.load(SECOND)):
        with pytest.raises(UnavailableError):
            await call


async def test_an_engine_that_never_ran_closes(root, health):
    await EmbeddedEngine(root, SessionSettings(), workers=2, on_health=health, observer=ListObserver()).close()

    assert health.states == []
