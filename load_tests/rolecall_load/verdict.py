"""What must hold under overload, decided from the figures alone."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall_load.outcomes import Refusal
from rolecall_load.summary import Summary

LEAST_GOODPUT_RATIO = 0.9
MOST_EXPIRED_SHARE = 0.01
"""Of all requests. One whose batch takes longer than foreseen can't be refused any more."""
MOST_MEMORY_GROWTH = 0.05
"""Of the resident memory, over the overload; the embedding cache may still be filling."""
LEAST_RECOVERY_RATIO = 0.9
SHED = "SHED_BEFORE_DEADLINE"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `passed` is None where it could not be measured."""

    name: str
    passed: bool | None
    detail: str


def right_refusal(kind: Refusal) -> bool:
    """Whether an overloaded server may refuse so: with a hint when to come back, or saying that it never ran."""
    if kind.code == "RESOURCE_EXHAUSTED":
        return kind.retry_info
    return kind.code == "DEADLINE_EXCEEDED" and kind.reason == SHED


def judge_overload(
    summary: Summary,
    *,
    capacity: float,
    afterwards: float,
    queue_tokens: float | None,
    queue_limit: int | None,
    memory_growth: float | None,
) -> tuple[Check, ...]:
    """capacity: goodput when not overloaded, per second; afterwards: measured again. Limit 0 or None: none is known.
    memory_growth: share of the server's memory that came on top. None for what was not measured.

    Refusals are what the server sent. What the client's own timer ended was accepted and neither answered nor refused
    in time; it is judged apart.
    """
    ratio = summary.goodput / capacity if capacity else 0.0
    refusals = [each for each in summary.refusals if not each.kind.local]
    wrong = sum(each.count for each in refusals if not right_refusal(each.kind))
    refused = sum(each.count for each in refusals)
    expired = sum(each.count for each in summary.refusals if each.kind.local)
    return (
        Check(
            "goodput",
            ratio >= LEAST_GOODPUT_RATIO,
            f"{summary.goodput:.1f}/s of {capacity:.1f}/s, ratio {ratio:.3f}, at least {LEAST_GOODPUT_RATIO}",
        ),
        Check("refusals", wrong == 0, f"{wrong} of {refused} with a wrong code or without details"),
        Check(
            "expired",
            expired <= MOST_EXPIRED_SHARE * summary.sent,
            f"{expired} of {summary.sent} neither answered nor refused within the deadline, at most "
            f"{MOST_EXPIRED_SHARE:.0%}",
        ),
        Check("items", summary.failed_items == 0, f"{summary.failed_items} failed inside answers"),
        _queue_check(queue_tokens, queue_limit),
        _memory_check(memory_growth),
        _recovery_check(summary, capacity=capacity, afterwards=afterwards),
        Check(
            "client",
            None if summary.client_limited else True,
            f"send lag p99 {summary.lag.p99 * 1000:.1f} ms"
            + (": the client was the limit, the figures are not the server's" if summary.client_limited else ""),
        ),
    )


def _queue_check(tokens: float | None, limit: int | None) -> Check:
    if tokens is None or not limit:
        return Check("queue", None, "not measured: give --metrics-url, and the server a limit")
    return Check("queue", tokens <= limit, f"at most {tokens:.0f} tokens waiting, limit {limit}")


def _memory_check(growth: float | None) -> Check:
    if growth is None:
        return Check("memory", None, "not measured: give --server-pid")
    return Check("memory", growth <= MOST_MEMORY_GROWTH, f"grew by {growth:+.1%}, at most {MOST_MEMORY_GROWTH:.0%}")


def _recovery_check(summary: Summary, *, capacity: float, afterwards: float) -> Check:
    """For information: a machine that others use as well looks the same as a server that is worn out."""
    ratio = summary.goodput / afterwards if afterwards else 0.0
    detail = f"unloaded again {afterwards:.1f}/s; against that, goodput under overload has the ratio {ratio:.3f}"
    if afterwards < LEAST_RECOVERY_RATIO * capacity:
        detail += ": the machine is restless or the server did not recover"
    return Check("recovery", True, detail)


def passed(checks: tuple[Check, ...]) -> bool:
    """Everything was measured and held."""
    return all(check.passed is True for check in checks)
