"""Which sequences run together next. A pure decision: time is an argument, nothing here waits or runs.

The sequences of one model queue in buckets of like length. A batch is built around the sequence whose turn it is, from
its own bucket first and then from the nearest ones, within a budget of padded tokens and a bound on padding.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rolecall_server.types import BatchTrigger, Priority, TokenIds

BULK_HANDICAP_SECONDS = 1.0
"""A bulk sequence yields to interactive ones that come up to this much later, and so is never starved."""

MAX_PADDING_RATIO = 0.25
"""At most this share of any row is padding for the sake of its neighbours; what would need more gets a batch of its
own, which costs less where the time of a batch grows with its padded tokens."""

BUCKET_TOKENS = 16
"""Width of a bucket."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """max_tokens: of a batch, padded. max_delay: seconds a sequence may wait for company while a worker is idle."""

    max_tokens: int
    max_sequences: int
    max_delay: float
    length_multiple: int = 1


@dataclass(slots=True, eq=False)
class QueuedSequence:
    """One sequence in the queue. `ticket` is the shell's own handle, untouched here."""

    ids: TokenIds
    priority: Priority
    enqueued: float
    deadline: float
    ticket: Any = None
    gone: bool = False

    @property
    def turn(self) -> float:
        """Sequences are served in the order of this time."""
        return self.enqueued + (BULK_HANDICAP_SECONDS if self.priority is Priority.BULK else 0.0)


@dataclass(frozen=True, slots=True)
class Batch:
    sequences: tuple[QueuedSequence, ...]
    padded_tokens: int
    trigger: BatchTrigger


class Arrivals:
    """A moving average of the gap between requests, to tell whether waiting for company makes sense."""

    def __init__(self) -> None:
        self._last = -math.inf
        self._gap = math.inf

    def note(self, now: float) -> None:
        gap = now - self._last
        self._gap = gap if math.isinf(self._gap) else 0.8 * self._gap + 0.2 * gap
        self._last = now

    def quiet_from(self) -> float:
        """The time from which silence has lasted twice the usual gap: nobody is expected then."""
        return self._last + 2 * self._gap if math.isfinite(self._gap) else -math.inf


class BatchQueue:
    """The waiting sequences of one model."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self.tokens = 0
        self.sizes = dict.fromkeys(Priority, 0)
        self._buckets: dict[int, dict[Priority, deque[QueuedSequence]]] = {}
        self._arrivals = Arrivals()

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def note_arrival(self, now: float) -> None:
        """One request arrived, however many sequences it brings."""
        self._arrivals.note(now)

    def push(self, sequence: QueuedSequence) -> None:
        bucket = len(sequence.ids) // BUCKET_TOKENS
        rows = self._buckets.setdefault(bucket, {priority: deque() for priority in Priority})
        rows[sequence.priority].append(sequence)
        self.tokens += len(sequence.ids)
        self.sizes[sequence.priority] += 1

    def remove(self, sequence: QueuedSequence) -> bool:
        """Take a sequence out wherever it stands; False when it is no longer queued."""
        if sequence.gone:
            return False
        sequence.gone = True  # its place in the bucket is cleared when it comes to the front
        self.tokens -= len(sequence.ids)
        self.sizes[sequence.priority] -= 1
        return True

    def drain(self) -> list[QueuedSequence]:
        """Empty the queue and return what was in it."""
        left = [s for rows in self._buckets.values() for row in rows.values() for s in row if self.remove(s)]
        self._buckets.clear()
        return left

    def shed(self, finish: float) -> list[QueuedSequence]:
        """Take out the sequences whose turn it is and whose deadline is before `finish`."""
        late: list[QueuedSequence] = []
        while (head := self._head()) and head.deadline < finish:
            self.remove(head)
            late.append(head)
        return late

    def next_batch(self, now: float, *, finish: float) -> Batch | None:
        """The batch to run now that a worker is free; None where nothing waits, or company is expected by `ready_at`.

        finish: when the batch will probably be done; sequences with an earlier deadline are passed over.
        """
        head = self._head()
        if head is None:
            return None
        chosen, width, full = self._gather(head, finish)
        trigger: BatchTrigger = "full" if full else "delay"
        if not full and now < head.enqueued + self.limits.max_delay:
            if now < self._arrivals.quiet_from():
                return None
            trigger = "idle"
        for sequence in chosen:
            self.remove(sequence)
        return Batch(tuple(chosen), width * len(chosen), trigger)

    def turn(self) -> float:
        """The turn of the sequence at the head; infinity where nothing waits."""
        head = self._head()
        return head.turn if head else math.inf

    def ready_at(self) -> float:
        """When to ask `next_batch` again, if nothing arrives before; infinity where nothing waits."""
        head = self._head()
        if head is None:
            return math.inf
        return min(head.enqueued + self.limits.max_delay, self._arrivals.quiet_from())

    def _gather(self, head: QueuedSequence, finish: float) -> tuple[list[QueuedSequence], int, bool]:
        """The batch around `head`, its padded length, and whether it is full."""
        chosen = [head]
        shortest = len(head.ids)
        width = self._padded(shortest)
        for sequence in self._by_nearness(head):
            if sequence.deadline < finish:
                continue
            longer = max(width, self._padded(len(sequence.ids)))
            shorter = min(shortest, len(sequence.ids))
            if self._padded(shorter) < (1 - MAX_PADDING_RATIO) * longer:
                continue
            if not self._fits(longer, len(chosen) + 1):
                return chosen, width, True
            chosen.append(sequence)
            width, shortest = longer, shorter
        return chosen, width, not self._fits(width, len(chosen) + 1)

    def _fits(self, width: int, sequences: int) -> bool:
        return width * sequences <= self.limits.max_tokens and sequences <= self.limits.max_sequences

    def _by_nearness(self, head: QueuedSequence) -> Iterator[QueuedSequence]:
        """The other sequences, nearest bucket first, in each bucket interactive first, then by arrival."""
        own = len(head.ids) // BUCKET_TOKENS
        for bucket in sorted(self._buckets, key=lambda bucket: (abs(bucket - own), bucket)):
            for priority in Priority:
                yield from (s for s in self._buckets[bucket][priority] if not s.gone and s is not head)

    def _head(self) -> QueuedSequence | None:
        """The sequence whose turn it is; clears what is gone off the fronts."""
        best: QueuedSequence | None = None
        for bucket, rows in list(self._buckets.items()):
            for row in rows.values():
                while row and row[0].gone:
                    row.popleft()
                if row and (best is None or row[0].turn < best.turn):
                    best = row[0]
            if not any(rows.values()):
                del self._buckets[bucket]
        return best

    def _padded(self, length: int) -> int:
        multiple = self.limits.length_multiple
        return -(-length // multiple) * multiple
