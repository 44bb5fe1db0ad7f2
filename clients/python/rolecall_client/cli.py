"""The command `rolecall-client`."""

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rolecall.v1 import types_pb2

from rolecall_client.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from rolecall_client.cli_generate import add_generate, count, number
from rolecall_client.client import Client
from rolecall_client.demo import run_demo
from rolecall_client.errors import DeadlineExceededError, RolecallError, UnavailableError
from rolecall_client.files import BadFileError, parse_profile, read_profile, read_profiles, read_texts
from rolecall_client.tables import info_tables, label_of, make_console, one_line, ranking_json, ranking_table

OK, FAILED = 0, 1

_UNREACHABLE = re.compile(r"(?:Failed to connect to remote host|address lookup failed for \S+): ([^\]]+)")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that can't show Chinese is no reason to fail
    args = _parser().parse_args(argv)
    command: Callable[[Client, argparse.Namespace], int] = args.run
    try:
        with Client(args.address, timeout=args.timeout) as client:
            status = command(client, args)
        sys.stdout.flush()
        return status
    except BadFileError as error:
        return _fail(str(error))
    except RolecallError as error:
        return _fail(explain(error, args.address, args.timeout))
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:  # whoever read this has seen enough, `head` for one
        # What is left in the buffer must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def explain(error: RolecallError, address: str, timeout: float) -> str:
    """One line for a person."""
    unreachable = _UNREACHABLE.search(error.message)
    if isinstance(error, UnavailableError) and unreachable:
        return one_line(f"no server answers at {address}: {unreachable[1]}")
    if isinstance(error, UnavailableError):
        return one_line(f"the server at {address} is not available: {error.message}")
    if isinstance(error, DeadlineExceededError):
        return one_line(f"the server at {address} gave no answer within {timeout:g} s: {error.message}")
    return one_line(f"the server at {address} refused: {error}")


def _fail(line: str) -> int:
    print(f"rolecall-client: {line}", file=sys.stderr)
    return FAILED


def _match(client: Client, args: argparse.Namespace) -> int:
    query, documents_file = _sides(args)
    documents = [item.profile for item in read_profiles(documents_file)]
    result = client.match(
        query,
        documents,
        top_k=args.top_k,
        min_score=args.min_score,
        metric=args.metric,
        truncation=args.truncation,
    )
    if args.json:
        print(json.dumps(ranking_json(result, documents), ensure_ascii=False, indent=2))
    else:
        console = make_console()
        console.print(ranking_table(label_of(query), result, documents, width=console.width))
    failed = sum(match.error is not None for match in result)
    if failed:
        print(f"rolecall-client: {failed} of {len(documents)} documents failed", file=sys.stderr)
    return OK


def _sides(args: argparse.Namespace) -> tuple[types_pb2.Profile, Path]:
    """The query, and the file of the documents: jobs for a resume or resumes for a job."""
    has_resume = args.resume is not None or args.resume_json is not None
    if has_resume and args.jobs is None:
        args.usage_error("--jobs FILE.jsonl goes with a resume")
    if not has_resume and args.resumes is None:
        args.usage_error("--resumes FILE.jsonl goes with a job")
    inline, file = (args.resume_json, args.resume) if has_resume else (args.job_json, args.job)
    query = parse_profile(inline, "the JSON given") if inline is not None else read_profile(file)
    return query, args.jobs if has_resume else args.resumes


def _embed(client: Client, args: argparse.Namespace) -> int:
    items = read_texts(args.input)
    output: Path = args.output
    if output.name and not output.suffix:
        output = output.with_suffix(".npy")
    if not output.parent.is_dir():  # before the work rather than after it
        raise BadFileError(f"{output}: its folder does not exist")
    embeddings = client.embed([item.profile for item in items], kind=args.kind, errors="keep")
    for index, error in embeddings.errors.items():
        raise BadFileError(f"{items[index].place}: {one_line(error.message)}")
    try:
        with output.open("wb") as file:
            np.save(file, embeddings.vectors, allow_pickle=False)
    except OSError as error:
        raise BadFileError(f"{output}: {error.strerror or error}") from error
    rows, dimensions = embeddings.vectors.shape
    print(f"{output}: {rows} embeddings of {dimensions} dimensions, float32")
    return OK


def _info(client: Client, _: argparse.Namespace) -> int:
    console = make_console()
    for table in info_tables(client.server_info()):
        console.print(table)
    return OK


def _health(client: Client, args: argparse.Namespace) -> int:
    if args.wait is not None:
        try:
            client.wait_until_serving(args.wait, service=args.service)
        except DeadlineExceededError as error:
            return _fail(f"{args.address}: {error.message}")
    health = client.health(args.service)
    print(health)
    return OK if health == "serving" else FAILED


def _demo(client: Client, args: argparse.Namespace) -> int:
    return OK if run_demo(client, args.examples, make_console()) else FAILED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--address", default=DEFAULT_ADDRESS, help="HOST:PORT of the server (%(default)s)")
    common.add_argument(
        "--timeout", type=_seconds, default=DEFAULT_TIMEOUT, metavar="SECONDS", help="for the whole call (%(default)s)"
    )
    parser = argparse.ArgumentParser(prog="rolecall-client", description="Ask a Rolecall server.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('rolecall')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_match(commands.add_parser("match", parents=[common], help="rank jobs for a resume, or resumes for a job"))

    embed = commands.add_parser("embed", parents=[common], help="write embeddings as .npy")
    embed.add_argument("--input", type=Path, required=True, metavar="FILE", help=".txt (a text a line) or .jsonl")
    embed.add_argument("--output", type=Path, required=True, metavar="FILE", help="the suffix .npy may be left out")
    embed.add_argument("--kind", choices=("query", "document"), default="document")
    embed.set_defaults(run=_embed)

    add_generate(commands.add_parser("generate", parents=[common], help="write a text after a prompt"))

    info = commands.add_parser("info", parents=[common], help="limits and models of the server")
    info.set_defaults(run=_info)

    health = commands.add_parser("health", parents=[common], help="exit status 0 if the server is serving")
    health.add_argument("--service", default="", help="one service instead of the whole server")
    health.add_argument("--wait", type=_seconds, metavar="SECONDS", help="wait so long for it to serve")
    health.set_defaults(run=_health)

    demo = commands.add_parser("demo", parents=[common], help="rank the example jobs for the example resumes")
    demo.add_argument("--examples", type=Path, default=Path("examples"), metavar="FOLDER")
    demo.set_defaults(run=_demo)
    return parser


def _add_match(match: argparse.ArgumentParser) -> None:
    query = match.add_mutually_exclusive_group(required=True)
    query.add_argument("--resume", type=Path, metavar="FILE", help=".txt, or .json (a Profile in proto3-JSON form)")
    query.add_argument("--resume-json", metavar="JSON", help="the Profile itself")
    query.add_argument("--job", type=Path, metavar="FILE", help="as --resume, to rank resumes for a job")
    query.add_argument("--job-json", metavar="JSON", help="the Profile itself")
    documents = match.add_mutually_exclusive_group(required=True)
    documents.add_argument("--jobs", type=Path, metavar="FILE.jsonl", help="a Profile in proto3-JSON form on each line")
    documents.add_argument("--resumes", type=Path, metavar="FILE.jsonl", help="likewise")
    match.add_argument("--top-k", type=partial(count, 2**32), default=0, metavar="N", help="only the N best")
    match.add_argument("--min-score", type=float, metavar="SCORE", help="leave out what scores less")
    match.add_argument("--metric", choices=("cosine", "dot", "euclidean"), default="cosine")
    match.add_argument("--truncation", choices=("chunk", "truncate", "reject"), default="chunk", help="of long texts")
    match.add_argument("--json", action="store_true", help="print JSON instead of a table")
    match.set_defaults(run=_match, usage_error=match.error)


def _seconds(text: str) -> float:
    value = number(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400")
    return value


if __name__ == "__main__":
    sys.exit(main())
