"""Rounds of the generation bench and what is computed from them. Knows nothing of who takes part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rolecall_load.bench.generation.workload import Answers, Contender, Job, Kind, equal_share
from rolecall_load.bench.speed.measure import Spread, turn_order

GATEWAY = "gateway"
"""The contender whose speed is divided by that of each other one."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Milliseconds: median and 99th percentile over all rounds' requests."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Tail | None:
        if not seconds:
            return None
        low, high = np.percentile(np.array(seconds) * 1000.0, (50, 99))
        return cls(float(low), float(high))


@dataclass(frozen=True, slots=True)
class Line:
    """One contender in one case. ratio: the gateway's tokens/s divided by this one's, by round. equal: share of the
    outputs that are those of the reference."""

    name: str
    kind: Kind
    ratio: Spread
    rate: Spread
    equal: float
    latency: Tail | None
    first: Tail | None
    gap: Tail | None


@dataclass(frozen=True, slots=True)
class Case:
    """requests, tokens: of one turn; tokens as the gateway gave them."""

    name: str
    requests: int
    tokens: int
    rounds: int
    lines: tuple[Line, ...]

    def best(self, prefix: str) -> Line:
        """The fastest of the contenders whose names begin so."""
        return max((line for line in self.lines if line.name.startswith(prefix)), key=lambda line: line.rate.median)

    def has(self, prefix: str) -> bool:
        return any(line.name.startswith(prefix) for line in self.lines)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    cases: tuple[Case, ...]
    facts: dict[str, Any]


def measure_case(
    name: str,
    contenders: Sequence[Contender],
    job: Job,
    *,
    rounds: int,
    reference: Sequence[tuple[int, ...]],
    say: Callable[[str], None],
) -> Case:
    """Interleaved rounds: ratios are taken within each, so that what slows the whole machine for a while cancels."""
    found: dict[str, list[Answers]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for index in turn_order(len(contenders), number):
            contender = contenders[index]
            say(f"{name}, round {number + 1} of {rounds}: {contender.name}")
            found[contender.name].append(contender.run(job))
    gateway = found[GATEWAY]
    lines = []
    for contender in contenders:
        own = found[contender.name]
        lines.append(
            Line(
                name=contender.name,
                kind=contender.kind,
                ratio=Spread.of([ours.rate / each.rate for ours, each in zip(gateway, own, strict=True)]),
                rate=Spread.of([each.rate for each in own]),
                equal=sum(equal_share(each, job, reference) for each in own) / rounds,
                latency=Tail.of([seconds for each in own for seconds in each.latencies]),
                first=Tail.of([seconds for each in own for seconds in each.first]),
                gap=Tail.of([seconds for each in own for seconds in each.gaps]),
            )
        )
    return Case(name, len(job.numbers), gateway[0].tokens, rounds, tuple(lines))
