"""What runs next, over all models: priorities, deadlines, the cost of tokens. Pure: time is an argument."""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rolecall_server.batching.cost import Cost
from rolecall_server.batching.queue import BatchLimits, BatchQueue, Gathered, QueuedSequence
from rolecall_server.types import Backlog, BatchTrigger, ModelKey, Priority, TokenIds

BULK_SHARE = 4
"""While bulk work waits, at least every fourth batch is led by it; otherwise interactive work always goes first."""

SAFETY = 1.1
"""Waits are taken this much longer than estimated: an answer just too late costs as much as one in time."""

BATCH_SAFETY = 1.5
"""A request has to start so much earlier than an average batch of its size takes: a slow batch is no answer in time."""


@dataclass(frozen=True, slots=True)
class Batch:
    model: ModelKey
    sequences: tuple[QueuedSequence, ...]
    padded_tokens: int
    trigger: BatchTrigger


@dataclass(slots=True)
class _Request:
    """One request in the queue: its turns go from `start` towards `end`, a mean sequence of `step` tokens each;
    `tokens` of its `total` still wait."""

    priority: Priority
    start: float
    end: float
    step: float
    total: int
    tokens: int

    def tokens_by(self, turn: float) -> float:
        """Roughly how many of the waiting tokens have their turn by then."""
        if turn >= self.end:
            return self.tokens
        due = self.step + self.total * (turn - self.start) / (self.end - self.start)
        return min(self.tokens, max(0.0, due - (self.total - self.tokens)))


class Scheduler:
    """Sequences of one priority are served by turn. That of a request's first is its arrival; the others follow at the
    pace at which the server would run the request alone. So a large request takes what is free and lets others in,
    instead of holding the queue until its last sequence has run.
    """

    def __init__(self, limits: BatchLimits, *, parallelism: int) -> None:
        self._limits = limits
        self._parallelism = parallelism
        self._queues: dict[ModelKey, BatchQueue] = {}
        self._costs: dict[ModelKey, Cost] = {}
        self._running: dict[ModelKey, int] = {}
        self._requests: dict[ModelKey, dict[int, _Request]] = {}
        self._latest_starts: list[tuple[float, int, tuple[QueuedSequence, ...]]] = []
        self._numbers = itertools.count()
        self._without_bulk = 0

    def backlog(self, model: ModelKey, tokens: int, *, priority: Priority, now: float) -> Backlog:
        """What `tokens` more of this priority would wait for: whatever goes first, what runs, and themselves."""
        own = self._cost(model).seconds(tokens, now=now) / self._parallelism
        bulk_waits = any(queue.sizes[Priority.BULK] for queue in self._queues.values())
        detour = BULK_SHARE / (BULK_SHARE - 1) if bulk_waits and priority is Priority.INTERACTIVE else 1.0
        others = 0.0
        for other, requests in self._requests.items():
            waiting = sum(r.tokens_by(now + own) for r in requests.values() if r.priority <= priority)
            others += self._cost(other).seconds(detour * waiting + self._running[other], now=now)
        queued = self.queued_tokens()
        batch = BATCH_SAFETY * self._cost(model).seconds(min(self._limits.max_tokens, queued + tokens), now=now)
        return Backlog(queued, SAFETY * (own + others / self._parallelism), batch)

    def push(
        self, model: ModelKey, sequences: Sequence[TokenIds], *, priority: Priority, now: float, deadline: float
    ) -> list[QueuedSequence]:
        """Queue the sequences of one request; they expire together."""
        queue = self._queue(model)
        queue.arrivals.note(now)
        pace = self._cost(model).seconds(1, now=now) / self._parallelism
        request, before, pushed = next(self._numbers), 0, []
        for ids in sequences:
            turn = now + pace * before
            pushed.append(QueuedSequence(model, ids, priority, now, turn, next(self._numbers), request))
            queue.push(pushed[-1])
            before += len(ids)
        if pushed:
            self._requests[model][request] = _Request(
                priority, now, now + pace * before, before / len(pushed), total=before, tokens=before
            )
        if math.isfinite(deadline) and pushed:
            company = min(self._limits.max_tokens, sum(queue.tokens.values()))
            batch = max(company, *(len(ids) for ids in sequences), 0)
            latest_start = deadline - BATCH_SAFETY * self._cost(model).seconds(batch, now=now)
            heapq.heappush(self._latest_starts, (latest_start, request, tuple(pushed)))
        return pushed

    def remove(self, sequence: QueuedSequence) -> bool:
        """Take a sequence out wherever it stands; False when it is no longer queued."""
        queue = self._queues.get(sequence.model)
        if queue is None or not queue.remove(sequence):
            return False
        requests = self._requests[sequence.model]
        requests[sequence.request].tokens -= len(sequence.ids)
        if requests[sequence.request].tokens == 0:
            del requests[sequence.request]
        return True

    def expire(self, now: float) -> list[QueuedSequence]:
        """Take out what can no longer be done by its deadline; one sequence for each request that lost any."""
        late: list[QueuedSequence] = []
        while self._latest_starts and self._latest_starts[0][0] <= now:
            _, _, sequences = heapq.heappop(self._latest_starts)
            dropped = [sequence for sequence in sequences if self.remove(sequence)]
            late.extend(dropped[:1])
        return late

    def drain(self) -> list[QueuedSequence]:
        """Empty all queues and return what was in them."""
        self._latest_starts.clear()
        left = [sequence for queue in self._queues.values() for sequence in queue.waiting()]
        return [sequence for sequence in left if self.remove(sequence)]

    def next_batch(self, now: float) -> Batch | None:
        """The batch to run now that a worker is free; None where nothing waits, or company is expected by `wake_at`."""
        head = self._head()
        if head is None:
            return None
        queue = self._queues[head.model]
        gathered = queue.gather(head)
        trigger = self._trigger(queue, head, gathered, now=now)
        if trigger is None:
            return None
        for sequence in gathered.sequences:
            self.remove(sequence)
        bulk_waits = any(other.sizes[Priority.BULK] for other in self._queues.values())
        self._without_bulk = self._without_bulk + 1 if head.priority is Priority.INTERACTIVE and bulk_waits else 0
        self._running[head.model] += gathered.padded_tokens
        return Batch(head.model, gathered.sequences, gathered.padded_tokens, trigger)

    def wake_at(self, *, free: bool) -> float:
        """When to look again though nothing arrives or ends: a deadline, or, with a worker free, the time from which
        company is no longer expected. Or infinity."""
        late = self._latest_starts[0][0] if self._latest_starts else math.inf
        head = self._head() if free else None
        return late if head is None else min(late, self._ready_at(self._queues[head.model], head))

    def ended(self, batch: Batch) -> None:
        """A batch no longer takes a worker."""
        if batch.model in self._running:  # its version may have been unloaded after all callers had gone
            self._running[batch.model] -= batch.padded_tokens

    def note(self, model: ModelKey, padded_tokens: int, seconds: float, *, now: float) -> None:
        """So many tokens ran for so long on one worker."""
        self._cost(model).note(padded_tokens, seconds, now=now)

    def queued_tokens(self, name: str | None = None) -> int:
        """Over all models, or over the versions of one."""
        queues = (queue for model, queue in self._queues.items() if name is None or model.name == name)
        return sum(sum(queue.tokens.values()) for queue in queues)

    def queue_size(self, name: str, priority: Priority) -> int:
        """Sequences waiting for the versions of a model."""
        return sum(queue.sizes[priority] for model, queue in self._queues.items() if model.name == name)

    def forget(self, model: ModelKey) -> None:
        """Drop what is kept of a version on which nothing waits or runs any more."""
        for kept in (self._queues, self._requests, self._costs, self._running):
            kept.pop(model, None)

    def _head(self) -> QueuedSequence | None:
        """The sequence whose turn it is: interactive before bulk, but for bulk's share; then by turn."""
        order = sorted(Priority, reverse=self._without_bulk >= BULK_SHARE - 1)
        for priority in order:
            heads = (head for queue in self._queues.values() if (head := queue.head(priority)))
            if (first := min(heads, key=QueuedSequence.order, default=None)) is not None:
                return first
        return None

    def _trigger(
        self, queue: BatchQueue, head: QueuedSequence, gathered: Gathered, *, now: float
    ) -> BatchTrigger | None:
        """What sets the batch off now, or None to wait for company."""
        if gathered.full:
            return "full"
        if now >= head.enqueued + self._limits.max_delay:
            return "delay"
        return "idle" if now >= self._ready_at(queue, head) else None

    def _ready_at(self, queue: BatchQueue, head: QueuedSequence) -> float:
        return min(head.enqueued + self._limits.max_delay, queue.arrivals.quiet_from())

    def _queue(self, model: ModelKey) -> BatchQueue:
        if model not in self._queues:
            self._queues[model] = BatchQueue(self._limits)
            self._requests[model] = {}
            self._running[model] = 0
        return self._queues[model]

    def _cost(self, model: ModelKey) -> Cost:
        return self._costs.setdefault(model, Cost())
