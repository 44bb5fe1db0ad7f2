"""The batcher on an engine made for the test: exactly one answer for each request, whatever the engine does."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.jobs import SequenceResult
from rolecall_server.batching.policy import BatchLimits, BatchQueue
from rolecall_server.engine.base import EmbedOutput, EngineInfo
from rolecall_server.errors import DeadlineError, EngineError, NonFiniteOutputError, UnavailableError
from rolecall_server.types import ModelKey, Priority, RequestContext, TokenIds

from tests.observers import ListObserver

MODEL = ModelKey("encoder", "1")
BAD, NAN = 666, 777


class Engine:
    """Gives each sequence its first id; fails on BAD, answers NaN for NAN; waits while `gate` is closed."""

    info = EngineInfo("test", parallelism=1, preferred_batch_tokens=1024)

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[int]] = []
        self.gone = False

    async def embed(self, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        first = [int(ids[0]) for ids in sequences]
        self.batches.append(first)
        await self.gate.wait()
        if self.gone:
            raise UnavailableError("the engine is gone")
        if BAD in first:
            raise EngineError("bad")
        rows = [[math.nan if one == NAN else float(one)] for one in first]
        return EmbedOutput(np.array(rows, np.float32), sum(map(len, sequences)), 0.001)

    async def health(self) -> bool:
        return not self.gone

    async def close(self) -> None:
        self.gone = True


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def observer() -> ListObserver:
    return ListObserver()


@pytest.fixture
async def batcher(engine: Engine, observer: ListObserver) -> AsyncIterator[Batcher]:
    limits = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.0)
    failures: list[str] = []
    one = Batcher(engine, limits=limits, observer=observer, on_failure=failures.append)
    one.start()
    yield one
    await one.close()
    assert failures == []


def context(deadline: float = math.inf) -> RequestContext:
    return RequestContext("id", deadline, Priority.INTERACTIVE)


def ids(*first: int) -> list[TokenIds]:
    return [np.full(10, one, np.int64) for one in first]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_share_a_batch_and_get_their_own_rows(batcher: Batcher, engine: Engine) -> None:
    one, two = await asyncio.gather(batcher.run(MODEL, ids(1, 2), context()), batcher.run(MODEL, ids(3), context()))
    assert [o.vector.tolist() for o in one if isinstance(o, SequenceResult)] == [[1.0], [2.0]]
    assert [o.vector.tolist() for o in two if isinstance(o, SequenceResult)] == [[3.0]]
    assert engine.batches == [[1, 2, 3]]


async def test_one_bad_sequence_is_found_and_its_neighbours_are_answered(batcher: Batcher) -> None:
    answers = await asyncio.gather(*(batcher.run(MODEL, ids(n), context()) for n in (1, BAD, 2, NAN, 3)))
    kinds = [type(outcome[0]) for outcome in answers]
    assert kinds == [SequenceResult, EngineError, SequenceResult, NonFiniteOutputError, SequenceResult]


async def test_the_batcher_lives_on_after_a_failed_batch(batcher: Batcher) -> None:
    assert isinstance((await batcher.run(MODEL, ids(BAD), context()))[0], EngineError)
    assert isinstance((await batcher.run(MODEL, ids(5), context()))[0], SequenceResult)


async def test_a_gone_engine_fails_the_request_as_unavailable(batcher: Batcher, engine: Engine) -> None:
    engine.gone = True
    with pytest.raises(UnavailableError):
        await batcher.run(MODEL, ids(1), context())
    engine.gone = False
    assert isinstance((await batcher.run(MODEL, ids(1), context()))[0], SequenceResult)


async def test_cancelling_takes_queued_work_out(batcher: Batcher, engine: Engine, observer: ListObserver) -> None:
    engine.gate.clear()
    running = asyncio.create_task(batcher.run(MODEL, ids(1), context()))
    await settled()
    queued = asyncio.create_task(batcher.run(MODEL, ids(2, 3), context()))
    await settled()
    assert batcher.queued_tokens() == 20
    queued.cancel()
    await asyncio.wait([queued])
    assert batcher.queued_tokens() == 0
    running.cancel()
    await asyncio.wait([running])
    engine.gate.set()
    await batcher.run(MODEL, ids(4), context())
    assert engine.batches == [[1], [4]]
    assert observer.cancelled == ["queue", "running"]


async def test_a_deadline_that_passes_in_the_queue_is_never_run(batcher: Batcher, engine: Engine) -> None:
    engine.gate.clear()
    running = asyncio.create_task(batcher.run(MODEL, ids(1), context()))
    await settled()
    late = asyncio.create_task(batcher.run(MODEL, ids(2), context(deadline=0.0)))
    await settled()
    engine.gate.set()
    with pytest.raises(DeadlineError):
        await late
    await running
    assert engine.batches == [[1]]


async def test_closing_fails_what_is_queued_and_finishes_what_runs(engine: Engine, observer: ListObserver) -> None:
    limits = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.0)
    batcher = Batcher(engine, limits=limits, observer=observer, on_failure=lambda reason: None)
    with pytest.raises(UnavailableError):
        await batcher.run(MODEL, ids(1), context())
    batcher.start()
    engine.gate.clear()
    running = asyncio.create_task(batcher.run(MODEL, ids(1), context()))
    await settled()
    queued = asyncio.create_task(batcher.run(MODEL, ids(2), context()))
    await settled()
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(UnavailableError):
        await queued
    engine.gate.set()
    await closing
    assert isinstance((await running)[0], SequenceResult)
    with pytest.raises(UnavailableError):
        await batcher.run(MODEL, ids(3), context())


async def test_a_dying_dispatcher_fails_all_that_is_queued(
    engine: Engine, observer: ListObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    limits = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.0)
    batcher = Batcher(engine, limits=limits, observer=observer, on_failure=failures.append)
    batcher.start()
    engine.gate.clear()
    running = asyncio.create_task(batcher.run(MODEL, ids(1), context()))
    await settled()
    queued = asyncio.create_task(batcher.run(MODEL, ids(2), context()))
    await settled()
    monkeypatch.setattr(BatchQueue, "next_batch", None)  # what a bug in the policy would do
    engine.gate.set()
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(queued, 5)
    assert isinstance((await running)[0], SequenceResult)
    assert failures == ["the batcher has died"]
    with pytest.raises(UnavailableError):
        await batcher.run(MODEL, ids(3), context())
    await batcher.close()
