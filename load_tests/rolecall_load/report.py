"""Results on the terminal (rich) and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rolecall_load.errors import LoadError
from rolecall_load.load import Result
from rolecall_load.observe import Observation
from rolecall_load.overload import OverloadResult
from rolecall_load.summary import Percentiles, Summary
from rolecall_load.verdict import Check, right_refusal

_MEGABYTE = 1024 * 1024
_WIDTH = 132


def result_json(result: Result) -> dict[str, Any]:
    """One load test; seconds, bytes, and requests a second."""
    summary, memory = result.summary, result.observation.memory
    found: dict[str, Any] = {
        "spec": asdict(result.spec),
        "summary": asdict(summary)
        | {
            "throughput": summary.throughput,
            "goodput": summary.goodput,
            "client_limited": summary.client_limited,
            "codes": summary.by_code(),
        },
        "metrics_max": result.observation.maxima,
    }
    if memory is not None:
        found["memory"] = {"samples": memory.samples, "slope": memory.after(result.spec.warmup).slope}
    return found


def overload_json(result: OverloadResult) -> dict[str, Any]:
    return {
        "capacity": result.capacity,
        "goodput_ratio": result.overload.summary.goodput / result.capacity,
        "queue_limit": result.queue_limit,
        "checks": [asdict(check) for check in result.checks],
        "before": [result_json(each) for each in result.before],
        "overload": result_json(result.overload),
        "after": result_json(result.after),
    }


def output() -> Console:
    """Standard output; wide enough for our tables where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """LoadError when the file can't be written."""
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
    except OSError as error:
        raise LoadError(f"{path} can't be written: {error.strerror}") from error


def print_result(console: Console, result: Result) -> None:
    summary = result.summary
    console.print(_rates(result))
    console.print(_durations(summary))
    if summary.refusals:
        console.print(_refusals(summary))
    _print_observation(console, result.observation, warmup=result.spec.warmup)
    if summary.client_limited:
        console.print(
            f"[yellow]The client was the limit:[/] send lag p99 {summary.lag.p99 * 1000:.0f} ms. "
            "Use more --processes or a lower rate."
        )


def print_overload(console: Console, result: OverloadResult) -> None:
    print_result(console, result.overload)
    console.print(
        f"Unloaded maximum {result.capacity:.1f}/s before, {result.after.summary.goodput:.1f}/s afterwards; "
        f"under overload {result.overload.summary.goodput:.1f}/s, "
        f"ratio {result.overload.summary.goodput / result.capacity:.3f}"
    )
    console.print(checks_table(result.checks))


def checks_table(checks: tuple[Check, ...]) -> Table:
    table = Table("check", "verdict", "found")
    words = {True: "[green]passed[/]", False: "[red]FAILED[/]", None: "[yellow]not decided[/]"}
    for check in checks:
        table.add_row(check.name, words[check.passed], check.detail)
    return table


def _rates(result: Result) -> Table:
    summary, spec = result.summary, result.spec
    load = f"{spec.rate:.1f}/s, {spec.arrivals}" if spec.mode == "open" else f"{spec.concurrency} at a time"
    table = Table("measure", "value", title=f"{spec.scenario}, {spec.mode} loop, {load}", show_header=False)
    rows = {
        "sent": f"{summary.sent} in {summary.seconds:.0f} s ({summary.late} late, lag p99 {_ms(summary.lag.p99)})",
        "answered": f"{summary.ok} ({summary.throughput:.1f}/s)",
        f"goodput (within {spec.deadline:g} s)": f"{summary.good} ({summary.goodput:.1f}/s)",
        "texts": f"{summary.texts} ({summary.texts / summary.seconds:.1f}/s), {summary.failed_items} failed, "
        f"{summary.cache_hits} from the cache",
        "tokens": f"{summary.tokens} ({summary.tokens / summary.seconds:.0f}/s)",
        "batch size": f"mean {summary.server['batch_size'].mean:.1f}, max {summary.server['batch_size'].max:.0f}",
        "client": f"{summary.client_cores:.2f} cores",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _durations(summary: Summary) -> Table:
    table = Table("ms", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max")
    _duration(table, "answered", summary.latency_ok)
    _duration(table, "refused", summary.latency_refused)
    for name in ("tokenize", "queue", "inference", "total"):
        _duration(table, f"server {name}", summary.server[name])
    return table


def _duration(table: Table, name: str, values: Percentiles) -> None:
    if values.count:
        numbers = (values.mean, values.p50, values.p90, values.p95, values.p99, values.p999, values.max)
        table.add_row(name, str(values.count), *(f"{number * 1000:.1f}" for number in numbers))


def _refusals(summary: Summary) -> Table:
    table = Table("refused with", "reason", "RetryInfo", "count", "share", "right under overload")
    for refusal in summary.refusals:
        kind = refusal.kind
        table.add_row(
            kind.code + (" (client's own timer)" if kind.local else ""),
            kind.reason,
            "yes" if kind.retry_info else "no",
            str(refusal.count),
            f"{refusal.count / summary.sent:.1%}",
            "expired" if kind.local else "yes" if right_refusal(kind) else "[red]no[/]",
        )
    return table


def _print_observation(console: Console, observation: Observation, *, warmup: float) -> None:
    for name, value in observation.maxima.items():
        console.print(f"{name}: at most {value:.0f}")
    if observation.memory is not None:
        memory = observation.memory.after(warmup)
        console.print(
            f"server memory: {memory.first / _MEGABYTE:.1f} MB at the start, {memory.last / _MEGABYTE:.1f} MB at the "
            f"end, slope {memory.slope * 60 / _MEGABYTE:+.2f} MB a minute"
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
