"""The loop over one stepper: at each step it lets requests go and come, and advances those that run by one decoder
step. Pure but for the clock it is given: no threads, no event loop; whoever drives it calls `step` again and again."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from rolecall_server.errors import DeadlinePassedError, EngineError, NonFiniteOutputError, RolecallError
from rolecall_server.generation.draft_width import DraftWidth
from rolecall_server.generation.queue import Queued
from rolecall_server.generation.rows import Row
from rolecall_server.generation.sequence import RunningRequest
from rolecall_server.generation.stepper import StepInput, StepOutput, Stepper
from rolecall_server.generation.text import Detokenizer
from rolecall_server.generation.types import Event, Failed

MAX_FAILURES = 1
"""A request whose step failed runs once more from its start, if none of its text has gone out. Steps fail for want of
memory or by a fault of the machine, not by what is in a row: every id in it came out of the model itself, and a source
that can't be read has failed alone before."""

MOST_LOGITS = 1 << 24
"""Of a step that verifies drafts: 64 MB, which the vocabularies of multilingual models would soon pass."""


@dataclass(slots=True)
class Outcome:
    """What one step did.

    events: in their order; each request has exactly one Finished or Failed among all events of its steps, unless it is
    in `again`: it left the lane and is to be queued once more. The other fields are those of GenerationReport.
    """

    events: list[Event] = field(default_factory=list)
    again: list[Queued] = field(default_factory=list)
    tokens: int = 0
    queue_seconds: list[float] = field(default_factory=list)
    first_token_seconds: list[float] = field(default_factory=list)
    inter_token_seconds: list[float] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0


class GenerationLoop:
    """Owns a stepper and the requests that run on it. broken: why the stepper can't be used any more."""

    def __init__(self, stepper: Stepper, detokenizer: Detokenizer, *, clock: Callable[[], float]) -> None:
        self.broken: RolecallError | None = None
        self._stepper = stepper
        self._info = stepper.info
        self._detokenizer = detokenizer
        self._clock = clock
        self._width = DraftWidth()
        self._running: dict[int, RunningRequest] = {}
        self._joining: dict[int, Queued] = {}
        self._outcome = Outcome()

    @property
    def idle(self) -> bool:
        return not self._running

    @property
    def rows(self) -> int:
        """Rows that the next step will take along."""
        return self._stepper.rows

    def step(self, joining: Sequence[Queued], cancelled: Collection[int] = ()) -> Outcome:
        """Drop what is cancelled or late, read the sources of those who join, advance all by one step.

        RolecallErrors of the stepper become events. Any other exception comes out, and `abort` must follow.
        """
        self._outcome = outcome = Outcome()
        self._joining = {queued.request.id: queued for queued in joining}
        try:
            self._drop(cancelled)
            self._prefill(joining)
            if self._running:
                self._decode()
        except RolecallError as error:  # of `decode` or `keep`
            self._lose_rows(error)
        self._outcome = Outcome()  # told by the caller from here on: `abort` must not tell it again
        return outcome

    def abort(self, error: RolecallError) -> Outcome:
        """Fail all that runs or was about to join; what an interrupted step had to say comes first."""
        outcome = self._outcome
        outcome.events.extend(Failed(request_id, error) for request_id in [*self._running, *self._joining])
        self._running.clear()
        self._joining.clear()
        self._reset()
        self._outcome = Outcome()
        return outcome

    def _drop(self, cancelled: Collection[int]) -> None:
        """Free the rows of requests that nobody waits for any more."""
        now = self._clock()
        dropped = False
        for request in list(self._running.values()):
            if request.request.id in cancelled:
                self._end(request, request.finished(now, ()))
                dropped = True
            elif request.request.deadline <= now:
                self._end(request, Failed(request.request.id, DeadlinePassedError()))
                dropped = True
        if dropped:
            self._arrange()

    def _prefill(self, joining: Sequence[Queued]) -> None:
        """Read the sources together; where that fails, halve until the bad one is alone."""
        if not joining:
            return
        first = self._stepper.rows
        try:
            self._stepper.prefill([queued.request.source for queued in joining])
        except RolecallError as error:
            if len(joining) == 1:
                self._fail_unread(joining[0], error)
                return
            middle = len(joining) // 2
            self._prefill(joining[:middle])
            self._prefill(joining[middle:])
            return
        for slot, queued in enumerate(joining, start=first):
            request = RunningRequest(queued, slot, info=self._info, detokenizer=self._detokenizer)
            self._running[queued.request.id] = request
            del self._joining[queued.request.id]
            self._outcome.queue_seconds.append(queued.started - queued.request.arrived)

    def _fail_unread(self, queued: Queued, error: RolecallError) -> None:
        del self._joining[queued.request.id]
        self._outcome.events.append(Failed(queued.request.id, error))

    def _decode(self) -> None:
        running = list(self._running.values())
        step = self._input(running)
        started = self._clock()
        output = self._stepper.decode(step)
        now = self._clock()
        self._width.note_step(len(step.tokens), step.tokens.shape[1], now - started)
        moved = False
        for request in running:
            moved |= self._advance(request, output, now=now)
        if moved:
            self._arrange()

    def _input(self, running: Sequence[RunningRequest]) -> StepInput:
        rows = [row for request in running for row in request.rows.rows]
        width = self._draft(running, rows)
        tokens = np.full((len(rows), width), self._info.pad_token_id, dtype=np.int64)
        positions = np.zeros(len(rows), dtype=np.int64)
        for row in rows:
            tokens[row.slot, 0] = row.last
            positions[row.slot] = row.position
            if row.drafts:
                tokens[row.slot, 1 : 1 + len(row.drafts)] = row.drafts
        return StepInput(tokens, positions, max(request.rows.need() for request in running))

    def _draft(self, running: Sequence[RunningRequest], rows: Sequence[Row]) -> int:
        """Propose what may follow, as far as it pays; the width of the step that takes it all."""
        # No row may pass the end of its cache, whoever the width is for.
        room = min(self._info.max_width, min(self._info.max_new_tokens - row.position for row in rows))
        room = min(room, MOST_LOGITS // (len(rows) * self._info.vocabulary))
        if room <= 1:
            return 1
        cost = self._width.cost(len(rows))
        for request in running:
            request.rows.draft(room - 1, cost)
        lengths = [len(row.drafts) for row in rows if row.drafts]
        width = self._width.choose(lengths, len(rows)) if lengths else 1
        for row in rows:
            row.drafts = row.drafts[: width - 1]
        return width

    def _advance(self, request: RunningRequest, output: StepOutput, *, now: float) -> bool:
        """One request's part of a step; whether its rows are others now."""
        outcome, rows = self._outcome, request.rows
        before, last = (rows.token_count, rows.drafted, rows.accepted), request.last_step
        first = request.first_token is None
        try:
            moved = request.advance(output, now=now)
        except NonFiniteOutputError as error:
            self._end(request, Failed(request.request.id, error))
            return True
        outcome.tokens += rows.token_count - before[0]
        outcome.drafted += rows.drafted - before[1]
        outcome.accepted += rows.accepted - before[2]
        self._width.note_drafts(rows.drafted - before[1], rows.accepted - before[2])
        if first:
            outcome.first_token_seconds.append(now - request.request.arrived)
        else:
            outcome.inter_token_seconds.append(now - last)
        delta = request.delta()
        if delta is not None:
            outcome.events.append(delta)
        if rows.result is not None:
            self._end(request, request.finished(now, rows.result))
        return moved

    def _end(self, request: RunningRequest, event: Event) -> None:
        del self._running[request.request.id]
        self._outcome.events.append(event)

    def _arrange(self) -> None:
        """Give each row a slot of its own, without gaps, and as many as possible the one they had."""
        rows = [row for request in self._running.values() for row in request.rows.rows]
        staying: set[int] = set()
        moving = []
        for row in rows:
            if row.slot < len(rows) and row.slot not in staying:
                staying.add(row.slot)
            else:
                moving.append(row)
        keep = list(range(len(rows)))
        holes = (slot for slot in keep if slot not in staying)
        for row, slot in zip(moving, [*holes], strict=True):
            keep[slot] = row.slot
            row.slot = slot
        if moving or len(rows) != self._stepper.rows:
            self._stepper.keep(keep)

    def _lose_rows(self, error: RolecallError) -> None:
        """All rows are lost: who has given nothing yet may run again, the others have failed."""
        for request in list(self._running.values()):
            if request.sent or request.queued.failures >= MAX_FAILURES:
                self._end(request, Failed(request.request.id, error))
            else:
                request.queued.failures += 1
                del self._running[request.request.id]
                self._outcome.again.append(request.queued)
        self._outcome.again.extend(self._joining.values())
        self._joining.clear()
        self._reset()

    def _reset(self) -> None:
        try:
            self._stepper.keep([])
        except RolecallError as error:
            self.broken = error


def as_engine_error(error: Exception) -> EngineError:
    """For the callers of whatever broke its contract; details belong into the log."""
    return EngineError(type(error).__name__)
