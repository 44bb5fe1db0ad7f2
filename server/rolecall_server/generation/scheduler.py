"""Which waiting request joins which lane, and when. Pure: time is an argument.

A lane is one batch of rows that advances step by step; it belongs to one stepper. A request takes as many rows as its
decoding says, all in one lane, and holds them until it ends. Each row of a stepper has room for the longest source and
the longest output, so a request that got its rows can finish: rows are all that has to be counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rolecall_server.generation.lane_rows import LaneRows, Plan
from rolecall_server.generation.pace import Pace
from rolecall_server.generation.queue import Queued, WaitingRequests
from rolecall_server.generation.types import GenerationRequest
from rolecall_server.types import Backlog, Priority

BULK_SHARE = 4
"""While bulk work waits, every fourth request that joins is bulk; otherwise interactive ones always go first."""

IDLE_FACTOR = 4
"""A lane in which nothing runs may read so many times more source tokens at once: nobody's stream stalls by it."""


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """rows: of one lane. prefill_tokens: padded source tokens that one prefill reads while others wait for their next
    token; a single source may be longer."""

    rows: int
    prefill_tokens: int


class GenerationScheduler:
    """The waiting requests of one model, and which rows of its lanes are taken."""

    def __init__(self, limits: SchedulerLimits) -> None:
        self.limits = limits
        self._waiting = WaitingRequests()
        self._lanes: dict[int, LaneRows] = {}
        self._lane_of: dict[int, int] = {}
        self._without_bulk = 0
        self._pace = Pace()

    def add_lane(self, lane: int) -> None:
        self._lanes[lane] = LaneRows(self.limits.rows)

    def remove_lane(self, lane: int) -> list[Queued]:
        """The lane takes nothing any more; what ran in it."""
        rows = self._lanes.pop(lane, None)
        lost = [] if rows is None else list(rows.running.values())
        for queued in lost:
            del self._lane_of[queued.request.id]
        return lost

    def push(self, request: GenerationRequest) -> None:
        """Queue a request that needs no more rows than a lane has."""
        if request.decoding.rows > self.limits.rows:
            raise ValueError(f"{request.decoding.rows} rows asked for; a lane has {self.limits.rows}")
        self._waiting.push(Queued(request))

    def requeue(self, queued: Queued) -> None:
        """What ran for nothing waits again, before all others."""
        self._release(queued.request.id)
        self._waiting.push_front(queued)

    def remove(self, request_id: int) -> bool:
        """Take a request out of the queue; False when it does not wait."""
        return self._waiting.remove(request_id) is not None

    def expire(self, now: float) -> list[Queued]:
        """Take out what waits and is past its deadline."""
        return self._waiting.expire(now)

    def drain(self) -> list[Queued]:
        """Empty the queue and return what was in it."""
        return self._waiting.drain()

    def waits(self, request_id: int) -> bool:
        return request_id in self._waiting

    def lane_of(self, request_id: int) -> int | None:
        """Where a request runs."""
        return self._lane_of.get(request_id)

    def admit(self, lane: int, now: float) -> list[Queued]:
        """What joins the lane now, to be read in one prefill: sources of like length within the budget of tokens.

        A request goes where it makes the least load; one that fits in no lane holds the emptiest one free until it
        does. What would go to another lane is left for that one to take.
        """
        if not self._lanes[lane].free or not len(self._waiting):
            return []
        factor = 1 if self._lanes[lane].running else IDLE_FACTOR
        chosen = self._choose(lane, factor * self.limits.prefill_tokens)
        for queued in chosen:
            self._start(queued, lane, now=now)
        return chosen

    def ended(self, request_id: int, now: float, *, first_token_seconds: float | None = None) -> None:
        """A request left its lane. first_token_seconds: from its start to its first token, where there was one."""
        queued = self._release(request_id)
        if queued is not None and first_token_seconds is not None:
            self._pace.note(queued, now, first_token_seconds=first_token_seconds)

    def backlog(self, priority: Priority, now: float) -> Backlog:
        """What one more request would find: the seconds until it starts, and those from there to its first token. How
        long its text gets nobody knows beforehand, so no more than that is estimated."""
        tokens = sum(self._waiting.tokens.values())
        ahead = float(self._waiting.tokens[Priority.INTERACTIVE])
        if priority is Priority.BULK:
            ahead = tokens
        elif self._waiting.tokens[Priority.BULK]:
            ahead *= BULK_SHARE / (BULK_SHARE - 1)
        rows = self.limits.rows * max(1, len(self._lanes))
        return Backlog(tokens, self._pace.seconds(ahead, rows=rows, now=now), self._pace.first_token(now=now))

    def queue_size(self, priority: Priority) -> int:
        return self._waiting.size(priority)

    @property
    def queued_tokens(self) -> int:
        return sum(self._waiting.tokens.values())

    @property
    def running(self) -> int:
        """Requests in the lanes."""
        return len(self._lane_of)

    @property
    def rows(self) -> int:
        """Rows taken over all lanes."""
        return sum(lane.taken for lane in self._lanes.values())

    def _choose(self, lane: int, budget: int) -> list[Queued]:
        plan = Plan(self._lanes)
        chosen: list[Queued] = []
        longest = 0
        for queued in self._turns(plan):
            if plan.place(queued) != lane:
                if plan.full(lane):
                    break
                continue
            length = len(queued.request.source)
            if chosen and not _alike(length, len(chosen[0].request.source)):
                continue
            longest = max(longest, length)
            if chosen and longest * (len(chosen) + 1) > budget:
                break
            chosen.append(queued)
        return chosen

    def _turns(self, plan: Plan) -> Iterator[Queued]:
        """The waiting requests in the order of their turns, as long as the plan has room for them."""
        interactive, bulk = (self._waiting.of(priority) for priority in (Priority.INTERACTIVE, Priority.BULK))
        first, other = next(interactive, None), next(bulk, None)
        without_bulk = self._without_bulk
        while (first is not None or other is not None) and plan.any_room:
            if other is not None and not plan.bulk_room:
                other = None
            elif other is not None and (first is None or without_bulk >= BULK_SHARE - 1):
                yield other
                without_bulk, other = 0, next(bulk, None)
            elif first is not None:
                yield first
                without_bulk, first = without_bulk + 1, next(interactive, None)

    def _start(self, queued: Queued, lane: int, *, now: float) -> None:
        self._waiting.remove(queued.request.id)
        bulk_waits = self._waiting.size(Priority.BULK) > 0
        interactive = queued.request.priority is Priority.INTERACTIVE
        self._without_bulk = self._without_bulk + 1 if interactive and bulk_waits else 0
        queued.started = now
        self._lanes[lane].add(queued)
        self._lane_of[queued.request.id] = lane

    def _release(self, request_id: int) -> Queued | None:
        lane = self._lane_of.pop(request_id, None)
        return None if lane is None else self._lanes[lane].remove(request_id)


def _alike(length: int, other: int) -> bool:
    """Whether reading two sources together wastes at most half."""
    return max(length, other) <= 2 * min(length, other)
