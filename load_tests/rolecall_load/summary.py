"""What a load test found, as frozen data; the same shapes go to the terminal and to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rolecall_load.outcomes import Refusal

LATE_SECONDS = 0.010
"""A request sent later than this after its time counts as late."""
LAG_LIMIT_SECONDS = 0.050
"""With a larger lag at the 99th percentile the client, not the server, sets the figures."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a number of durations, in seconds (or of plain numbers, where said)."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class RefusalCount:
    kind: Refusal
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One measured window. Rates are per second of the window, to which a request belongs by its intended time."""

    seconds: float
    deadline: float
    sent: int
    ok: int
    good: int
    """Answered whole (no item failed) and within the deadline, counted from the intended time."""
    refusals: tuple[RefusalCount, ...]
    failed_items: int
    texts: int
    tokens: int
    cache_hits: int
    latency_ok: Percentiles
    latency_refused: Percentiles
    lag: Percentiles
    late: int
    server: Mapping[str, Percentiles]
    """From the answers' Timing: tokenize, queue, inference, total in seconds; batch_size and padded_tokens."""
    client_cores: float
    """Processor seconds of all client processes per second."""

    @property
    def throughput(self) -> float:
        return self.ok / self.seconds

    @property
    def goodput(self) -> float:
        return self.good / self.seconds

    @property
    def client_limited(self) -> bool:
        return self.lag.p99 > LAG_LIMIT_SECONDS

    def by_code(self) -> dict[str, int]:
        """Requests by status code, OK included."""
        counts = {"OK": self.ok} if self.ok else {}
        for refusal in self.refusals:
            counts[refusal.kind.code] = counts.get(refusal.kind.code, 0) + refusal.count
        return counts
