"""Interleaved rounds and what is computed from them. Knows nothing of what it measures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from rolecall_load.bench.embedders import Vectors

Kind = Literal["gateway", "direct", "peer"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One contender's turn: all texts once. `client_cores`: processor seconds of the client a second, None if none."""

    seconds: float
    client_cores: float | None = None


class Contender(Protocol):
    """One way to embed the bench's texts."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def embed(self) -> Vectors:
        """The texts' embeddings, in order; at the same time the warm-up."""
        ...

    def run(self, number: int) -> Measure:
        """All texts once, in round `number`."""
        ...


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Quality:
    """Cosine of the embeddings to those of the float model, over the texts."""

    mean: float
    least: float


@dataclass(frozen=True, slots=True)
class Line:
    """One contender. `ratio`: the gateway's speed divided by this one's, by round; above 1 it is faster."""

    name: str
    kind: Kind
    ratio: Spread
    rate: Spread
    client_cores: float | None
    quality: Quality | None


@dataclass(frozen=True, slots=True)
class SpeedResult:
    """`baseline`: the direct run with the best median; the lines have the order of the contenders."""

    texts: int
    rounds: int
    lines: tuple[Line, ...]
    baseline: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)


def turn_order(count: int, number: int) -> list[int]:
    """Who goes when in round `number`: each begins once in `count` rounds, and every other round runs backwards.

    A machine that slows down in the course of a round is then not always slow for the same contender.
    """
    order = [(index + number) % count for index in range(count)]
    return order[::-1] if number % 2 else order


def run_rounds(
    contenders: Sequence[Contender], rounds: int, *, advance: Callable[[str], None]
) -> dict[str, list[Measure]]:
    """Measures of each contender by name, one a round. `advance` hears who is next."""
    found: dict[str, list[Measure]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for index in turn_order(len(contenders), number):
            contender = contenders[index]
            advance(f"round {number + 1} of {rounds}: {contender.name}")
            found[contender.name].append(contender.run(number))
    return found


def compare(
    contenders: Sequence[Contender],
    found: Mapping[str, Sequence[Measure]],
    *,
    texts: int,
    quality: Mapping[str, Quality],
    facts: Mapping[str, object] | None = None,
) -> SpeedResult:
    """Ratios are taken within each round, so that what slows the whole machine for a while cancels out."""
    gateway = next(contender.name for contender in contenders if contender.kind == "gateway")
    lines = []
    for contender in contenders:
        own = found[contender.name]
        cores = [measure.client_cores for measure in own if measure.client_cores is not None]
        ratios = [mine.seconds / theirs.seconds for mine, theirs in zip(own, found[gateway], strict=True)]
        lines.append(
            Line(
                name=contender.name,
                kind=contender.kind,
                ratio=Spread.of(ratios),
                rate=Spread.of([texts / measure.seconds for measure in own]),
                client_cores=statistics.median(cores) if cores else None,
                quality=quality.get(contender.name),
            )
        )
    direct = [line for line in lines if line.kind == "direct"]
    best = max(direct, key=lambda line: line.rate.median)
    return SpeedResult(texts, len(found[gateway]), tuple(lines), best.name, facts or {})


def quality_of(vectors: Vectors, reference: Vectors) -> Quality:
    """Both [texts, dimensions]; not assumed to be of unit length."""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (vectors.astype(np.float64) * reference).sum(axis=1) / norms
    return Quality(float(cosines.mean()), float(cosines.min()))
