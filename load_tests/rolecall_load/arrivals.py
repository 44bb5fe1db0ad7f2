"""When requests are sent: arrival schedules as plain sequences of times. No clock, no loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

Arrivals = Literal["poisson", "constant"]


def schedule(
    kind: Arrivals, rate: float, *, duration: float, seed: int = 0, part: int = 0, parts: int = 1
) -> Iterator[float]:
    """Intended send times in seconds from the start, ascending, below `duration`.

    `rate` is that of all parts together, in requests a second. Part `part` of `parts` sends its share: constant
    schedules interleave, Poisson ones are independent and add up to a Poisson process of the whole rate.
    """
    if rate <= 0 or duration < 0:
        raise ValueError("rate must be positive and duration not negative")
    if not 0 <= part < parts:
        raise ValueError(f"part {part} of {parts}")
    if kind == "constant":
        return _constant(rate, duration=duration, part=part, parts=parts)
    return _poisson(rate / parts, duration=duration, seed=seed, part=part)


def _constant(rate: float, *, duration: float, part: int, parts: int) -> Iterator[float]:
    # A product, not a running sum: an hour of additions would drift.
    index = part
    while (time := index / rate) < duration:
        yield time
        index += parts


def _poisson(rate: float, *, duration: float, seed: int, part: int) -> Iterator[float]:
    generator = random.Random(f"arrivals:{seed}:{part}")
    time = generator.expovariate(rate)
    while time < duration:
        yield time
        time += generator.expovariate(rate)
