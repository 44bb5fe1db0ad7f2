"""`rolecall-bench interference`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rolecall_load.bench.generation.interference import InterferencePlan, InterferenceResult, measure_interference
from rolecall_load.bench.speed.measure import Spread
from rolecall_load.report import output, write_json

_LIMIT = 3.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "interference", help="p99 of Match with generation at full load, against its p99 alone at the same rate"
    )
    parser.add_argument("--repository", required=True, type=Path, help="with an encoder and the copier's export")
    parser.add_argument("--rate", required=True, type=float, help="Match requests a second, open loop")
    parser.add_argument("--documents", type=int, default=5, help="of a Match (%(default)s)")
    parser.add_argument("--length", type=float, default=118, help="mean tokens of a text (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each half of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="generations at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--limit", type=float, default=_LIMIT, help="of the ratio; exit code 1 above (%(default)s)")
    parser.add_argument(
        "--server-option", action="append", default=[], metavar="FLAG=VALUE", help="more flags for rolecall serve"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, console: Console) -> int:
    plan = InterferencePlan(
        repository=options.repository,
        rate=options.rate,
        documents=options.documents,
        length=options.length,
        seconds=options.seconds,
        rounds=options.rounds,
        concurrency=options.concurrency,
        seed=options.seed,
        server_options=tuple(options.server_option),
    )

    def say(what: str) -> None:
        console.print(what, markup=False, highlight=False)

    result = measure_interference(plan, say)
    _print(output(), plan, result)
    if options.json:
        write_json(Path(options.json), asdict(result))
    return 0 if result.ratio.median <= options.limit else 1


def _print(console: Console, plan: InterferencePlan, result: InterferenceResult) -> None:
    console.print(f"p99 of Match beside generation: {_spread(result.ratio, 2)} times that alone")
    console.print(f"alone:  p50 {_spread(result.alone_p50)} ms, p99 {_spread(result.alone)} ms")
    console.print(f"beside: p50 {_spread(result.beside_p50)} ms, p99 {_spread(result.beside)} ms")
    console.print(
        f"generation: {result.tokens_alone:.0f} tokens/s alone, {_spread(result.tokens_beside)} beside Match, "
        f"{plan.concurrency} requests at a time"
    )
    size = f"{plan.documents} documents, {plan.length:g} tokens a text"
    console.print(f"{plan.rate:g} Match/s of {size}, {plan.rounds} rounds of {plan.seconds:g} s")


def _spread(values: Spread, digits: int = 0) -> str:
    return f"{values.median:.{digits}f} ({values.low:.{digits}f} to {values.high:.{digits}f})"
