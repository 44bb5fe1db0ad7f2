"""A request while it runs: its rows, and what is counted of it."""

from rolecall_server.generation.beam_rows import BeamRows
from rolecall_server.generation.chosen_rows import ChosenRows
from rolecall_server.generation.queue import Queued
from rolecall_server.generation.rows import Rows
from rolecall_server.generation.stepper import StepOutput, StepperInfo
from rolecall_server.generation.text import Detokenizer
from rolecall_server.generation.types import Delta, Finished, GenerationRequest, GenerationStats, Hypothesis


class RunningRequest:
    """Counts and times are those of GenerationStats. sent: whether some of its text went out."""

    def __init__(self, queued: Queued, slot: int, *, info: StepperInfo, detokenizer: Detokenizer) -> None:
        self.queued = queued
        self.request = queued.request
        self.rows = _rows(queued.request, slot, info=info, detokenizer=detokenizer)
        self.steps = 0
        self.batch_size = 0
        self.first_token: float | None = None
        self.last_step = queued.started
        self.sent = False
        self._told = 0

    def advance(self, output: StepOutput, *, now: float) -> bool:
        """Take in a step that ended now; whether its rows are others now. NonFiniteOutputError."""
        moved = self.rows.advance(output)
        self.steps += 1
        self.batch_size = max(self.batch_size, len(output.best))
        self.first_token = now if self.first_token is None else self.first_token
        self.last_step = now
        return moved

    def delta(self) -> Delta | None:
        """The text that is new since the last call, of a request that streams."""
        if not self.request.streams:
            return None
        text = self.rows.take_text()
        if not text:
            return None
        tokens, self._told = self.rows.token_count - self._told, self.rows.token_count
        self.sent = True
        return Delta(self.request.id, text, tokens)

    def finished(self, now: float, hypotheses: tuple[Hypothesis, ...]) -> Finished:
        arrived = self.request.arrived
        first = now if self.first_token is None else self.first_token
        stats = GenerationStats(
            queue_seconds=self.queued.started - arrived,
            first_token_seconds=first - arrived,
            total_seconds=now - arrived,
            steps=self.steps,
            batch_size=self.batch_size,
            drafted=self.rows.drafted,
            accepted=self.rows.accepted,
        )
        return Finished(self.request.id, hypotheses, stats)


def _rows(request: GenerationRequest, slot: int, *, info: StepperInfo, detokenizer: Detokenizer) -> Rows:
    """The rows of a request that was just read into a slot. They begin as one; the first step forks it."""
    if request.decoding.num_beams > 1:
        return BeamRows(request.decoding, slot, info=info, detokenizer=detokenizer)
    return ChosenRows(request, slot, info=info, detokenizer=detokenizer)
