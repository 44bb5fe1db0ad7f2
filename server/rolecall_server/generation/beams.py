"""Beam search with the results of transformers' `generate` (4.57), one step at a time.

Each step takes the 2 * num_beams best continuations of all beams: enough for num_beams to go on even if each beam's
best ends it. Of these, the first num_beams may become results, and the best unfinished ones are the next beams.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rolecall_server.generation.choice import RowScores
from rolecall_server.generation.processors import Ids, Processors, Scores
from rolecall_server.generation.stepper import Need, StepperInfo
from rolecall_server.generation.text import TextStream
from rolecall_server.generation.types import Decoding, EarlyStopping, FinishReason


@dataclass(frozen=True, slots=True)
class Fork:
    """The next beams: beam i goes on from row parents[i] of the group, for `Stepper.keep`, with tokens[i]."""

    parents: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BeamResult:
    """One finished beam; token_ids without the start token, score as in Hypothesis."""

    token_ids: tuple[int, ...]
    score: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class _Beam:
    tokens: tuple[int, ...]
    score: np.float32
    parent: int = 0
    finish: FinishReason | None = None
    text: TextStream | None = None


class BeamSearch:
    """The beams of one request. It begins with one row, which the first step forks to num_beams.

    text: with stop strings, a stream that has had no token yet and knows them; each beam gets a copy. Scores are
    float32 as in transformers, whose -1e9 for "none" is a state of its own here.
    """

    def __init__(self, decoding: Decoding, info: StepperInfo, *, text: TextStream | None = None) -> None:
        self._decoding = decoding
        self._processors = Processors(decoding, info)
        self._eos = info.eos_token_id
        self._count = decoding.num_beams
        self._beams = [_Beam((), np.float32(0.0), text=text)]
        self._finished: list[_Beam] = []
        self._done = False
        self._need: Need | None = None

    @property
    def rows(self) -> int:
        """Rows that the group holds now: 1 before the first step, then num_beams."""
        return len(self._beams)

    @property
    def steps(self) -> int:
        """Tokens of each beam."""
        return len(self._beams[0].tokens)

    @property
    def done(self) -> bool:
        return self._done

    def need(self) -> Need:
        """What the next step has to give for all rows of the group."""
        if self._need is None:
            self._need = max(self._processors.need(beam.tokens, 2 * self._count) for beam in self._beams)
        return self._need

    def advance(self, scores: Sequence[RowScores]) -> Fork | None:
        """Take one step; scores[i] is of row i, with at least what `need()` said. None when the search is over.

        Raises NonFiniteOutputError.
        """
        candidates = [self._judge(beam) for beam in self._continuations(scores)]
        # Banned tokens come in only where there is not enough else.
        candidates = [beam for beam in candidates if beam.score > -np.inf]
        self._finish([beam for beam in candidates[: self._count] if beam.finish is not None])
        running = [beam for beam in candidates if beam.finish is None][: self._count]
        self._done = not running or self._settled(running[0])
        if self._done:
            return None
        # Several tokens of one beam may complete a stop string; then rows are left over, and wait with no chance.
        spare = replace(running[0], score=np.float32(-np.inf))
        self._beams = running + [spare] * (self._count - len(running))
        self._need = None
        parents, tokens = zip(*((beam.parent, beam.tokens[-1]) for beam in self._beams), strict=True)
        return Fork(parents, tokens)

    def results(self) -> tuple[BeamResult, ...]:
        """The num_return_sequences best, best first, once the search is over; fewer where almost all was banned."""
        return tuple(
            BeamResult(beam.tokens, float(beam.score), beam.finish or FinishReason.LENGTH)
            for beam in self._finished[: self._decoding.num_return_sequences]
        )

    def _continuations(self, scores: Sequence[RowScores]) -> list[_Beam]:
        """The 2 * num_beams best in falling order; of equal ones the lower row and token first."""
        need, wanted = self.need(), 2 * self._count
        rows: list[Ids] = []
        tokens: list[Ids] = []
        totals: list[Scores] = []
        for row, (beam, part) in enumerate(zip(self._beams, scores, strict=True)):
            logits, ids = part.candidates(need)
            chances = self._processors.apply(logits - np.float32(part.log_sum_exp), ids, beam.tokens)
            best = np.argpartition(-chances, wanted)[:wanted] if len(chances) > wanted else np.arange(len(chances))
            rows.append(np.full(len(best), row, dtype=np.int64))
            tokens.append(best if ids is None else ids[best])
            totals.append(chances[best] + beam.score)
        row_of, token_of, total_of = np.concatenate(rows), np.concatenate(tokens), np.concatenate(totals)
        return [
            _Beam((*self._beams[row].tokens, token), np.float32(total), row, text=self._beams[row].text)
            for row, token, total in (
                (int(row_of[i]), int(token_of[i]), total_of[i])
                for i in np.lexsort((token_of, row_of, -total_of))[:wanted]
            )
        ]

    def _judge(self, beam: _Beam) -> _Beam:
        """The beam with the reason for which its last token ends it, if it does."""
        finish: FinishReason | None = None
        if beam.text is not None:
            text = beam.text.copy()
            text.push(beam.tokens[-1])
            beam = replace(beam, text=text)
            finish = FinishReason.STOP if text.stopped else None
        if beam.tokens[-1] == self._eos:
            finish = FinishReason.EOS
        elif finish is None and len(beam.tokens) >= self._decoding.max_new_tokens:
            finish = FinishReason.LENGTH
        return replace(beam, finish=finish)

    def _finish(self, ended: list[_Beam]) -> None:
        """Put beams that ended among the results, of which the num_beams best stay; of equal ones the older."""
        penalty = np.float32(self._length_factor(self.steps + 1))
        self._finished += [replace(beam, score=beam.score / penalty, text=None) for beam in ended]
        self._finished.sort(key=lambda beam: -beam.score)
        del self._finished[self._count :]

    def _settled(self, best: _Beam) -> bool:
        """Whether nothing that may still come changes the results; `best` is the best beam that goes on."""
        if len(self._finished) < self._count:
            return False
        if self._decoding.early_stopping is EarlyStopping.TRUE:
            return True
        length = len(best.tokens)
        if self._decoding.early_stopping is EarlyStopping.NEVER and self._decoding.length_penalty > 0.0:
            length = self._decoding.max_new_tokens
        return not best.score / np.float32(self._length_factor(length)) > self._finished[-1].score

    def _length_factor(self, length: int) -> float:
        return float(length**self._decoding.length_penalty)
