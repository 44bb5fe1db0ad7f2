import asyncio
import ctypes
import threading

import pytest
from rolecall_server.engine.workers import WorkerPool
from rolecall_server.errors import UnavailableError

SECONDS = 10
"""For a wait that must end; never a measure."""


class Listener:
    """Records what a pool says of its health, and lets a test wait for it."""

    def __init__(self):
        self.changes = []
        self._changed = asyncio.Event()

    def __call__(self, whole, reason):
        self.changes.append((whole, reason))
        self._changed.set()

    async def until(self, whole):
        while not self.changes or self.changes[-1][0] is not whole:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), SECONDS)


class Gate:
    """Work that says when it runs and waits until it may end."""

    def __init__(self):
        self.started = threading.Event()
        self.released = threading.Event()
        self.thread = None

    def __call__(self):
        self.thread = threading.get_ident()
        self.started.set()
        assert self.released.wait(SECONDS)
        return "through"


def raising(error):
    def work():
        raise error

    return work


def kill(thread):
    """End a thread wherever it is: SystemExit at its next Python instruction."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit)) == 1


async def started(gate):
    assert await asyncio.to_thread(gate.started.wait, SECONDS)


@pytest.fixture
async def listener():
    return Listener()


@pytest.fixture
async def make_pool(listener):
    pools = []

    def make(size=1, probe=lambda: None):
        pools.append(WorkerPool(size, name="test", probe=probe, on_change=listener))
        return pools[-1]

    yield make
    for pool in pools:
        await asyncio.wait_for(pool.close(), SECONDS)


async def test_work_runs_off_the_event_loop_and_its_result_comes_back(make_pool):
    assert await make_pool().run(threading.get_ident) != threading.get_ident()


async def test_as_many_run_at_a_time_as_there_are_threads(make_pool):
    pool, gates = make_pool(2), [Gate(), Gate(), Gate()]
    runs = [asyncio.create_task(pool.run(gate)) for gate in gates]
    await started(gates[0])
    await started(gates[1])
    assert not gates[2].started.is_set()

    gates[0].released.set()
    await started(gates[2])
    gates[1].released.set()
    gates[2].released.set()

    assert await asyncio.gather(*runs) == ["through"] * 3
    assert gates[2].thread == gates[0].thread


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError()])
async def test_an_exception_fails_its_own_work_only(make_pool, listener, error):
    pool = make_pool()
    thread = await pool.run(threading.current_thread)

    with pytest.raises(type(error)):
        await pool.run(raising(error))

    assert await pool.run(threading.current_thread) is thread
    assert pool.whole
    assert listener.changes == []


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit()])
async def test_a_dead_thread_fails_its_work_and_is_replaced(make_pool, listener, error):
    pool = make_pool()
    thread = await pool.run(threading.current_thread)

    with pytest.raises(UnavailableError):
        await pool.run(raising(error))

    await listener.until(True)
    assert [whole for whole, _ in listener.changes] == [False, True]
    assert type(error).__name__ in listener.changes[0][1]
    assert await pool.run(threading.current_thread) is not thread


async def test_waiting_work_fails_with_the_last_thread(make_pool, listener):
    pool, gate = make_pool(), Gate()
    runs = [asyncio.create_task(pool.run(work)) for work in (gate, str, str)]
    await started(gate)
    kill(gate.thread)
    gate.released.set()

    outcomes = await asyncio.gather(*runs, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    await listener.until(True)
    assert await pool.run(lambda: 7) == 7


async def test_waiting_work_moves_to_the_threads_that_live(make_pool, listener):
    pool, dying, living = make_pool(2), Gate(), Gate()
    first, second, third = (asyncio.create_task(pool.run(work)) for work in (dying, living, lambda: 7))
    await started(dying)
    await started(living)
    kill(dying.thread)
    dying.released.set()
    with pytest.raises(UnavailableError):
        await first
    living.released.set()

    assert await second == "through"
    assert await third == 7


async def test_a_thread_killed_while_idle_loses_the_next_work_to_nobody(make_pool, listener):
    pool = make_pool()
    kill(await pool.run(threading.get_ident))

    # The thread dies on waking up, with this work in its hands.
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(pool.run(lambda: 7), SECONDS)

    await listener.until(True)
    assert await pool.run(lambda: 7) == 7


async def test_a_replacement_takes_no_work_before_its_probe_has_run(make_pool, listener):
    probe = Gate()
    pool = make_pool(probe=probe)
    with pytest.raises(UnavailableError):
        await pool.run(raising(SystemExit()))
    await started(probe)

    with pytest.raises(UnavailableError):
        await pool.run(lambda: 7)
    assert not pool.whole

    probe.released.set()
    await listener.until(True)
    assert pool.whole


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit()])
async def test_a_failing_probe_is_tried_again(make_pool, listener, error):
    failures = [error, error]

    def probe():
        if failures:
            raise failures.pop()

    pool = make_pool(probe=probe)
    with pytest.raises(UnavailableError):
        await pool.run(raising(SystemExit()))

    await listener.until(True)
    assert not failures
    assert await pool.run(lambda: 7) == 7


async def test_a_probe_that_fails_for_hours_is_still_tried_again(make_pool, listener, monkeypatch):
    """After some 1,024 failures the doubled wait itself is beyond what a float holds."""
    monkeypatch.setattr("rolecall_server.engine.supervision._FIRST_SECONDS", 1e-5)
    monkeypatch.setattr("rolecall_server.engine.supervision._LAST_SECONDS", 1e-5)
    failures = [ValueError()] * 1100

    def probe():
        if failures:
            raise failures.pop()

    pool = make_pool(probe=probe)
    with pytest.raises(UnavailableError):
        await pool.run(raising(SystemExit()))

    await listener.until(True)
    assert not failures


async def test_work_whose_caller_went_away_is_not_run(make_pool):
    pool, gate, ran = make_pool(), Gate(), []
    first = asyncio.create_task(pool.run(gate))
    second = asyncio.create_task(pool.run(lambda: ran.append(1)))
    await started(gate)
    second.cancel()
    gate.released.set()

    assert await first == "through"
    assert await pool.run(lambda: 7) == 7
    assert ran == []


async def test_closing_waits_for_what_runs_and_fails_the_rest(make_pool):
    pool, gate = make_pool(), Gate()
    running, waiting = (asyncio.create_task(pool.run(work)) for work in (gate, lambda: 7))
    await started(gate)
    closing = [asyncio.create_task(pool.close()) for _ in range(2)]
    with pytest.raises(UnavailableError):
        await waiting
    assert not any(task.done() for task in closing)

    gate.released.set()

    assert await running == "through"
    await asyncio.wait_for(asyncio.gather(*closing), SECONDS)
    await pool.close()
    with pytest.raises(UnavailableError):
        await pool.run(lambda: 7)
    assert not [thread for thread in threading.enumerate() if thread.name == "test-1"]


async def test_closing_while_a_thread_is_replaced_ends(make_pool):
    probe = Gate()
    pool = make_pool(2, probe=probe)
    with pytest.raises(UnavailableError):
        await pool.run(raising(SystemExit()))
    await started(probe)

    closing = asyncio.create_task(pool.close())
    probe.released.set()

    await asyncio.wait_for(closing, SECONDS)


async def test_a_thread_killed_at_any_moment_a_hundred_times(make_pool, listener):
    pool = make_pool(2)
    answers, refusals = 0, 0
    for round_number in range(100):
        gate = Gate()
        runs = [asyncio.create_task(pool.run(work)) for work in (gate, threading.get_ident, threading.get_ident)]
        await started(gate)
        kill(gate.thread)
        gate.released.set()
        outcomes = await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), SECONDS)
        assert isinstance(outcomes[0], UnavailableError), round_number
        refusals += sum(isinstance(outcome, UnavailableError) for outcome in outcomes)
        answers += sum(isinstance(outcome, int) for outcome in outcomes)
        await listener.until(True)
        assert pool.whole
        listener.changes.clear()
    assert answers + refusals == 300
    assert answers > 0
