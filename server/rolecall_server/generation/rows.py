"""The rows of one running request: what the loop asks of them at each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rolecall_server.generation.drafting import WidthCost
from rolecall_server.generation.stepper import Need, StepOutput
from rolecall_server.generation.text import Detokenizer, whole_text
from rolecall_server.generation.types import Hypothesis


@dataclass(slots=True, eq=False)
class Row:
    """One row of the batch.

    slot: which one; after a step that forks, that of the row it continues. position: its tokens in the cache. last: the
    token that goes in next. drafts: what is proposed to follow it.
    """

    slot: int
    position: int
    last: int
    drafts: Sequence[int] = ()


class Rows(Protocol):
    """rows: those that take part in the next step. result: set by `advance` once all have ended. token_count: tokens
    chosen so far, in all rows. drafted, accepted: see GenerationStats."""

    result: tuple[Hypothesis, ...] | None
    token_count: int
    drafted: int
    accepted: int

    @property
    def rows(self) -> Sequence[Row]: ...

    def need(self) -> Need:
        """What the next step has to give."""

    def draft(self, limit: int, cost: WidthCost) -> None:
        """Propose at most `limit` tokens for each row."""

    def advance(self, output: StepOutput) -> bool:
        """Take in a step; whether `rows` are others now, or lie elsewhere. NonFiniteOutputError."""

    def take_text(self) -> str:
        """What is new of the text of a request that streams."""


def text_of(detokenizer: Detokenizer, tokens: Sequence[int], stop: Sequence[str] = ()) -> str:
    """The text that a stream of the tokens gives. Without stop strings only bytes that are not UTF-8 make a difference
    between it and the text of all tokens at once, which costs less."""
    if not stop:
        text = detokenizer.decode(tokens)
        if "\ufffd" not in text:
            return text
    return whole_text(detokenizer, tokens, stop)
