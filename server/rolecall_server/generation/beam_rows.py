"""Rows that are the beams of one search."""

from collections.abc import Sequence

from rolecall_server.generation.beams import BeamSearch
from rolecall_server.generation.choice import row_scores
from rolecall_server.generation.drafting import WidthCost
from rolecall_server.generation.rows import Row, text_of
from rolecall_server.generation.stepper import Need, StepOutput, StepperInfo
from rolecall_server.generation.text import Detokenizer, TextStream
from rolecall_server.generation.types import Decoding, Hypothesis


class BeamRows:
    """Beam search. Implements Rows."""

    def __init__(self, decoding: Decoding, slot: int, *, info: StepperInfo, detokenizer: Detokenizer) -> None:
        text = TextStream(detokenizer, decoding.stop) if decoding.stop else None
        self._search = BeamSearch(decoding, info, text=text)
        self._stop = decoding.stop
        self._detokenizer = detokenizer
        self.rows: Sequence[Row] = [Row(slot, 0, info.start_token_id)]
        self.result: tuple[Hypothesis, ...] | None = None
        self.token_count = 0
        self.drafted = self.accepted = 0

    def need(self) -> Need:
        return self._search.need()

    def draft(self, limit: int, cost: WidthCost) -> None:
        """Beams fork, so there is nothing to verify a draft against."""

    def advance(self, output: StepOutput) -> bool:
        self.token_count += len(self.rows)
        fork = self._search.advance([row_scores(output, row.slot) for row in self.rows])
        if fork is None:
            self.rows = ()
            self.result = tuple(
                Hypothesis(
                    token_ids=beam.token_ids,
                    text=text_of(self._detokenizer, beam.token_ids, self._stop),
                    score=beam.score,
                    finish_reason=beam.finish_reason,
                )
                for beam in self._search.results()
            )
            return True
        moved = fork.parents != tuple(range(len(self.rows)))
        self.rows = [
            Row(self.rows[parent].slot, self._search.steps, token)
            for parent, token in zip(fork.parents, fork.tokens, strict=True)
        ]
        return moved

    def take_text(self) -> str:
        """Nothing: which text is the best is known at the end."""
        return ""
