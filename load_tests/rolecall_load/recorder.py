"""Collects outcomes into histograms; recorders of several processes add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

from hdrh.histogram import HdrHistogram

from rolecall_load.outcomes import Answer, Outcome, Refusal
from rolecall_load.summary import LATE_SECONDS, Percentiles, RefusalCount, Summary

_MICROSECONDS = 1_000_000
_HOUR = 3_600 * _MICROSECONDS


class Histogram:
    """Non-negative numbers with three significant digits; `scale` of them make one unit of what is recorded."""

    def __init__(self, scale: int = _MICROSECONDS) -> None:
        self._scale = scale
        self._values = HdrHistogram(1, _HOUR, 3)

    def record(self, value: float) -> None:
        # Clamped: the histogram has no zero, and a value beyond its range would be dropped without a word.
        self._values.record_value(min(max(round(value * self._scale), 1), _HOUR))

    def add(self, other: Histogram) -> None:
        self._values.add(other._values)

    def percentiles(self) -> Percentiles:
        values, scale = self._values, self._scale
        if values.get_total_count() == 0:
            return Percentiles()
        p50, p90, p95, p99, p999 = (values.get_value_at_percentile(p) / scale for p in (50, 90, 95, 99, 99.9))
        return Percentiles(
            count=values.get_total_count(),
            mean=values.get_mean_value() / scale,
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            p999=p999,
            max=values.get_max_value() / scale,
        )

    def __getstate__(self) -> tuple[int, bytes]:
        return self._scale, self._values.encode()

    def __setstate__(self, state: tuple[int, bytes]) -> None:
        self.__init__(state[0])  # type: ignore[misc]
        self._values.decode_and_add(state[1])


@dataclass(slots=True)
class Counts:
    """Plain sums over a window."""

    sent: int = 0
    ok: int = 0
    good: int = 0
    late: int = 0
    failed_items: int = 0
    texts: int = 0
    tokens: int = 0
    cache_hits: int = 0

    def add(self, other: Counts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def _server_histograms() -> dict[str, Histogram]:
    seconds = ("tokenize", "queue", "inference", "total")
    return {name: Histogram() for name in seconds} | {name: Histogram(1) for name in ("batch_size", "padded_tokens")}


@dataclass(slots=True)
class Recorder:
    """Everything that the summary of one window is made of. Not for use by two threads at once."""

    deadline: float
    counts: Counts = field(default_factory=Counts)
    refusals: Counter[Refusal] = field(default_factory=Counter)
    latency_ok: Histogram = field(default_factory=Histogram)
    latency_refused: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    server: dict[str, Histogram] = field(default_factory=_server_histograms)
    cpu_seconds: float = 0.0

    def record(self, outcome: Outcome) -> None:
        counts = self.counts
        counts.sent += 1
        counts.late += outcome.lag > LATE_SECONDS
        self.lag.record(outcome.lag)
        if outcome.refusal is not None:
            self.refusals[outcome.refusal] += 1
            self.latency_refused.record(outcome.latency)
        elif outcome.answer is not None:
            counts.ok += 1
            counts.good += not outcome.answer.failed and outcome.latency <= self.deadline
            self.latency_ok.record(outcome.latency)
            self._answer(outcome.answer)

    def _answer(self, answer: Answer) -> None:
        counts = self.counts
        counts.texts += answer.texts
        counts.failed_items += answer.failed
        counts.tokens += answer.tokens
        counts.cache_hits += answer.cache_hits
        for name, histogram in self.server.items():
            histogram.record(getattr(answer.timing, name))

    def add(self, other: Recorder) -> None:
        """Take in what another process recorded in the same window."""
        self.counts.add(other.counts)
        self.refusals.update(other.refusals)
        self.latency_ok.add(other.latency_ok)
        self.latency_refused.add(other.latency_refused)
        self.lag.add(other.lag)
        for name, histogram in self.server.items():
            histogram.add(other.server[name])
        self.cpu_seconds += other.cpu_seconds

    def summary(self, *, seconds: float) -> Summary:
        """`seconds`: length of the window."""
        counts = self.counts
        return Summary(
            seconds=seconds,
            deadline=self.deadline,
            sent=counts.sent,
            ok=counts.ok,
            good=counts.good,
            refusals=tuple(RefusalCount(kind, count) for kind, count in self.refusals.most_common()),
            failed_items=counts.failed_items,
            texts=counts.texts,
            tokens=counts.tokens,
            cache_hits=counts.cache_hits,
            latency_ok=self.latency_ok.percentiles(),
            latency_refused=self.latency_refused.percentiles(),
            lag=self.lag.percentiles(),
            late=counts.late,
            server={name: histogram.percentiles() for name, histogram in self.server.items()},
            client_cores=self.cpu_seconds / seconds,
        )
