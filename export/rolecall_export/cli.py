"""The command line `rolecall-export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from rich.console import Console

from rolecall_export.commands import encoder, t5
from rolecall_export.errors import ExportError

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0 when it is done, 1 when it can't be, 2 when the command line is wrong."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments, Console())
    except ExportError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:  # a full disk, a folder without write permission
        return _fail(str(error), ExportError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the repository is as it was", _INTERRUPTED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rolecall-export", description="Convert models and publish them into a model repository."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('rolecall')}")
    families = parser.add_subparsers(required=True, metavar="FAMILY")
    encoder.add_parser(families)
    t5.add_parser(families)
    return parser


def _fail(message: str, code: int) -> int:
    print(f"rolecall-export: {message}", file=sys.stderr)
    return code
