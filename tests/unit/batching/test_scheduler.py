"""The scheduler: priorities, deadlines and waits over all models, without a clock, a loop or a model."""

import math

import numpy as np
import pytest
from rolecall_server.batching.queue import BatchLimits, QueuedSequence
from rolecall_server.batching.scheduler import BATCH_SAFETY, BULK_SHARE, SAFETY, Batch, Scheduler
from rolecall_server.types import ModelKey, Priority

ONE, TWO = ModelKey("encoder", "1"), ModelKey("encoder", "2")
BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


def scheduler(*, sequences: int = 1, delay: float = 0.0, parallelism: int = 1) -> Scheduler:
    return Scheduler(BatchLimits(1024, sequences, delay), parallelism=parallelism)


def push(
    to: Scheduler,
    *lengths: int,
    at: float = 0.0,
    priority: Priority = INTERACTIVE,
    deadline: float = math.inf,
    model: ModelKey = ONE,
) -> list[QueuedSequence]:
    ids = [np.ones(length, np.int64) for length in lengths]
    return to.push(model, ids, priority=priority, now=at, deadline=deadline)


def lengths(batch: Batch | None) -> list[int]:
    return [] if batch is None else [len(sequence.ids) for sequence in batch.sequences]


def learnt(to: Scheduler, *, tokens_per_second: int = 100, at: float = 0.0, model: ModelKey = ONE) -> Scheduler:
    to.note(model, 100 * tokens_per_second, 100.0, now=at)
    return to


def test_interactive_work_goes_before_any_backlog_of_bulk_work() -> None:
    queue = scheduler()
    push(queue, *[500] * 20, at=0.0, priority=BULK)
    push(queue, 18, at=50.0)
    assert lengths(queue.next_batch(50.0)) == [18]


def test_bulk_work_keeps_its_share_under_constant_interactive_load() -> None:
    queue = scheduler()
    push(queue, *[500] * 5, priority=BULK)
    push(queue, *[18] * 40)
    led = [lengths(queue.next_batch(1.0))[0] for _ in range(20)]
    assert led.count(500) == 20 // BULK_SHARE
    assert led[: 2 * BULK_SHARE] == ([18] * (BULK_SHARE - 1) + [500]) * 2


def test_the_model_that_waits_longest_goes_first() -> None:
    queue = scheduler()
    push(queue, 10, at=1.0, model=TWO)
    push(queue, 20, at=2.0, model=ONE)
    first, second = queue.next_batch(3.0), queue.next_batch(3.0)
    assert first is not None
    assert second is not None
    assert (first.model, second.model) == (TWO, ONE)


def test_waits_for_company_only_while_somebody_is_expected() -> None:
    queue = scheduler(sequences=8, delay=0.002)
    push(queue, 100, at=5.0)
    alone = queue.next_batch(5.0)
    assert alone is not None, "nothing is known about arrivals: waiting would be a guess"
    assert alone.trigger == "idle"
    for step in range(1, 10):  # one every half millisecond
        push(queue, 100, at=5.0 + 0.0005 * step)
        queue.next_batch(6.0)
    push(queue, 100, at=5.005)
    assert queue.next_batch(5.005) is None
    wake = queue.wake_at(free=True)
    assert 5.005 < wake <= 5.007
    assert queue.wake_at(free=False) == math.inf, "without a worker only arrivals and ends matter"
    later = queue.next_batch(wake)
    assert later is not None


def test_the_longest_delay_is_a_bound() -> None:
    queue = scheduler(sequences=8, delay=0.002)
    for step in range(20):
        push(queue, 100, at=5.0 + 0.0015 * step)
        queue.next_batch(6.0)
    push(queue, 100, at=5.03)
    assert queue.next_batch(5.0301) is None
    batch = queue.next_batch(5.032)
    assert batch is not None
    assert batch.trigger == "delay"


def test_a_request_expires_whole_once_it_cannot_be_met() -> None:
    queue = learnt(scheduler(), tokens_per_second=100)
    late = push(queue, 100, 100, deadline=5.0)
    push(queue, 100, deadline=50.0)
    start = 5.0 - BATCH_SAFETY * 2.0
    assert queue.wake_at(free=False) == pytest.approx(start), "a batch of what was queued runs for two seconds"
    assert queue.expire(start - 0.1) == []
    assert queue.expire(start) == late[:1], "one for the request"
    assert (queue.queued_tokens(), queue.queue_size("encoder", INTERACTIVE)) == (100, 1)
    assert lengths(queue.next_batch(3.0)) == [100]


def test_what_ran_in_time_does_not_expire() -> None:
    queue = scheduler()
    push(queue, 100, deadline=5.0)
    assert lengths(queue.next_batch(1.0)) == [100]
    assert queue.expire(6.0) == []


def test_removal_once() -> None:
    queue = scheduler(sequences=8)
    first, second, third = push(queue, 100, 100, 100)
    assert queue.remove(second)
    assert not queue.remove(second)
    batch = queue.next_batch(10.0)
    assert batch is not None
    assert batch.sequences == (first, third)
    assert not queue.remove(first), "what runs is no longer queued"


def test_the_wait_counts_what_goes_first_and_what_runs() -> None:
    queue = learnt(scheduler(parallelism=2), tokens_per_second=100)
    push(queue, 400)
    running = queue.next_batch(1.0)
    push(queue, 300)
    push(queue, 600, priority=BULK)
    detour = BULK_SHARE / (BULK_SHARE - 1)
    interactive = queue.backlog(ONE, 100, priority=INTERACTIVE, now=1.0)
    assert interactive.queued_tokens == 900
    assert interactive.wait_seconds == pytest.approx(SAFETY * (100 + detour * 300 + 400) / 100 / 2)
    bulk = queue.backlog(ONE, 100, priority=BULK, now=1.0)
    assert bulk.wait_seconds == pytest.approx(SAFETY * (100 + 900 + 400) / 100 / 2)
    assert running is not None
    queue.ended(running)
    assert queue.backlog(ONE, 100, priority=BULK, now=1.0).wait_seconds == pytest.approx(SAFETY * 1000 / 100 / 2)


def test_a_large_request_lets_small_ones_in_and_loses_nothing_by_it() -> None:
    queue = learnt(scheduler(), tokens_per_second=100)
    push(queue, *[100] * 10, at=0.0)  # ten seconds of work
    assert lengths(queue.next_batch(0.0)) == [100]
    assert lengths(queue.next_batch(1.0)) == [100]
    push(queue, 20, at=1.5)
    assert lengths(queue.next_batch(2.0)) == [20], "those whose turn is at 2 s and later are behind it"
    assert [lengths(queue.next_batch(2.2)) for _ in range(8)] == [[100]] * 8


def test_the_wait_behind_a_large_request_is_that_of_its_share() -> None:
    queue = learnt(scheduler(), tokens_per_second=100)
    push(queue, *[100] * 10, at=0.0)
    small = queue.backlog(ONE, 20, priority=INTERACTIVE, now=0.5)
    assert small.queued_tokens == 1000
    assert small.wait_seconds == pytest.approx(SAFETY * (0.2 + 0.7 + 1.0)), (
        "what is due by then, and the sequence at hand"
    )
    large = queue.backlog(ONE, 5000, priority=INTERACTIVE, now=0.5)
    assert large.wait_seconds == pytest.approx(SAFETY * (50 + 10))


def test_one_bad_sample_does_not_shut_an_idle_server() -> None:
    queue = scheduler()
    queue.note(ONE, 4, 0.5, now=0.0)
    assert queue.backlog(ONE, 2000, priority=INTERACTIVE, now=1.0).wait_seconds == 0.0
    queue.note(ONE, 4000, 500.0, now=1.0)
    assert queue.backlog(ONE, 2000, priority=INTERACTIVE, now=2.0).wait_seconds > 100
    assert queue.backlog(ONE, 2000, priority=INTERACTIVE, now=20.0).wait_seconds == 0.0


def test_costs_are_kept_by_model() -> None:
    queue = learnt(learnt(scheduler(), tokens_per_second=100), tokens_per_second=1000, model=TWO)
    push(queue, 100, model=ONE)
    assert queue.backlog(TWO, 100, priority=INTERACTIVE, now=0.0).wait_seconds == pytest.approx(SAFETY * 1.1)


def test_a_batch_may_end_after_its_version_was_forgotten() -> None:
    queue = scheduler()
    push(queue, 100)
    batch = queue.next_batch(1.0)
    assert batch is not None
    queue.forget(ONE)
    queue.ended(batch)
    assert queue.queued_tokens() == 0
