"""The generation scheduler among threads: one lock, and one condition on which lanes without work wait."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rolecall_server.generation.loop import Outcome
from rolecall_server.generation.queue import Queued
from rolecall_server.generation.scheduler import GenerationScheduler
from rolecall_server.generation.types import Delta, Failed, Finished, GenerationRequest
from rolecall_server.types import Backlog, Priority


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane has to do beside its next step. expired: requests that leave the queue, told by whoever saw it."""

    joining: list[Queued]
    cancelled: frozenset[int]
    expired: list[Queued]


class LaneQueue:
    """Called by the lanes (`take`, `done`) and by the event loop (all else); no call holds the lock for long.

    A request is waiting, or held by the lane that took it until the event loop has handed out its end. So the event
    loop can tell at any time which requests a dead lane has left without an answer.
    """

    def __init__(self, scheduler: GenerationScheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._changed = threading.Condition()
        self._held: dict[int, set[int]] = {}
        self._cancelled: dict[int, set[int]] = {}
        self._closed = False

    def take(self, lane: int, *, busy: bool) -> Work | None:
        """Wait until there is something to do, unless the lane is busy anyway; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                expired = self._scheduler.expire(now)
                joining = self._scheduler.admit(lane, now)
                self._held[lane].update(queued.request.id for queued in (*joining, *expired))
                if joining and self._scheduler.queued_tokens:
                    self._changed.notify_all()  # what is left may now go better to another lane
                if busy or joining or expired:
                    cancelled = frozenset(self._cancelled[lane])
                    self._cancelled[lane].clear()
                    return Work(joining, cancelled, expired)
                self._cancelled[lane].clear()  # whoever they were, they have ended
                self._changed.wait()
            return None

    def done(self, lane: int, outcome: Outcome) -> list[int]:
        """Free the rows of what has ended, queue again what ran for nothing; of the latter, what nobody wants."""
        ended = [event for event in outcome.events if not isinstance(event, Delta)]
        unwanted: list[int] = []
        if not ended and not outcome.again:
            return unwanted
        with self._changed:
            now = self._clock()
            for event in ended:
                self._scheduler.ended(event.request_id, now, first_token_seconds=_first_token(event))
            for queued in outcome.again:
                request_id = queued.request.id
                if self._closed or request_id in self._cancelled[lane]:
                    self._scheduler.ended(request_id, now)
                    unwanted.append(request_id)
                else:
                    self._scheduler.requeue(queued)
                    self._held[lane].discard(request_id)
            if self._scheduler.queued_tokens:
                self._changed.notify_all()
        return unwanted

    def add_lane(self, lane: int) -> None:
        with self._changed:
            self._held[lane] = set()
            self._cancelled[lane] = set()
            self._scheduler.add_lane(lane)

    def remove_lane(self, lane: int) -> None:
        """A lane has ended. What waits may go to the others now."""
        with self._changed:
            self._held.pop(lane, None)
            self._cancelled.pop(lane, None)
            self._scheduler.remove_lane(lane)
            self._changed.notify_all()

    def push(self, request: GenerationRequest) -> None:
        with self._changed:
            self._scheduler.push(request)
            self._changed.notify_all()

    def cancel(self, request_id: int) -> str | None:
        """Where the request was, `queue` or `running`; None where it is over. In a lane it ends with the next step."""
        with self._changed:
            if self._scheduler.remove(request_id):
                return "queue"
            lane = self._scheduler.lane_of(request_id)
            if lane is None:
                return None
            self._cancelled[lane].add(request_id)
            return "running"

    def handed_out(self, lane: int, request_ids: Iterable[int]) -> None:
        """The callers of these requests have their answer."""
        with self._changed:
            if lane in self._held:
                self._held[lane].difference_update(request_ids)

    def lost(self, request_ids: Iterable[int]) -> list[int]:
        """Which of these neither wait nor are held by a lane."""
        with self._changed:
            held = set().union(*self._held.values())
            return [other for other in request_ids if other not in held and not self._scheduler.waits(other)]

    def drain(self) -> list[int]:
        """Empty the queue; what waited."""
        with self._changed:
            return [queued.request.id for queued in self._scheduler.drain()]

    def close(self) -> None:
        """Lanes end after their step."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def backlog(self, priority: Priority) -> Backlog:
        with self._changed:
            return self._scheduler.backlog(priority, self._clock())

    def sizes(self) -> tuple[dict[Priority, int], int]:
        """Requests waiting by priority, and their tokens."""
        with self._changed:
            return {priority: self._scheduler.queue_size(priority) for priority in Priority}, (
                self._scheduler.queued_tokens
            )

    def leftovers(self) -> int:
        """Requests, rows and notes that are still kept; 0 when nothing waits or runs."""
        with self._changed:
            kept = sum(map(len, self._held.values())) + sum(map(len, self._cancelled.values()))
            return kept + self._scheduler.queued_tokens + self._scheduler.running + self._scheduler.rows


def _first_token(event: Finished | Failed) -> float | None:
    """Seconds from the start to the first token, of a request that ran to its end."""
    if isinstance(event, Failed) or not event.hypotheses:
        return None
    return event.stats.first_token_seconds - event.stats.queue_seconds
