"""How long real resumes and jobs are, as quantile tables to draw from."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Side = Literal["resume", "job"]

TOKENS_PER_UNIT: dict[Language, float] = {"en": 1.25, "zh": 0.66}
"""Sub-words of a multilingual vocabulary to one English word or one Chinese character of the generated texts."""


@dataclass(frozen=True, slots=True)
class LengthTable:
    """Quantiles of a distribution of lengths: (share of texts, length), ascending from share 0 to share 1."""

    points: tuple[tuple[float, float], ...]

    def at(self, share: float) -> float:
        """The length that `share` of the texts do not exceed; between the points, linear in the logarithm."""
        for (low, short), (high, long) in zip(self.points, self.points[1:], strict=False):
            if share <= high:
                part = (share - low) / (high - low)
                return math.exp(math.log(short) + part * (math.log(long) - math.log(short)))
        return self.points[-1][1]

    def mean(self) -> float:
        """Exact for the interpolation: the mean of an exponential piece is its logarithmic mean."""
        total = 0.0
        for (low, short), (high, long) in zip(self.points, self.points[1:], strict=False):
            mean = short if long == short else (long - short) / math.log(long / short)
            total += (high - low) * mean
        return total

    def scaled(self, mean: float) -> LengthTable:
        """The same shape with another mean."""
        factor = mean / self.mean()
        return LengthTable(tuple((share, length * factor) for share, length in self.points))

    def draw(self, generator: random.Random) -> int:
        return max(1, round(self.at(generator.random())))


def _table(p10: float, p50: float, p90: float, *, p95: float, longest: float) -> LengthTable:
    # The shortest is not in the published tables; half of the tenth percentile keeps the lower tail plausible.
    return LengthTable(((0.0, p10 / 2), (0.1, p10), (0.5, p50), (0.9, p90), (0.95, p95), (1.0, longest)))


# Measured on 166 English resumes (words), English job posts (tokens) and 82 Chinese job advertisements (characters).
ENGLISH_RESUMES = _table(75, 331, 937, p95=1153, longest=2209)
ENGLISH_CVS = _table(155, 282, 449, p95=516, longest=768)
ENGLISH_JOBS_IN_TOKENS = _table(379, 624, 1042, p95=1214, longest=1976)
CHINESE_JOBS = _table(187, 428, 1005, p95=1164, longest=1852)


def length_table(language: Language, side: Side, *, tokens: float | None = None) -> LengthTable:
    """Lengths in words (en) or characters (zh); with `tokens`, scaled to about that many tokens on average.

    Chinese resumes take the table of Chinese jobs, the only one measured.
    """
    if language == "zh":
        table = CHINESE_JOBS
    elif side == "resume":
        table = ENGLISH_RESUMES
    else:
        table = ENGLISH_JOBS_IN_TOKENS.scaled(ENGLISH_JOBS_IN_TOKENS.mean() / TOKENS_PER_UNIT["en"])
    return table if tokens is None else table.scaled(tokens / TOKENS_PER_UNIT[language])
