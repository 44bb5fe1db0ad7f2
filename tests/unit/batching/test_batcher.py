"""The batcher on an engine made for the test: exactly one answer for each request, whatever the engine does."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.jobs import Outcome, SequenceResult
from rolecall_server.batching.queue import BatchLimits
from rolecall_server.batching.scheduler import Scheduler
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


async def run(batcher: Batcher, sequences: list[TokenIds], of: RequestContext) -> list[Outcome]:
    """One text for each sequence; the outcomes in their order."""
    heard: dict[int, Outcome] = {}

    def on_text(number: int, outcomes: list[Outcome]) -> None:
        (heard[number],) = outcomes

    await batcher.run(MODEL, [[one] for one in sequences], of, on_text=on_text)
    return [heard[number] for number in range(len(sequences))]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_share_a_batch_and_get_their_own_rows(batcher: Batcher, engine: Engine) -> None:
    one, two = await asyncio.gather(run(batcher, ids(1, 2), context()), run(batcher, ids(3), context()))
    assert [o.vector.tolist() for o in one if isinstance(o, SequenceResult)] == [[1.0], [2.0]]
    assert [o.vector.tolist() for o in two if isinstance(o, SequenceResult)] == [[3.0]]
    assert engine.batches == [[1, 2, 3]]


async def test_one_bad_sequence_is_found_and_its_neighbours_are_answered(batcher: Batcher) -> None:
    answers = await asyncio.gather(*(run(batcher, ids(n), context()) for n in (1, BAD, 2, NAN, 3)))
    kinds = [type(outcome[0]) for outcome in answers]
    assert kinds == [SequenceResult, EngineError, SequenceResult, NonFiniteOutputError, SequenceResult]


async def test_the_batcher_lives_on_after_a_failed_batch(batcher: Batcher) -> None:
    assert isinstance((await run(batcher, ids(BAD), context()))[0], EngineError)
    assert isinstance((await run(batcher, ids(5), context()))[0], SequenceResult)


async def test_a_gone_engine_fails_the_request_as_unavailable(batcher: Batcher, engine: Engine) -> None:
    engine.gone = True
    with pytest.raises(UnavailableError):
        await run(batcher, ids(1), context())
    engine.gone = False
    assert isinstance((await run(batcher, ids(1), context()))[0], SequenceResult)


async def test_a_text_is_answered_as_soon_as_its_last_sequence_is(batcher: Batcher, engine: Engine) -> None:
    heard: list[tuple[int, list[float]]] = []
    batches_when_heard: list[int] = []

    def on_text(number: int, outcomes: list[Outcome]) -> None:
        batches_when_heard.append(len(engine.batches))
        heard.append((number, [float(o.vector[0]) for o in outcomes if isinstance(o, SequenceResult)]))

    texts = [[*ids(1, 2)], [np.full(200, 3, np.int64), *ids(4)]]  # the long one runs in a batch of its own
    engine.gate.clear()
    task = asyncio.create_task(batcher.run(MODEL, texts, context(), on_text=on_text))
    await settled()
    assert engine.batches == [[1, 2, 4]]
    engine.gate.set()
    await task
    assert engine.batches == [[1, 2, 4], [3]]
    assert heard == [(0, [1.0, 2.0]), (1, [3.0, 4.0])]
    assert batches_when_heard == [1, 2]


async def test_cancelling_takes_queued_work_out(batcher: Batcher, engine: Engine, observer: ListObserver) -> None:
    engine.gate.clear()
    running = asyncio.create_task(run(batcher, ids(1), context()))
    await settled()
    queued = asyncio.create_task(run(batcher, ids(2, 3), context()))
    await settled()
    assert batcher.backlog(MODEL, 0, Priority.BULK).queued_tokens == 20
    queued.cancel()
    await asyncio.wait([queued])
    assert batcher.backlog(MODEL, 0, Priority.BULK).queued_tokens == 0
    running.cancel()
    await asyncio.wait([running])
    engine.gate.set()
    await run(batcher, ids(4), context())
    assert engine.batches == [[1], [4]]
    assert observer.cancelled == ["queue", "running"]


async def test_a_deadline_that_passes_in_the_queue_is_answered_at_once_and_never_run(
    batcher: Batcher, engine: Engine, observer: ListObserver
) -> None:
    engine.gate.clear()
    running = asyncio.create_task(run(batcher, ids(1), context()))
    await settled()
    late = asyncio.create_task(run(batcher, ids(2), context(deadline=time.monotonic() + 0.05)))
    with pytest.raises(DeadlineError):
        await asyncio.wait_for(late, 5)  # answered while the worker is still busy
    engine.gate.set()
    await running
    assert observer.shed == ["deadline"]
    assert observer.cancelled == []
    assert engine.batches == [[1]]


async def test_closing_fails_what_is_queued_and_finishes_what_runs(engine: Engine, observer: ListObserver) -> None:
    limits = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.0)
    batcher = Batcher(engine, limits=limits, observer=observer, on_failure=lambda reason: None)
    with pytest.raises(UnavailableError):
        await run(batcher, ids(1), context())
    batcher.start()
    engine.gate.clear()
    running = asyncio.create_task(run(batcher, ids(1), context()))
    await settled()
    queued = asyncio.create_task(run(batcher, ids(2), context()))
    await settled()
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(UnavailableError):
        await queued
    engine.gate.set()
    await closing
    assert isinstance((await running)[0], SequenceResult)
    with pytest.raises(UnavailableError):
        await run(batcher, ids(3), context())


async def test_a_dying_dispatcher_fails_all_that_is_queued(
    engine: Engine, observer: ListObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    limits = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.0)
    batcher = Batcher(engine, limits=limits, observer=observer, on_failure=failures.append)
    batcher.start()
    engine.gate.clear()
    running = asyncio.create_task(run(batcher, ids(1), context()))
    await settled()
    queued = asyncio.create_task(run(batcher, ids(2), context()))
    await settled()
    monkeypatch.setattr(Scheduler, "next_batch", None)  # what a bug in it would do
    engine.gate.set()
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(queued, 5)
    assert isinstance((await running)[0], SequenceResult)
    assert failures == ["the batcher has died"]
    with pytest.raises(UnavailableError):
        await run(batcher, ids(3), context())
    await batcher.close()
