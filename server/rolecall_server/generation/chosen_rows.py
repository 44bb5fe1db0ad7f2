"""Rows that choose token by token: greedy decoding, with drafts from the source, and sampling."""

from collections.abc import Sequence

from rolecall_server.errors import NonFiniteOutputError
from rolecall_server.generation.choice import Chooser, row_scores
from rolecall_server.generation.drafting import Drafter, WidthCost, accept, can_draft
from rolecall_server.generation.rows import Row, text_of
from rolecall_server.generation.stepper import Need, StepOutput, StepperInfo
from rolecall_server.generation.text import Detokenizer, TextStream
from rolecall_server.generation.types import FinishReason, GenerationRequest, Hypothesis


class _ChosenRow(Row):
    """A row that goes its own way. tokens: what it has written. parts: its text so far, if somebody has to see it."""

    def __init__(self, slot: int, info: StepperInfo, *, chooser: Chooser, text: TextStream | None) -> None:
        super().__init__(slot, position=0, last=info.start_token_id)
        self.chooser = chooser
        self.text = text
        self.drafter: Drafter | None = None
        self.tokens: list[int] = []
        self.parts: list[str] = []
        self.finish: FinishReason | None = None

    def write(self, token: int, *, end: int, most: int) -> None:
        self.tokens.append(token)
        self.last = token
        self.position = len(self.tokens)
        if self.text is not None:
            self.parts.append(self.text.push(token))
        if token == end:
            self.finish = FinishReason.EOS
        elif self.text is not None and self.text.stopped:
            self.finish = FinishReason.STOP
        elif len(self.tokens) >= most:
            self.finish = FinishReason.LENGTH
        if self.finish is not None and self.text is not None:
            self.parts.append(self.text.finish())

    def hypothesis(self, detokenizer: Detokenizer) -> Hypothesis:
        text = text_of(detokenizer, self.tokens) if self.text is None else "".join(self.parts)
        reason = self.finish or FinishReason.CANCELLED
        return Hypothesis(token_ids=tuple(self.tokens), text=text, score=0.0, finish_reason=reason)


class ChosenRows:
    """Greedy decoding, or `num_return_sequences` samples. Implements Rows."""

    def __init__(self, request: GenerationRequest, slot: int, *, info: StepperInfo, detokenizer: Detokenizer) -> None:
        decoding = request.decoding
        watched = bool(decoding.stop) or (request.streams and decoding.rows == 1)
        self._all = [
            _ChosenRow(
                slot,
                info,
                chooser=Chooser(decoding, info, row=number),
                text=TextStream(detokenizer, decoding.stop) if watched else None,
            )
            for number in range(decoding.rows)
        ]
        if can_draft(decoding) and info.max_width > 1:
            self._all[0].drafter = Drafter(request.source.tolist())
        self.rows: Sequence[_ChosenRow] = self._all[:1]
        self.result: tuple[Hypothesis, ...] | None = None
        self.token_count = 0
        self.drafted = self.accepted = 0
        self._info = info
        self._most = decoding.max_new_tokens
        self._detokenizer = detokenizer
        self._taken = 0

    def need(self) -> Need:
        return max(row.chooser.need(row.tokens) for row in self.rows)

    def draft(self, limit: int, cost: WidthCost) -> None:
        for row in self.rows:
            if row.drafter is not None:
                # The step itself gives one token after the drafts.
                room = min(limit, self._most - len(row.tokens) - 1)
                row.drafts = row.drafter.propose(row.tokens, room, cost=cost) if room > 0 else ()

    def advance(self, output: StepOutput) -> bool:
        forks = len(self.rows) < len(self._all) and not self.token_count
        if forks:
            for row in self._all:
                row.slot = self.rows[0].slot
            self.rows = self._all
        for row in self.rows:
            self._advance(row, output)
        left = [row for row in self.rows if row.finish is None]
        ended = len(left) < len(self.rows)
        self.rows = left
        if not left:
            self.result = tuple(row.hypothesis(self._detokenizer) for row in self._all)
        return forks or ended

    def take_text(self) -> str:
        parts = self._all[0].parts
        new = "".join(parts[self._taken :])
        self._taken = len(parts)
        return new

    def _advance(self, row: _ChosenRow, output: StepOutput) -> None:
        if row.drafts:
            tokens = self._verified(row, output)
        elif row.chooser.need(row.tokens) is Need.BEST:
            tokens = [int(output.best[row.slot, 0])]
        else:
            tokens = [row.chooser.choose(row_scores(output, row.slot), row.tokens)]
        for token in tokens:
            if not 0 <= token < self._info.vocabulary:
                raise NonFiniteOutputError("a decoder step gave NaN or infinity")
            row.write(token, end=self._info.eos_token_id, most=self._most)
            self.token_count += 1
            if row.finish is not None:
                break

    def _verified(self, row: _ChosenRow, output: StepOutput) -> list[int]:
        """The drafts that hold, and the token after them."""
        best: list[int] = output.best[row.slot].tolist()
        held = accept(row.drafts, best)
        if row.drafter is not None:
            row.drafter.learn(len(row.drafts), held)
        self.drafted += len(row.drafts)
        self.accepted += held
        row.drafts = ()
        return best[: held + 1]
