"""Command line: `rolecall-load run` and `rolecall-load overload`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rolecall_load.errors import LoadError
from rolecall_load.load import Result, Watch, run_load
from rolecall_load.observe import Observer
from rolecall_load.options import add_observation, add_payload, add_window, load_spec
from rolecall_load.overload import OverloadPlan, measure_overload
from rolecall_load.report import output, overload_json, print_overload, print_result, result_json, write_json
from rolecall_load.spec import LoadSpec, Mode
from rolecall_load.verdict import passed

_CONCURRENCIES = "16,32,64"


def run(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done and good, 1 an overload check failed, 2 the test could not be run."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        code: int = options.command(options, console)
        return code
    except LoadError as error:
        console.print(f"rolecall-load: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rolecall-load", description="Puts a Rolecall server under load.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('rolecall')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="one load, open or closed loop")
    add_payload(run)
    add_window(run, duration=30)
    run.add_argument("--mode", choices=("open", "closed"), help="open with --rate, closed with --concurrency")
    run.add_argument("--rate", type=float, help="requests a second, open loop")
    run.add_argument("--concurrency", type=int, help="requests in flight, closed loop")
    add_observation(run)
    run.set_defaults(command=_run)
    overload = commands.add_parser(
        "overload",
        help="find the unloaded maximum, then send a multiple of it",
        description="Exit code 1 when goodput falls below 90 % of the unloaded maximum, a refusal has a wrong code or "
        "no details, more than 1 % of the requests get no answer in time, the queue exceeds its limit, memory grows by "
        "more than 5 %, or one of these could not be measured.",
    )
    add_payload(overload)
    add_window(overload, duration=60)
    overload.add_argument("--factor", type=float, default=3.0, help="of the unloaded maximum (%(default)s)")
    overload.add_argument(
        "--concurrencies", default=_CONCURRENCIES, help="tried in turn to find the maximum (%(default)s)"
    )
    overload.add_argument("--capacity-duration", type=float, default=10.0, help="seconds of each (%(default)s)")
    add_observation(overload)
    overload.set_defaults(command=_overload)
    return parser


def _run(options: argparse.Namespace, console: Console) -> int:
    mode: Mode = options.mode or ("open" if options.rate else "closed")
    if mode == "open" and (not options.rate or options.concurrency):
        raise LoadError("an open loop takes --rate, not --concurrency")
    if mode == "closed" and (options.rate or not options.concurrency):
        raise LoadError("a closed loop takes --concurrency, not --rate")
    spec = load_spec(options, mode=mode, rate=options.rate or 0.0, concurrency=options.concurrency or 1)
    observer = Observer(pid=options.server_pid, metrics_url=options.metrics_url)
    with _progress(console, spec, mode) as watch:
        result = run_load(spec, observer=observer, watch=watch)
    print_result(output(), result)
    if options.json:
        write_json(Path(options.json), result_json(result))
    return 0


def _overload(options: argparse.Namespace, console: Console) -> int:
    try:
        concurrencies = tuple(int(part) for part in options.concurrencies.split(","))
    except ValueError as error:
        raise LoadError("--concurrencies takes numbers, separated by commas") from error
    plan = OverloadPlan(
        base=load_spec(options, mode="closed", concurrency=min(concurrencies)),
        factor=options.factor,
        concurrencies=concurrencies,
        capacity_seconds=options.capacity_duration,
        metrics_url=options.metrics_url,
        server_pid=options.server_pid,
    )

    def phase(name: str, spec: LoadSpec, observer: Observer | None) -> Result:
        with _progress(console, spec, name) as watch:
            return run_load(spec, observer=observer, watch=watch)

    result = measure_overload(plan, phase)
    print_overload(output(), result)
    if options.json:
        write_json(Path(options.json), overload_json(result))
    return 0 if passed(result.checks) else 1


@contextmanager
def _progress(console: Console, spec: LoadSpec, name: str) -> Iterator[Watch]:
    """A bar over the time of one run, on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=spec.warmup + spec.duration, counts="")

        def watch(seconds: float, ok: int, refused: int) -> None:
            progress.update(task, completed=max(0.0, seconds), counts=f"{ok} answered, {refused} refused")

        yield watch
