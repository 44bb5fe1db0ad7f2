"""The generation bench on the terminal: ratios first."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rolecall_load.bench.generation.compare import Case, GenerationResult, Tail
from rolecall_load.bench.speed.measure import Spread


def print_facts(console: Console, result: GenerationResult) -> None:
    console.print("medians over rounds, ranges in brackets; latencies in ms, p50 / p99 of all rounds' requests")
    for name, value in result.facts.items():
        console.print(f"{name}: {value}", markup=False, highlight=False)


def print_case(console: Console, case: Case) -> None:
    console.print(f"{case.name}: {case.requests} requests, {case.tokens} tokens a turn, {case.rounds} rounds")
    columns = ("gateway is x times as fast", "tokens/s", "equal", "request", "first text", "between texts")
    table = Table("contender", *columns)
    for line in case.lines:
        table.add_row(
            line.name,
            "" if line.name == "gateway" else _spread(line.ratio, 2),
            _spread(line.rate, 0),
            f"{line.equal:.3f}",
            *(_tail(tail) for tail in (line.latency, line.first, line.gap)),
        )
    console.print(table)


def _spread(values: Spread, digits: int) -> str:
    return f"{values.median:.{digits}f} ({values.low:.{digits}f} to {values.high:.{digits}f})"


def _tail(tail: Tail | None) -> str:
    return "" if tail is None else f"{tail.p50:.0f} / {tail.p99:.0f}"
