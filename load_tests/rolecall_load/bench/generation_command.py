"""`rolecall-bench generation`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rolecall_load.bench.generation.report import print_case, print_facts
from rolecall_load.bench.generation.run import GenerationPlan, checkpoint_of, measure_generation
from rolecall_load.bench.saying import saying
from rolecall_load.report import output, write_json

_EPILOG = """\
The model is one that copies: small, trained for two minutes, and widened to the shape of t5-small. Make it first
(`--checkpoint-only`, needs the extra `hub`), export WORK/copier/t5-small with `rolecall-export t5` into a repository
that has an encoder as well, then run the bench on that repository. Peers (CTranslate2, optimum, transformers) run in an
environment of their own, made in WORK on first use (2 GB) unless --peer-python names one.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "generation",
        help="tokens a second and latencies of the gateway and of peers, in one interleaved run",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoint, peers' models, environment")
    parser.add_argument("--repository", type=Path, help="model repository that the gateway serves")
    parser.add_argument("--checkpoint-only", action="store_true", help="make the checkpoint and stop")
    parser.add_argument("--peer-python", type=Path, metavar="PYTHON", help="interpreter that has the peers installed")
    parser.add_argument("--no-peers", action="store_true", help="the gateway alone")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="peers with this in their name")
    parser.add_argument("--singles", type=int, default=8, help="requests of the sequential case (%(default)s)")
    parser.add_argument("--requests", type=int, default=64, help="of the concurrent cases (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at a time (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and arrivals (%(default)s)")
    parser.add_argument(
        "--server-option", action="append", default=[], metavar="FLAG=VALUE", help="more flags for rolecall serve"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.set_defaults(command=_run, parser=parser)


def _run(options: argparse.Namespace, console: Console) -> int:
    options.work.mkdir(parents=True, exist_ok=True)
    if options.checkpoint_only:
        console.print(str(checkpoint_of(options.work)), markup=False, highlight=False)
        return 0
    if options.repository is None:
        options.parser.error("--repository is required")
    plan = GenerationPlan(
        work=options.work,
        repository=options.repository,
        peer_python=options.peer_python,
        peers=not options.no_peers,
        only=tuple(options.only),
        singles=options.singles,
        requests=options.requests,
        concurrency=options.concurrency,
        rounds=options.rounds,
        seed=options.seed,
        server_options=tuple(options.server_option),
    )
    with saying(console) as say:
        result = measure_generation(plan, say, show=lambda case: print_case(output(), case))
    print_facts(output(), result)
    if options.json:
        write_json(Path(options.json), asdict(result))
    return 0
