"""One load test as plain data that travels to the processes which run it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

from rolecall_load.arrivals import Arrivals
from rolecall_load.texts.lengths import Language

Mode = Literal["open", "closed"]
ScenarioName = Literal["embed", "match"]


def new_tag() -> str:
    """A short code that no other run has."""
    return secrets.token_hex(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What to send where, and for how long. Seconds and requests per second; `rate` and `concurrency` in all."""

    address: str
    scenario: ScenarioName = "embed"
    documents: int = 1
    mode: Mode = "closed"
    rate: float = 0.0
    concurrency: int = 32
    duration: float = 10.0
    warmup: float = 2.0
    deadline: float = 10.0
    arrivals: Arrivals = "poisson"
    repeat: float = 0.0
    languages: tuple[Language, ...] = ("en", "zh")
    length: float | None = None
    """Mean length of a text in tokens; None for the lengths of real texts."""
    seed: int = 0
    processes: int = 1
    connect: float = 5.0
    """Seconds that the server is given to accept the connection."""
    tag: str = field(default_factory=new_tag)
    """Sets the texts of this run apart from those of earlier ones, which the server may have cached."""

    def __post_init__(self) -> None:
        if self.mode == "open" and self.rate <= 0:
            raise ValueError("an open loop needs a rate above 0")
        if self.mode == "closed" and self.concurrency < self.processes:
            raise ValueError("a closed loop needs a concurrency of at least the number of processes")
        if min(self.documents, self.processes) < 1:
            raise ValueError("documents and processes are at least 1")
        if self.duration <= 0 or self.warmup < 0 or self.deadline <= 0:
            raise ValueError("duration and deadline are above 0, the warm-up is not below")

    def concurrency_of(self, part: int) -> int:
        """The share of process `part`; the shares differ by one at most."""
        whole, rest = divmod(self.concurrency, self.processes)
        return whole + (part < rest)
