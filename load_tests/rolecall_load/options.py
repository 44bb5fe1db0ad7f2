"""Command-line options of a load test, shared by the commands, and what they make."""

from __future__ import annotations

import argparse

from rolecall_load.errors import LoadError
from rolecall_load.spec import LoadSpec, Mode

_MATCH_DOCUMENTS = 20


def add_payload(parser: argparse.ArgumentParser) -> None:
    """What is sent, where to, by how many processes."""
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port of the server (%(default)s)")
    parser.add_argument("--scenario", choices=("match", "embed"), default="embed", help="RPC to call (%(default)s)")
    parser.add_argument(
        "--documents", type=int, help=f"texts of an Embed (1) or documents of a Match ({_MATCH_DOCUMENTS})"
    )
    parser.add_argument(
        "--deadline-ms", type=float, default=10_000, help="deadline of each request in ms (%(default)s)"
    )
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson", help="of the open loop")
    parser.add_argument(
        "--repeat", type=float, default=0.0, help="share of texts that were sent before, for the cache (%(default)s)"
    )
    parser.add_argument(
        "--unique", dest="repeat", action="store_const", const=0.0, help="no text twice (same as --repeat 0)"
    )
    parser.add_argument("--languages", default="en,zh", help="en, zh or both (%(default)s)")
    parser.add_argument(
        "--length", type=float, help="mean tokens of a text; real resumes' and jobs' lengths where not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="of texts and arrivals (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="client processes (%(default)s)")


def add_window(parser: argparse.ArgumentParser, *, duration: float) -> None:
    parser.add_argument("--duration", type=float, default=duration, help="seconds measured (%(default)s)")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before that, not counted (%(default)s)")


def add_observation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server-pid", type=int, help="watch the memory of this process and its children")
    parser.add_argument("--metrics-url", help="watch the queue, for example http://127.0.0.1:9464/metrics")
    parser.add_argument("--json", metavar="FILE", help="write everything that was found here")


def load_spec(options: argparse.Namespace, *, mode: Mode, rate: float = 0.0, concurrency: int = 1) -> LoadSpec:
    """The options as a specification; LoadError for values that make no sense."""
    documents = options.documents or (1 if options.scenario == "embed" else _MATCH_DOCUMENTS)
    languages = tuple(part.strip() for part in options.languages.split(","))
    if not languages or set(languages) - {"en", "zh"}:
        raise LoadError("--languages takes en, zh or en,zh")
    if not 0 <= options.repeat <= 1:
        raise LoadError("--repeat takes a share between 0 and 1")
    try:
        return LoadSpec(
            address=options.address,
            scenario=options.scenario,
            documents=documents,
            mode=mode,
            rate=rate,
            concurrency=concurrency,
            duration=options.duration,
            warmup=options.warmup,
            deadline=options.deadline_ms / 1000,
            arrivals=options.arrivals,
            repeat=options.repeat,
            languages=languages,
            length=options.length,
            seed=options.seed,
            processes=options.processes,
        )
    except ValueError as error:
        raise LoadError(str(error)) from error
