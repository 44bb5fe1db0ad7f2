"""One thread that generates: it takes requests, advances what runs, and posts what came of it."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rolecall_server.engine.lane_queue import LaneQueue, Work
from rolecall_server.errors import DeadlineError, EngineError, UnavailableError
from rolecall_server.generation.loop import GenerationLoop, Outcome, as_engine_error
from rolecall_server.generation.stepper import Stepper
from rolecall_server.generation.text import Detokenizer
from rolecall_server.generation.types import Event, Failed

log = logging.getLogger(__name__)

POST_SECONDS = 0.25
"""What only counts is posted so often; what somebody waits for, at once."""

RETRY_AFTER_EXPIRY = 1.0
"""Seconds; a request that expired in the queue was admitted on an estimate that has turned out too good."""


@dataclass(slots=True)
class Post:
    """What came of one or a few steps. rows: those of the lane now. expired: requests that never ran. The rest is that
    of GenerationReport."""

    events: list[Event] = field(default_factory=list)
    rows: int = 0
    expired: int = 0
    joined: int = 0
    tokens: int = 0
    queue_seconds: list[float] = field(default_factory=list)
    first_token_seconds: list[float] = field(default_factory=list)
    inter_token_seconds: list[float] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0

    def add(self, outcome: Outcome) -> None:
        self.events.extend(outcome.events)
        self.tokens += outcome.tokens
        self.queue_seconds.extend(outcome.queue_seconds)
        self.first_token_seconds.extend(outcome.first_token_seconds)
        self.inter_token_seconds.extend(outcome.inter_token_seconds)
        self.drafted += outcome.drafted
        self.accepted += outcome.accepted


class Lane:
    """The body of a thread. on_ready, on_post: called on that thread, when it takes work and after it did some."""

    def __init__(
        self,
        number: int,
        queue: LaneQueue,
        *,
        make_stepper: Callable[[], Stepper],
        detokenizer: Detokenizer,
        clock: Callable[[], float],
        on_ready: Callable[[], None],
        on_post: Callable[[Post], None],
    ) -> None:
        self._number = number
        self._queue = queue
        self._make_stepper = make_stepper
        self._detokenizer = detokenizer
        self._clock = clock
        self._on_ready = on_ready
        self._on_post = on_post
        self._post = Post()
        self._posted_at = clock()

    def run(self, niceness: int) -> None:
        """Until the queue is closed. What comes out of here, other than by closing, has broken the lane."""
        _stand_back(niceness)
        loop = GenerationLoop(self._make_stepper(), self._detokenizer, clock=self._clock)
        self._queue.add_lane(self._number)  # not before: what would go here would wait
        self._on_ready()
        while (work := self._queue.take(self._number, busy=not loop.idle)) is not None:
            self._settle(self._step(loop, work), work, rows=loop.rows)
            if loop.broken is not None:
                raise loop.broken
        closed = loop.abort(UnavailableError("the engine is closed"))
        self._settle(closed, Work([], frozenset(), []), rows=0)

    def _step(self, loop: GenerationLoop, work: Work) -> Outcome:
        try:
            return loop.step(work.joining, work.cancelled)
        except Exception as error:  # whatever a stepper throws, its requests get an answer
            log.exception("a step of a generator broke its contract")
            return loop.abort(as_engine_error(error))

    def _settle(self, outcome: Outcome, work: Work, *, rows: int) -> None:
        """Free what has ended, and post it."""
        outcome.events.extend(Failed(queued.request.id, _expired()) for queued in work.expired)
        _log_failures(outcome)
        unwanted = self._queue.done(self._number, outcome)
        outcome.events.extend(
            Failed(request_id, UnavailableError("its step failed, and it is not run again")) for request_id in unwanted
        )
        post, now = self._post, self._clock()
        changed = rows != post.rows or bool(work.joining)
        post.add(outcome)
        post.rows = rows
        post.expired += len(work.expired)
        post.joined += len(work.joining)
        if post.events or changed or now - self._posted_at >= POST_SECONDS:
            self._post, self._posted_at = Post(rows=rows), now
            self._on_post(post)


def _expired() -> DeadlineError:
    return DeadlineError("the deadline passed in the queue; not run", retry_after=RETRY_AFTER_EXPIRY)


def _log_failures(outcome: Outcome) -> None:
    """Each error once: one step may fail many requests."""
    errors = {id(event.error): event.error for event in outcome.events if isinstance(event, Failed)}
    for error in errors.values():
        if isinstance(error, EngineError):
            log.error("a generation failed", extra={"error": error.message})


def _stand_back(niceness: int) -> None:
    """Lower the priority of this thread alone, where the system knows one for threads."""
    if sys.platform == "linux" and niceness:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + niceness))
