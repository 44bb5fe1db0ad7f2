"""What the generation bench asks for: sources and copies of mixed lengths, and the jobs that are made of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rolecall_load.bench.generation.copier import draw, source_and_copy, text_of

LONGEST_NEW = 128
"""Limit of every request; the copies end before it by themselves."""
_SOURCE_TOKENS = (20, 400)
_COPIED = (8, 120)

Kind = Literal["gateway", "peer"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request: the same token ids for all contenders, and for the gateway the text that has them."""

    ids: tuple[int, ...]
    text: str
    copied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """numbers: of the prompts, in order. clients: how many wait for an answer at a time. offsets: arrival of each in
    seconds instead, as many as numbers."""

    numbers: tuple[int, ...]
    clients: int = 1
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """outputs: token ids by request, the end-of-sequence token included. Seconds by request: latencies, and from
    streams the time to the first text (first) and between texts of a request (gaps)."""

    seconds: float
    outputs: tuple[tuple[int, ...], ...]
    latencies: tuple[float, ...]
    first: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(output) for output in self.outputs)

    @property
    def rate(self) -> float:
        """Output tokens a second."""
        return self.tokens / self.seconds


class Contender(Protocol):
    """One way to generate. `cases`: those that it takes part in."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def cases(self) -> frozenset[str]: ...

    def run(self, job: Job) -> Answers: ...


def make_prompts(count: int, *, seed: int) -> list[Prompt]:
    """Source and output lengths are independent and uniform; a source is at least as long as what is copied of it."""
    generator = random.Random(f"prompts {seed}")
    prompts = []
    for _ in range(count):
        copied = generator.randint(*_COPIED) - 1
        words = draw(generator, source_tokens=generator.randint(*_SOURCE_TOKENS), copied=copied)
        ids, _ = source_and_copy(words, copied)
        prompts.append(Prompt(tuple(ids), text_of(ids), copied))
    return prompts


def arrivals(count: int, *, rate: float, seed: int) -> tuple[float, ...]:
    """Times of a Poisson process of that many requests a second."""
    generator = random.Random(f"arrivals {seed}")
    times, time = [], 0.0
    for _ in range(count):
        time += generator.expovariate(rate)
        times.append(time)
    return tuple(times)


def equal_share(answers: Answers, job: Job, reference: Sequence[tuple[int, ...]]) -> float:
    """Share of the outputs that are those of the reference, which has one for each prompt."""
    pairs = zip(answers.outputs, job.numbers, strict=True)
    return sum(output == reference[number] for output, number in pairs) / len(job.numbers)
