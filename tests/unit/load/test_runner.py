"""The sending loops against a scenario of our own: no network."""

import asyncio
import time

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from rolecall_load.outcomes import Answer, ServerTiming
from rolecall_load.recorder import Recorder
from rolecall_load.runner import Runner, Window

ANSWER = Answer(texts=1, failed=0, cache_hits=0, tokens=5, timing=ServerTiming(0, 0, 0, 0, 1, 5))


class FakeScenario:
    """Answers after `seconds`; `fail` is raised instead; what was asked for is kept."""

    def __init__(self, *, seconds=0.0, fail=None, block=0.0):
        self.seconds, self.fail, self.block = seconds, fail, block
        self.numbers, self.timeouts = [], []
        self.running = self.most = 0

    def prepare(self, number):
        self.numbers.append(number)

        async def send(seconds):
            self.timeouts.append(seconds)
            self.running += 1
            self.most = max(self.most, self.running)
            if self.block and len(self.timeouts) == 1:
                time.sleep(self.block)  # noqa: ASYNC251 - a client that is stuck for a moment
            await asyncio.sleep(self.seconds)
            self.running -= 1
            if self.fail is not None:
                raise self.fail
            return ANSWER

        return send


def runner(scenario, *, warmup=0.0, duration=1.0, deadline=5.0, **more):
    window = Window.after(time.monotonic(), warmup=warmup, duration=duration)
    return Runner(scenario, Recorder(deadline=deadline), window, **more)


async def test_open_loop_sends_all_without_waiting_for_answers():
    scenario = FakeScenario(seconds=0.2)
    run = runner(scenario)
    await run.open_loop(iter([0.0, 0.01, 0.02, 0.03]))
    assert scenario.most == 4
    assert run.recorder.counts.ok == 4


async def test_a_stuck_client_shows_in_latency_and_lag():
    scenario = FakeScenario(block=0.15)
    run = runner(scenario, deadline=0.1)
    await run.open_loop(iter([0.0, 0.02, 0.04]))
    summary = run.recorder.summary(seconds=1.0)
    assert summary.late >= 2
    assert summary.latency_ok.p50 > 0.09
    assert summary.good < summary.ok
    # What is left of the deadline, never nothing.
    assert scenario.timeouts[1] < 0.1
    assert min(scenario.timeouts) >= 0.001


async def test_warm_up_is_sent_but_not_counted():
    scenario = FakeScenario()
    run = runner(scenario, warmup=0.1, duration=0.1)
    await run.open_loop(iter([0.0, 0.05, 0.12, 0.15]))
    assert len(scenario.numbers) == 4
    assert run.recorder.counts.sent == 2


async def test_closed_loop_keeps_to_its_concurrency_and_ends():
    scenario = FakeScenario(seconds=0.01)
    run = runner(scenario, duration=0.2)
    await run.closed_loop(3)
    assert scenario.most == 3
    assert run.recorder.counts.ok > 3


async def test_parts_send_different_requests():
    scenarios = [FakeScenario(), FakeScenario()]
    for part, scenario in enumerate(scenarios):
        await runner(scenario, part=part, parts=2).open_loop(iter([0.0, 0.0, 0.0]))
    assert [scenario.numbers for scenario in scenarios] == [[0, 2, 4], [1, 3, 5]]


async def test_refusals_are_recorded_and_do_not_end_the_run():
    error = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata())
    run = runner(FakeScenario(fail=error), duration=0.1)
    await run.closed_loop(2)
    assert run.recorder.counts.ok == 0
    assert {kind.code for kind in run.recorder.refusals} == {"UNAVAILABLE"}


async def test_a_fault_of_our_own_ends_the_run():
    with pytest.raises(ExceptionGroup):
        await runner(FakeScenario(fail=ZeroDivisionError())).open_loop(iter([0.0]))


async def test_cpu_of_the_client_is_accounted():
    run = runner(FakeScenario(block=0.0, seconds=0.001), duration=0.05)
    await run.closed_loop(1)
    assert run.recorder.cpu_seconds > 0
