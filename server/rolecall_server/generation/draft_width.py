"""How wide a step should be: what verifying drafts costs and brings, learnt from the steps that ran. Pure."""

from collections.abc import Sequence

from rolecall_server.generation.drafting import WidthCost

FIXED_ROWS = 3.0
"""What a step costs whatever it holds, in rows of width 1: each step reads all weights. Until steps were measured."""

CHANCE = 0.6
"""That a drafted token holds, until drafts were tried."""

_CHANCE_TOKENS = 4.0
"""Tokens that this counts for."""

_COST_MEMORY = 0.9
_CHANCE_MEMORY = 0.98


class DraftWidth:
    """Judges for all rows of a step together. All of them pay for its width, so that drafts of a few rows in a large
    batch rarely pay, however well they hold; a drafter knows its own row only."""

    def __init__(self) -> None:
        self._plain: dict[int, float] = {}
        self._slopes: dict[int, float] = {}
        self._held = self._tried = 0.0

    def cost(self, rows: int) -> WidthCost:
        """Of a step of so many rows."""
        return WidthCost(self._slopes.get(rows, rows / (FIXED_ROWS + rows)))

    def choose(self, lengths: Sequence[int], rows: int) -> int:
        """The width that gives most tokens for the time, where drafts of these lengths were proposed for some of so
        many rows; 1 to leave them all."""
        cost = self.cost(rows)
        chance = (self._held + CHANCE * _CHANCE_TOKENS) / (self._tried + _CHANCE_TOKENS)
        best, most = 1, 1.0
        for width in sorted({1 + length for length in lengths}):
            held = sum(chance * min(length, width - 1) for length in lengths)
            gain = (1 + held / rows) / cost(width)
            if gain > most:
                best, most = width, gain
        # Also where none is tried, so that bad luck is forgotten.
        self._held *= _CHANCE_MEMORY
        self._tried *= _CHANCE_MEMORY
        return best

    def note_drafts(self, drafted: int, accepted: int) -> None:
        """So many tokens were verified, and so many held."""
        self._held += accepted
        self._tried += drafted

    def note_step(self, rows: int, width: int, seconds: float) -> None:
        """A step ran."""
        if width == 1:
            before = self._plain.get(rows, seconds)
            # A step that something interrupted says little of the next one.
            self._plain[rows] = _COST_MEMORY * before + (1 - _COST_MEMORY) * min(seconds, 2 * before)
        elif self._plain.get(rows, 0.0) > 0:
            slope = min(max(0.0, seconds / self._plain[rows] - 1) / (width - 1), 1.0)
            self._slopes[rows] = _COST_MEMORY * self.cost(rows).slope + (1 - _COST_MEMORY) * slope
