"""The speed bench on the terminal: ratios first."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rolecall_load.bench.speed.measure import Line, SpeedResult, Spread


def print_speed(console: Console, result: SpeedResult) -> None:
    baseline = result.line(result.baseline)
    console.print(
        f"gateway against the best direct run ({result.baseline}): {_spread(baseline.ratio, 3)}, "
        f"client {result.line('gateway').client_cores or 0:.2f} cores"
    )
    table = Table("contender", "gateway is x times as fast", "texts/s", "cosine to float", "client cores")
    for line in result.lines:
        table.add_row(
            line.name,
            "" if line.kind == "gateway" else _spread(line.ratio, 2),
            _spread(line.rate, 1),
            _quality(line),
            "" if line.client_cores is None else f"{line.client_cores:.2f}",
        )
    console.print(table)
    console.print(f"{result.texts} texts a turn, {result.rounds} rounds; medians, ranges in brackets")
    for name, value in result.facts.items():
        console.print(f"{name}: {value}", markup=False)


def _spread(values: Spread, digits: int) -> str:
    return f"{values.median:.{digits}f} ({values.low:.{digits}f} to {values.high:.{digits}f})"


def _quality(line: Line) -> str:
    return "" if line.quality is None else f"{line.quality.mean:.5f}, least {line.quality.least:.5f}"
