"""`rolecall-bench invariance`."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rolecall_load.bench.invariance import LIMIT, InvariancePlan, InvarianceResult, measure_invariance
from rolecall_load.report import output, write_json
from rolecall_load.spec import new_tag


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "invariance",
        help="largest difference between a text alone and the same text in random batches, over the wire",
        description="Serve with --embedding-cache-mb 0. Exit code 1 when a difference exceeds the limit.",
    )
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port of the server (%(default)s)")
    parser.add_argument("--texts", type=int, default=2000, help="how many, half English, half Chinese (%(default)s)")
    parser.add_argument("--length", type=float, help="mean tokens of a text; that of real jobs where not given")
    parser.add_argument("--most-texts", type=int, default=32, help="calls have 1 to this many texts (%(default)s)")
    parser.add_argument("--most-calls", type=int, default=16, help="1 to this many calls at a time (%(default)s)")
    parser.add_argument("--by-text", type=int, default=200, help="documents also matched alone as text (%(default)s)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="largest difference that passes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of texts and batches (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, console: Console) -> int:
    names = ("address", "texts", "length", "most_texts", "most_calls", "by_text", "seed")
    plan = InvariancePlan(**{name: getattr(options, name) for name in names}, tag=new_tag())
    with Progress(console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def advance(name: str, texts: int) -> None:
            if name not in tasks:
                total = min(plan.by_text, plan.texts) if name == "match texts alone" else plan.texts
                tasks[name] = progress.add_task(name, total=total)
            progress.advance(tasks[name], texts)

        result = asyncio.run(measure_invariance(plan, advance))
    _print(output(), result, limit=options.limit)
    if options.json:
        write_json(Path(options.json), asdict(result) | {"largest": result.largest, "limit": options.limit})
    return 0 if result.passed(options.limit) else 1


def _print(console: Console, result: InvarianceResult, *, limit: float) -> None:
    table = Table("largest difference", "found")
    table.add_row("embedding, any component", f"{result.embedding_difference:.3g}")
    table.add_row("score, against its own embedding", f"{result.score_difference:.3g}")
    table.add_row("score, against its own text alone", f"{result.score_difference_by_text:.3g}")
    console.print(table)
    sizes = result.batch_sizes
    console.print(
        f"{result.texts} texts, {result.identical} embeddings identical to the last bit; batches in company of "
        f"{sum(sizes) / len(sizes):.1f} on average, {max(sizes)} at most; limit {limit:g}: "
        + ("[green]passed[/]" if result.passed(limit) else "[red]FAILED[/]")
    )
