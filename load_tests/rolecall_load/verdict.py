"""What must hold under overload, decided from the figures alone."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall_load.outcomes import Refusal
from rolecall_load.summary import Summary

LEAST_GOODPUT_RATIO = 0.9
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
    summary: Summary, *, capacity: float, queue_tokens: float | None, queue_limit: int | None
) -> tuple[Check, ...]:
    """capacity: goodput of the server when it is not overloaded, per second. Limit 0 or None: none is known."""
    ratio = summary.goodput / capacity if capacity else 0.0
    wrong = sum(each.count for each in summary.refusals if not right_refusal(each.kind))
    refused = sum(each.count for each in summary.refusals)
    return (
        Check(
            "goodput",
            ratio >= LEAST_GOODPUT_RATIO,
            f"{summary.goodput:.1f}/s of {capacity:.1f}/s, ratio {ratio:.3f}, at least {LEAST_GOODPUT_RATIO}",
        ),
        Check("refusals", wrong == 0, f"{wrong} of {refused} with a wrong code or without details"),
        Check("items", summary.failed_items == 0, f"{summary.failed_items} failed inside answers"),
        _queue_check(queue_tokens, queue_limit),
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


def passed(checks: tuple[Check, ...]) -> bool:
    """Nothing failed; what could not be measured does not count."""
    return all(check.passed is not False for check in checks)
