"""The batching policy, without a clock, a loop or a model."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.batching.policy import MAX_PADDING_RATIO, BatchLimits, BatchQueue, QueuedSequence
from rolecall_server.types import Priority

LIMITS = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.002)


def sequence(
    length: int, at: float = 0.0, *, priority: Priority = Priority.INTERACTIVE, deadline: float = math.inf
) -> QueuedSequence:
    return QueuedSequence(np.ones(length, np.int64), priority, at, deadline)


def filled(*sequences: QueuedSequence, limits: BatchLimits = LIMITS) -> BatchQueue:
    queue = BatchQueue(limits)
    for one in sequences:
        queue.push(one)
    return queue


def take(queue: BatchQueue, now: float = 10.0) -> list[int]:
    batch = queue.next_batch(now, finish=now)
    return [] if batch is None else [len(one.ids) for one in batch.sequences]


def test_like_lengths_run_together_and_the_oldest_goes_first() -> None:
    queue = filled(sequence(100, 0.0), sequence(500, 0.1), sequence(96, 0.2), sequence(490, 0.3))
    assert take(queue) == [100, 96]
    assert take(queue) == [500, 490]
    assert take(queue) == []


def test_a_batch_keeps_the_token_budget_after_padding() -> None:
    queue = filled(*(sequence(300, n) for n in range(5)))
    batch = queue.next_batch(10.0, finish=10.0)
    assert batch is not None
    assert (len(batch.sequences), batch.padded_tokens, batch.trigger) == (3, 900, "full")


def test_a_sequence_beyond_the_budget_runs_alone() -> None:
    queue = filled(sequence(5000, 0.0), sequence(5000, 0.1))
    assert take(queue) == [5000]
    assert take(queue) == [5000]


def test_padding_to_a_multiple_counts_against_the_budget() -> None:
    limits = BatchLimits(max_tokens=96, max_sequences=8, max_delay=0.0, length_multiple=32)
    queue = filled(*(sequence(17) for _ in range(4)), limits=limits)
    assert take(queue) == [17, 17, 17]


def test_bulk_yields_to_later_interactive_ones_but_is_not_starved() -> None:
    limits = BatchLimits(max_tokens=100, max_sequences=1, max_delay=0.0)
    queue = filled(
        sequence(50, 0.0, priority=Priority.BULK),
        sequence(60, 0.9),
        sequence(61, 1.1),
        sequence(62, 1.2),
        limits=limits,
    )
    assert [take(queue) for _ in range(4)] == [[60], [50], [61], [62]]


def test_waits_for_company_only_while_somebody_is_expected() -> None:
    queue = BatchQueue(LIMITS)
    queue.push(sequence(100, 5.0))
    queue.note_arrival(5.0)
    alone = queue.next_batch(5.0, finish=5.0)
    assert alone is not None, "nothing is known about arrivals: waiting would be a guess"
    assert alone.trigger == "idle"
    for step in range(10):  # one every half millisecond
        queue.note_arrival(5.0 + 0.0005 * (step + 1))
    queue.push(sequence(100, 5.005))
    assert queue.next_batch(5.005, finish=5.005) is None
    assert 5.005 < queue.ready_at() <= 5.007
    later = queue.next_batch(queue.ready_at() + 1e-9, finish=5.0)
    assert later is not None
    assert later.trigger == "idle", "silence of twice the usual gap"


def test_the_longest_delay_is_a_bound() -> None:
    queue = BatchQueue(BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.002))
    for step in range(20):
        queue.note_arrival(5.0 + 0.0015 * step)
    queue.push(sequence(100, 5.0285))
    assert queue.next_batch(5.0286, finish=5.0) is None
    batch = queue.next_batch(5.0285 + 0.002, finish=5.0)
    assert batch is not None
    assert batch.trigger == "delay"


def test_what_cannot_be_met_is_shed_and_never_batched() -> None:
    late, fine, late_too = (sequence(100, n, deadline=d) for n, d in ((0, 10.5), (1, 20.0), (2, 10.6)))
    queue = filled(late, fine, late_too)
    assert queue.shed(11.0) == [late]
    batch = queue.next_batch(10.0, finish=11.0)
    assert batch is not None
    assert batch.sequences == (fine,)
    assert queue.shed(11.0) == [late_too]
    assert (len(queue), queue.tokens, queue.ready_at()) == (0, 0, math.inf)


def test_removal_anywhere_and_once() -> None:
    first, second, third = (sequence(100, n) for n in range(3))
    queue = filled(first, second, third)
    assert queue.remove(second)
    assert not queue.remove(second)
    assert (len(queue), queue.tokens) == (2, 200)
    batch = queue.next_batch(10.0, finish=10.0)
    assert batch is not None
    assert batch.sequences == (first, third)
    assert not queue.remove(first), "what runs is no longer queued"


@given(
    st.lists(
        st.tuples(st.integers(1, 600), st.sampled_from(Priority), st.floats(0, 5), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 32),
    st.integers(64, 2048),
    st.sampled_from([1, 8, 16, 64]),
)
def test_every_sequence_leaves_exactly_once_in_batches_within_the_limits(
    rows: list[tuple[int, Priority, float, bool]], most: int, tokens: int, multiple: int
) -> None:
    limits = BatchLimits(max_tokens=tokens, max_sequences=most, max_delay=0.0, length_multiple=multiple)
    queue = BatchQueue(limits)
    pushed = [sequence(length, at, priority=priority) for length, priority, at, _ in rows]
    for one in pushed:
        queue.push(one)
    left = [one for one, row in zip(pushed, rows, strict=True) if row[3] and queue.remove(one)]
    while (batch := queue.next_batch(100.0, finish=0.0)) is not None:
        lengths = [len(one.ids) for one in batch.sequences]
        assert len(lengths) <= most
        assert batch.padded_tokens <= tokens or len(lengths) == 1
        assert batch.padded_tokens % multiple == 0
        shortest = -(-min(lengths) // multiple) * multiple
        assert shortest >= (1 - MAX_PADDING_RATIO) * batch.padded_tokens / len(lengths)
        left.extend(batch.sequences)
    assert sorted(map(id, left)) == sorted(map(id, pushed))
    assert (queue.tokens, len(queue)) == (0, 0)
