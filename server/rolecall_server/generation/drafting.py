"""Drafting from the source: proposes what follows in the source where the output seems to copy from it.

One step verifies all proposed tokens, so a text that copies comes in fewer steps, and greedy output stays the same.
The idea is prompt lookup (Saxena, 2023), here on the encoder's text, in the frame of speculative decoding (Leviathan
et al., 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rolecall_server.generation.types import Decoding

_LONGEST_MATCH = 3
_GOES_ON = _LONGEST_MATCH + 1
"""Kind of a match: the output went on as the source did since the last proposal. The others are named by length."""
_CHANCES = {1: 0.3, 2: 0.5, 3: 0.6, _GOES_ON: 0.8}
"""Chance that one more proposed token holds, by kind of match, before anything was seen."""
_WEIGHT = 3.0
"""Tokens that the chances above count for."""
_FORGETTING = 0.9
_MARGIN = 1.05
"""A proposal has to promise this many times the speed of a plain step."""


@dataclass(frozen=True, slots=True)
class WidthCost:
    """Time of a step of some width against one of width 1: 1 + slope * (width - 1)."""

    slope: float = 0.25

    def __call__(self, width: int) -> float:
        return 1.0 + self.slope * (width - 1)


def can_draft(decoding: Decoding) -> bool:
    """Whether drafts can be verified: greedy decoding of one row, without processors.

    The arg-max of each position is then the choice itself. A processor's change at a position depends on the tokens
    before it, so the step's arg-max is not yet the choice; sampling would spend other random numbers, and beams fork.
    """
    return (
        decoding.rows == 1
        and not decoding.do_sample
        and decoding.repetition_penalty == 1.0
        and decoding.no_repeat_ngram_size == 0
        and decoding.min_new_tokens == 0
    )


def accept(drafts: Sequence[int], best: Sequence[int]) -> int:
    """How many drafted tokens hold: those before the first that greedy decoding would not have chosen.

    best: arg-max after each token of the step, one more than drafts. The row's next tokens are best[: accepted + 1],
    up to the end-of-sequence token if it is among them.
    """
    for index, token in enumerate(drafts):
        if token != best[index]:
            return index
    return len(drafts)


class Drafter:
    """Proposes tokens for one row and learns from what became of them.

    Where it proposes nothing, it still watches whether the first token would have held: it stops where drafts don't
    pay and begins again where they would, and neither costs a step.
    """

    def __init__(self, source: Sequence[int], *, longest: int = 12) -> None:
        """source: the encoder's tokens. longest: the most tokens of a proposal."""
        self._source = [int(token) for token in source]
        self._longest = longest
        self._index: dict[tuple[int, ...], list[int]] | None = None
        self._place = -1  # where in the source the output would have gone on at the last call; -1 for nowhere
        self._kind = 0  # of the match that said so
        self._length = 0  # tokens of the output then
        self._watching = False  # whether nothing was proposed then, or nothing verified
        self._held = {kind: chance * _WEIGHT for kind, chance in _CHANCES.items()}
        self._tried = dict.fromkeys(_CHANCES, _WEIGHT)

    def propose(self, tokens: Sequence[int], limit: int, *, cost: WidthCost | None = None) -> list[int]:
        """At most `limit` tokens that may follow `tokens`, the output so far; none where it would not pay.

        To be called after each step. cost: of the step that would verify them.
        """
        went_on = self._goes_on(tokens)
        if self._watching and self._place >= 0 and len(tokens) > self._length:
            self._count(1, int(tokens[self._length] == self._source[self._place]))
        self._place, self._kind = self._match(tokens, went_on)
        self._length, self._watching = len(tokens), True
        if self._place < 0:
            return []
        limit = min(limit, self._longest, len(self._source) - self._place)
        return self._source[self._place : self._place + self._worth(limit, cost or WidthCost())]

    def learn(self, proposed: int, accepted: int) -> None:
        """Of the last proposal, how many tokens were verified, and how many of these held."""
        if proposed:
            self._watching = False
            self._count(proposed, accepted)

    def _count(self, proposed: int, accepted: int) -> None:
        kind = self._kind
        self._held[kind] = self._held[kind] * _FORGETTING + accepted
        self._tried[kind] = self._tried[kind] * _FORGETTING + accepted + (accepted < proposed)

    def _worth(self, limit: int, cost: WidthCost) -> int:
        """The length with the most tokens for the time, by the chance of this kind of match; 0 if none pays."""
        chance = self._held[self._kind] / self._tried[self._kind]
        length, gain, expected, power = 0, _MARGIN, 1.0, 1.0
        for count in range(1, limit + 1):
            power *= chance
            expected += power
            if expected / cost(count + 1) > gain:
                length, gain = count, expected / cost(count + 1)
        return length

    def _goes_on(self, tokens: Sequence[int]) -> bool:
        """Whether the output went on as the source does since the last call."""
        new = list(tokens[self._length :])
        return self._place >= 0 and bool(new) and self._source[self._place : self._place + len(new)] == new

    def _match(self, tokens: Sequence[int], went_on: bool) -> tuple[int, int]:
        """Where in the source the output may go on, -1 for nowhere, and the kind of the match."""
        if went_on:
            at = self._place + len(tokens) - self._length
            return (at, _GOES_ON) if at < len(self._source) else (-1, 0)
        if self._index is None:
            self._index = _index(self._source)
        for size in range(min(_LONGEST_MATCH, len(tokens)), 0, -1):
            places = self._index.get(tuple(tokens[-size:]))
            # One token says little unless it is the only one of its kind in the source.
            if places and (size > 1 or len(places) == 1):
                return next((place for place in places if place >= self._place), places[0]), size
        return -1, 0


def _index(source: list[int]) -> dict[tuple[int, ...], list[int]]:
    """Of each run of 1 to _LONGEST_MATCH tokens, the places after it, in order; none where the source ends."""
    index: dict[tuple[int, ...], list[int]] = {}
    for size in range(1, _LONGEST_MATCH + 1):
        for end in range(size, len(source)):
            index.setdefault(tuple(source[end - size : end]), []).append(end)
    return index
