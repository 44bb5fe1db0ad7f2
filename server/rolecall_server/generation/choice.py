"""The choice of a row's next token from its part of a step: greedy or sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from rolecall_server.errors import NonFiniteOutputError
from rolecall_server.generation.processors import Ids, Processors, Scores
from rolecall_server.generation.sampling import distribution, draw, uniform
from rolecall_server.generation.stepper import TOP, Need, StepOutput, StepperInfo
from rolecall_server.generation.types import Decoding


@dataclass(frozen=True, slots=True)
class RowScores:
    """What a step says about the token after one token of one row; see StepOutput, whose arrays these are parts of."""

    best: int
    top_ids: Ids | None
    top_logits: Scores | None
    log_sum_exp: float
    """0.0 where the step gave none."""
    logits: Scores | None

    def candidates(self, need: Need) -> tuple[Scores, Ids | None]:
        """Logits and the ids that they belong to, None for all: exactly what `need` promises, even if there is more.

        A neighbour that needs more must not change what this row sees. Raises NonFiniteOutputError for NaN and
        infinity.
        """
        if not np.isfinite(self.log_sum_exp):
            raise NonFiniteOutputError("a decoder step gave NaN or infinity")
        if need is Need.LOGITS:
            return cast(Scores, self.logits), None
        return cast(Scores, self.top_logits), self.top_ids


def row_scores(output: StepOutput, row: int, at: int = 0) -> RowScores:
    """The part of row `row` and of its token `at` within the step."""
    return RowScores(
        best=int(output.best[row, at]),
        top_ids=None if output.top_ids is None else output.top_ids[row, at],
        top_logits=None if output.top_logits is None else output.top_logits[row, at],
        log_sum_exp=0.0 if output.log_sum_exp is None else float(output.log_sum_exp[row, at]),
        logits=None if output.logits is None else output.logits[row, at],
    )


class Chooser:
    """Chooses for one row of a request without beams; `row` is its number within the request.

    It keeps nothing between steps: the same tokens, scores and seed give the same choice, whatever else runs.
    """

    def __init__(self, decoding: Decoding, info: StepperInfo, *, row: int = 0) -> None:
        self._decoding = decoding
        self._processors = Processors(decoding, info)
        self._vocabulary = info.vocabulary
        self._row = row

    def need(self, tokens: Sequence[int]) -> Need:
        """What the choice after `tokens`, the row's new ones so far, needs of the step."""
        if not self._decoding.do_sample:
            return self._processors.need(tokens, 1) if self._processors.changes(tokens) else Need.BEST
        if self._vocabulary <= TOP:
            return Need.TOP
        if not 0 < self._decoding.top_k <= TOP:
            return Need.LOGITS
        return self._processors.need(tokens, self._decoding.top_k)

    def choose(self, scores: RowScores, tokens: Sequence[int]) -> int:
        """The token after `tokens`. `scores` has at least what `need(tokens)` said. Raises NonFiniteOutputError."""
        need = self.need(tokens)
        if need is Need.BEST:
            return scores.best
        logits, ids = scores.candidates(need)
        logits = self._processors.apply(logits, ids, tokens)
        if not self._decoding.do_sample:
            best = np.flatnonzero(logits == logits.max())
            return int((best if ids is None else ids[best]).min())
        kept, probabilities = distribution(logits, ids, self._decoding)
        number = uniform(self._decoding.seed, row=self._row, position=len(tokens))
        return draw(kept, probabilities, number)
