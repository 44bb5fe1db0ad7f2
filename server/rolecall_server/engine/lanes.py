"""The lanes of one generator: threads that each advance a batch of their own, and the event loop's side of them."""

import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, replace

from rolecall_server.engine.lane import Lane, Post
from rolecall_server.engine.lane_crew import LaneCrew
from rolecall_server.engine.lane_queue import LaneQueue
from rolecall_server.engine.mailbox import Mailbox
from rolecall_server.errors import (
    InvalidInputError,
    NonFiniteOutputError,
    UnavailableError,
)
from rolecall_server.generation.scheduler import GenerationScheduler, SchedulerLimits
from rolecall_server.generation.stepper import Stepper, StepperInfo
from rolecall_server.generation.text import Detokenizer
from rolecall_server.generation.types import Delta, Failed, Finished, GenerationRequest
from rolecall_server.types import Backlog, GenerationReport, ModelKey, Observer, Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """lanes: how many, each a thread. prefill_tokens: see SchedulerLimits. niceness: added to that of the process."""

    lanes: int = 1
    prefill_tokens: int = 512
    niceness: int = 0


@dataclass(frozen=True, slots=True)
class Generator:
    """What lanes are made of. make_stepper: called on a lane's thread, for each lane and each replacement of one."""

    key: ModelKey
    info: StepperInfo
    make_stepper: Callable[[], Stepper]
    detokenizer: Detokenizer


class GenerationLanes:
    """Runs the requests of one generator. Belongs to the event loop; it hears of the threads in `_posted` and `_lost`.

    A lane that dies fails what ran in it with UnavailableError and is replaced; what waits goes to the others, or
    fails likewise where there is none. `whole` is false meanwhile.
    """

    def __init__(
        self,
        generator: Generator,
        options: LaneOptions,
        *,
        observer: Observer,
        on_change: Callable[[bool, str], None],
        versions: "Callable[[], Iterable[GenerationLanes]] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_change: called on the event loop with (whole, reason) when a lane died, and when all are back. versions:
        gives the lanes of all versions of the model, whose queues are told of as one; these alone where it is None.
        """
        self._generator = generator
        self._options = options
        self._observer = observer
        self._versions = versions or (lambda: (self,))
        self._clock = clock
        limits = SchedulerLimits(generator.info.rows, options.prefill_tokens)
        self._queue = LaneQueue(GenerationScheduler(limits), clock)
        self._mailboxes: dict[int, Mailbox] = {}
        self._rows: dict[int, int] = {}
        self._ids = itertools.count()
        self._crew = LaneCrew(
            options.lanes,
            name=f"generate-{generator.key.version}",
            body=self._run_lane,
            on_lost=self._lost,
            on_change=on_change,
        )

    @property
    def info(self) -> StepperInfo:
        return self._generator.info

    @property
    def whole(self) -> bool:
        """Whether every lane takes work."""
        return self._crew.whole

    async def start(self) -> None:
        """Start the lanes and wait until they take work. UnavailableError when one could not be made."""
        try:
            await self._crew.start()
        except BaseException:
            await self.close()
            raise

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta | Finished, None]:
        """See Engine.generate."""
        self._check(request)
        request = replace(request, id=next(self._ids))
        mailbox = self._mailboxes[request.id] = Mailbox()
        self._queue.push(request)
        self._tell_queue()
        try:
            while not isinstance(event := await mailbox.get(), Failed):
                yield event
                if isinstance(event, Finished):
                    return
            raise event.error.with_traceback(None)
        finally:
            del self._mailboxes[request.id]
            if mailbox.end is None:
                self._cancel(request)

    def backlog(self, priority: Priority) -> Backlog:
        return self._queue.backlog(priority)

    async def close(self) -> None:
        """Fail what waits, and what runs with its next step; end the threads. May be called again."""
        if not self._crew.closed:
            self._crew.close()
            self._queue.close()
            self._fail(self._queue.drain(), "the engine is closed")
        await self._crew.ended()

    def leftovers(self) -> int:
        """What is kept of requests; 0 when none is under way."""
        return len(self._mailboxes) + self._queue.leftovers()

    def _check(self, request: GenerationRequest) -> None:
        """What no scheduler could ever run; callers have said it in terms of their own fields before."""
        if self._crew.closed:
            raise UnavailableError("the engine is closed")
        if not self._crew.takes_work:
            raise UnavailableError("the lanes of the generator are being replaced")
        info, decoding = self.info, request.decoding
        if not 1 <= len(request.source) <= info.max_source_tokens:
            raise InvalidInputError("", f"a source of {len(request.source)} tokens; 1 to {info.max_source_tokens} go")
        if not 1 <= decoding.max_new_tokens <= info.max_new_tokens or not 1 <= decoding.rows <= info.rows:
            raise InvalidInputError("", "more new tokens or sequences than the generator has room for, or none")

    def _cancel(self, request: GenerationRequest) -> None:
        stage = self._queue.cancel(request.id)
        if self._clock() < request.deadline:
            if stage is not None:
                self._observer.on_cancelled(stage)
        elif stage == "queue":  # a deadline is no client that went away; no lane got round to it
            self._observer.on_shed("deadline")
        if stage == "queue":
            self._tell_queue()

    def _run_lane(self, number: int) -> None:
        """On a lane's thread."""
        Lane(
            number,
            self._queue,
            make_stepper=self._generator.make_stepper,
            detokenizer=self._generator.detokenizer,
            clock=self._clock,
            on_ready=lambda: self._crew.call(lambda: self._crew.ready(number)),
            on_post=lambda post: self._crew.call(lambda: self._posted(number, post)),
        ).run(self._options.niceness)

    def _posted(self, number: int, post: Post) -> None:
        """A lane has done some work."""
        ended = [event.request_id for event in post.events if not isinstance(event, Delta)]
        for event in post.events:
            mailbox = self._mailboxes.get(event.request_id)
            if mailbox is not None:
                mailbox.put(event)
        if ended:
            self._queue.handed_out(number, ended)
        self._observe(number, post)

    def _observe(self, number: int, post: Post) -> None:
        before = self._rows.get(number, 0)
        if post.rows != before:
            self._observer.on_running(post.rows - before)
            self._rows[number] = post.rows
        for _ in range(post.expired):
            self._observer.on_shed("deadline")
        nonfinite = sum(
            isinstance(event, Failed) and isinstance(event.error, NonFiniteOutputError) for event in post.events
        )
        if nonfinite:
            self._observer.on_nonfinite(nonfinite)
        if post.joined or post.expired:
            self._tell_queue()
        self._observer.on_generation(
            GenerationReport(
                model=self._generator.key,
                tokens=post.tokens,
                queue_seconds=tuple(post.queue_seconds),
                first_token_seconds=tuple(post.first_token_seconds),
                inter_token_seconds=tuple(post.inter_token_seconds),
                drafted=post.drafted,
                accepted=post.accepted,
            )
        )

    def _lost(self, number: int) -> None:
        """A lane is over: what it left without an answer gets one, and so does what no other lane will take."""
        self._queue.remove_lane(number)
        self._observer.on_running(-self._rows.pop(number, 0))
        if self._crew.closed:
            self._fail(list(self._mailboxes), "the engine is closed")
            return
        if not self._crew.takes_work:
            self._fail(self._queue.drain(), "the lanes of the generator died")
        unanswered = [request_id for request_id, mailbox in self._mailboxes.items() if mailbox.end is None]
        self._fail(self._queue.lost(unanswered), "the lane died while it generated this")

    def _fail(self, request_ids: Iterable[int], reason: str) -> None:
        for request_id in list(request_ids):
            if (mailbox := self._mailboxes.get(request_id)) is not None:
                mailbox.put(Failed(request_id, UnavailableError(reason)))

    def _tell_queue(self) -> None:
        found = [lanes._queue.sizes() for lanes in self._versions()]
        tokens = sum(tokens for _, tokens in found)
        for priority in Priority:
            size = sum(sizes[priority] for sizes, _ in found)
            self._observer.on_queue(self._generator.key.name, priority, size=size, tokens=tokens)
