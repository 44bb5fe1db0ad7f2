"""`rolecall-bench speed`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rolecall_load.bench.saying import saying
from rolecall_load.bench.speed.report import print_speed
from rolecall_load.bench.speed.run import SpeedPlan, measure_speed
from rolecall_load.report import output, write_json

_EPILOG = """\
Peers run in environments of their own: `tools/bench_peers.sh DIR` makes them, with the weights of the packaged default
encoder in a form they can read, so compare them only with a repository exported from that source. infinity is asked
like the gateway, one text a request; sentence-transformers gets all texts at once, without a server.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "speed",
        help="texts a second of the gateway, of the bare graph and of peers, in one interleaved run",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", required=True, type=Path, help="model repository that the gateway serves")
    parser.add_argument("--reference", type=Path, help="repository of preset cpu-fp32, to see the embeddings' drift")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder of the peers' environments, see below")
    parser.add_argument("--texts", type=int, default=640, help="in each turn (%(default)s)")
    parser.add_argument("--length", type=float, default=118, help="their mean tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at a time (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of each contender; 0: as many as there are cores")
    parser.add_argument("--seed", type=int, default=0, help="of the texts (%(default)s)")
    parser.add_argument(
        "--server-option", action="append", default=[], metavar="FLAG=VALUE", help="more flags for rolecall serve"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, console: Console) -> int:
    plan = SpeedPlan(
        repository=options.repository,
        reference=options.reference,
        peers=options.peers,
        texts=options.texts,
        mean_tokens=options.length,
        rounds=options.rounds,
        concurrency=options.concurrency,
        threads=options.threads,
        seed=options.seed,
        server_options=tuple(options.server_option),
    )
    with saying(console) as say:
        result = measure_speed(plan, say)
    print_speed(output(), result)
    if options.json:
        write_json(Path(options.json), asdict(result))
    return 0
