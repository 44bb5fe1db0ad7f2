"""Command line: `rolecall-bench quality`, `invariance`, `speed`, `generation`, `interference`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version

from rich.console import Console

from rolecall_load.bench import (
    generation_command,
    interference_command,
    invariance_command,
    quality_command,
    speed_command,
)
from rolecall_load.errors import LoadError

_COMMANDS = (quality_command, invariance_command, speed_command, generation_command, interference_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done and good, 1 a limit was not kept, 2 the bench could not be run."""
    parser = argparse.ArgumentParser(prog="rolecall-bench", description="Measures a Rolecall server.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('rolecall')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        code: int = options.command(options, console)
        return code
    except LoadError as error:
        console.print(f"rolecall-bench: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
