"""The queue of one model: which sequences go together."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.batching.queue import MAX_PADDING_RATIO, Arrivals, BatchLimits, BatchQueue, QueuedSequence
from rolecall_server.types import ModelKey, Priority

LIMITS = BatchLimits(max_tokens=1024, max_sequences=8, max_delay=0.002)
MODEL = ModelKey("encoder", "1")
NUMBERS = itertools.count()


def sequence(length: int, at: float = 0.0, priority: Priority = Priority.INTERACTIVE) -> QueuedSequence:
    return QueuedSequence(MODEL, np.ones(length, np.int64), priority, at, at, next(NUMBERS), 0)


def filled(*sequences: QueuedSequence, limits: BatchLimits = LIMITS) -> BatchQueue:
    queue = BatchQueue(limits)
    for one in sequences:
        queue.push(one)
    return queue


def take(queue: BatchQueue) -> list[int]:
    """The lengths of the batch around the sequence that waits longest, which leaves the queue."""
    heads = [head for priority in Priority if (head := queue.head(priority))]
    if not heads:
        return []
    gathered = queue.gather(min(heads, key=lambda head: head.turn))
    for one in gathered.sequences:
        assert queue.remove(one)
    return [len(one.ids) for one in gathered.sequences]


def test_like_lengths_run_together_and_the_oldest_goes_first() -> None:
    queue = filled(sequence(100, 0.0), sequence(500, 0.1), sequence(96, 0.2), sequence(490, 0.3))
    assert take(queue) == [100, 96]
    assert take(queue) == [500, 490]
    assert take(queue) == []


def test_a_batch_keeps_the_token_budget_after_padding() -> None:
    queue = filled(*(sequence(300, n) for n in range(5)))
    head = queue.head(Priority.INTERACTIVE)
    assert head is not None
    gathered = queue.gather(head)
    assert (len(gathered.sequences), gathered.padded_tokens, gathered.full) == (3, 900, True)


def test_a_sequence_beyond_the_budget_runs_alone() -> None:
    queue = filled(sequence(5000, 0.0), sequence(5000, 0.1))
    assert take(queue) == [5000]
    assert take(queue) == [5000]


def test_interactive_neighbours_come_before_bulk_ones() -> None:
    limits = BatchLimits(max_tokens=1024, max_sequences=2, max_delay=0.0)
    queue = filled(
        sequence(100, 0.0), sequence(101, 0.1, Priority.BULK), sequence(102, 0.2), sequence(103, 0.3), limits=limits
    )
    assert take(queue) == [100, 102]


def test_far_lengths_are_not_even_looked_at() -> None:
    class Counted(BatchQueue):
        looked = 0

        def _fits(self, longest: int, sequences: int) -> bool:
            self.looked += 1
            return super()._fits(longest, sequences)

    queue = Counted(LIMITS)
    for number in range(2000):
        queue.push(sequence(18, 1.0 + number))
    head = sequence(400)
    queue.push(head)
    near = list(queue._by_nearness(head))
    assert near == []
    assert queue.gather(head).sequences == (head,)


def test_arrivals_expect_company_for_twice_the_usual_gap() -> None:
    arrivals = Arrivals()
    assert arrivals.quiet_from() < 0
    arrivals.note(5.0)
    assert arrivals.quiet_from() < 0, "one arrival says nothing about the next"
    for step in range(1, 30):
        arrivals.note(5.0 + 0.5 * step)
    assert abs(arrivals.quiet_from() - (19.5 + 1.0)) < 1e-9


@given(
    st.lists(st.tuples(st.integers(1, 600), st.sampled_from(Priority), st.floats(0, 5), st.booleans()), max_size=60),
    st.integers(1, 32),
    st.integers(64, 2048),
)
def test_every_sequence_leaves_exactly_once_in_batches_within_the_limits(
    rows: list[tuple[int, Priority, float, bool]], most: int, tokens: int
) -> None:
    queue = BatchQueue(BatchLimits(max_tokens=tokens, max_sequences=most, max_delay=0.0))
    pushed = [sequence(length, at, priority) for length, priority, at, _ in rows]
    for one in pushed:
        queue.push(one)
    left = [one for one, row in zip(pushed, rows, strict=True) if row[3] and queue.remove(one)]
    assert not any(queue.remove(one) for one in left)
    while head := queue.head(Priority.BULK) or queue.head(Priority.INTERACTIVE):
        gathered = queue.gather(head)
        lengths = [len(one.ids) for one in gathered.sequences]
        assert gathered.padded_tokens == max(lengths) * len(lengths)
        assert len(lengths) <= most
        assert gathered.padded_tokens <= tokens or len(lengths) == 1
        assert min(lengths) >= (1 - MAX_PADDING_RATIO) * max(lengths)
        assert all(queue.remove(one) for one in gathered.sequences)
        left.extend(gathered.sequences)
    assert sorted(map(id, left)) == sorted(map(id, pushed))
    assert not any(queue.tokens.values())
    assert not any(queue.sizes.values())
