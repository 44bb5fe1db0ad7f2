"""The waiting sequences of one model, and which of them go well together in a batch. Pure: time is an argument.

Sequences wait in buckets of like length. A batch is built around the one whose turn it is, from its own bucket first
and then from the nearest ones, within a budget of padded tokens and a bound on padding.
"""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rolecall_server.types import ModelKey, Priority, TokenIds

MAX_PADDING_RATIO = 0.25
"""At most this share of any row is padding for its neighbours' sake. A graph that pads inside pays for padding as for
tokens, so what would need more gets a batch of its own; graphs that drop it lose nothing by like lengths."""

BUCKET_TOKENS = 16
"""Width of a bucket."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """max_tokens: of a batch, padded. max_delay: seconds a sequence may wait for company while a worker is idle."""

    max_tokens: int
    max_sequences: int
    max_delay: float


@dataclass(slots=True, eq=False)
class QueuedSequence:
    """One sequence in the queue.

    turn: the time that orders sequences of one priority; `enqueued`, or later for the later ones of a large request.
    number: breaks ties, first come first served. request: the scheduler's number for the request it belongs to.
    ticket: the shell's own handle, untouched here.
    """

    model: ModelKey
    ids: TokenIds
    priority: Priority
    enqueued: float
    turn: float
    number: int
    request: int
    ticket: Any = None

    def order(self) -> tuple[float, int]:
        return (self.turn, self.number)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Sequences that go together. full: no other of their kind would fit the limits."""

    sequences: tuple[QueuedSequence, ...]
    padded_tokens: int
    full: bool


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


_Row = list[QueuedSequence]
"""Sorted by turn. Almost all join at the end; a sorted list also finds one in its middle quickly."""


class BatchQueue:
    """Sequences in the order of their turns, by priority and by length."""

    def __init__(self, limits: BatchLimits) -> None:
        self.tokens = dict.fromkeys(Priority, 0)
        self.sizes = dict.fromkeys(Priority, 0)
        self.arrivals = Arrivals()
        self._limits = limits
        self._buckets: dict[int, dict[Priority, _Row]] = {}

    def push(self, sequence: QueuedSequence) -> None:
        rows = self._buckets.setdefault(_bucket(sequence), {priority: [] for priority in Priority})
        bisect.insort(rows[sequence.priority], sequence, key=QueuedSequence.order)
        self.tokens[sequence.priority] += len(sequence.ids)
        self.sizes[sequence.priority] += 1

    def remove(self, sequence: QueuedSequence) -> bool:
        """Take a sequence out wherever it stands; False when it is no longer queued."""
        rows = self._buckets.get(_bucket(sequence))
        if rows is None:
            return False
        row = rows[sequence.priority]
        place = bisect.bisect_left(row, sequence.order(), key=QueuedSequence.order)
        if place == len(row) or row[place] is not sequence:
            return False
        del row[place]
        if not any(rows.values()):
            del self._buckets[_bucket(sequence)]
        self.tokens[sequence.priority] -= len(sequence.ids)
        self.sizes[sequence.priority] -= 1
        return True

    def waiting(self) -> list[QueuedSequence]:
        """All that is in the queue."""
        return [sequence for rows in self._buckets.values() for row in rows.values() for sequence in row]

    def head(self, priority: Priority) -> QueuedSequence | None:
        """The sequence of this priority whose turn comes first."""
        fronts = (rows[priority][0] for rows in self._buckets.values() if rows[priority])
        return min(fronts, key=QueuedSequence.order, default=None)

    def gather(self, head: QueuedSequence) -> Gathered:
        """The batch around `head`. Takes nothing out."""
        chosen = [head]
        shortest = longest = len(head.ids)
        for sequence in self._by_nearness(head):
            longer, shorter = max(longest, len(sequence.ids)), min(shortest, len(sequence.ids))
            if shorter < (1 - MAX_PADDING_RATIO) * longer:
                continue
            if not self._fits(longer, len(chosen) + 1):
                return Gathered(tuple(chosen), longest * len(chosen), full=True)
            chosen.append(sequence)
            longest, shortest = longer, shorter
        full = not self._fits(longest, len(chosen) + 1)
        return Gathered(tuple(chosen), longest * len(chosen), full)

    def _fits(self, longest: int, sequences: int) -> bool:
        return longest * sequences <= self._limits.max_tokens and sequences <= self._limits.max_sequences

    def _by_nearness(self, head: QueuedSequence) -> Iterator[QueuedSequence]:
        """The other sequences that may be near enough: nearest bucket first, interactive first, then by turn."""
        own, length = _bucket(head), len(head.ids)
        least, most = (1 - MAX_PADDING_RATIO) * length, length / (1 - MAX_PADDING_RATIO)
        near = (b for b in self._buckets if (b + 1) * BUCKET_TOKENS > least and b * BUCKET_TOKENS <= most)
        for bucket in sorted(near, key=lambda bucket: (abs(bucket - own), bucket)):
            for row in self._buckets[bucket].values():
                yield from (sequence for sequence in row if sequence is not head)


def _bucket(sequence: QueuedSequence) -> int:
    return len(sequence.ids) // BUCKET_TOKENS
