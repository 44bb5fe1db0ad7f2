"""The command `rolecall`."""

import argparse
import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from prometheus_client import disable_created_metrics
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import rolecall_server.quiet_grpc  # noqa: F401 (before all that imports grpc)
from rolecall_server import doctor
from rolecall_server.app import serve
from rolecall_server.errors import ModelNotFoundError, RolecallError
from rolecall_server.observability.logs import configure
from rolecall_server.repository import ModelRepository
from rolecall_server.settings import Settings, unknown_variables, variable_of
from rolecall_server.stopping import REST_SECONDS, UnfinishedError, exit_at_the_latest
from rolecall_server.transport.server import BindError

log = logging.getLogger(__name__)

COMMANDS = {
    "serve": "run the server",
    "check-config": "print every setting as `serve` would take it from flags and environment",
    "models": "list what the model repository holds",
    "doctor": "print hardware, execution providers, and where each node of each graph runs",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        print(f"rolecall {version('rolecall')}")
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        wanted_help = arguments[:1] in (["-h"], ["--help"])
        print(_usage(), file=sys.stdout if wanted_help else sys.stderr)
        return 0 if wanted_help else 2
    command, rest = arguments[0], arguments[1:]
    try:
        if command == "doctor":
            return _doctor(rest)
        settings = _settings(command, rest)
        return {"serve": _serve, "check-config": _check_config, "models": _models}[command](settings)
    except (ValidationError, SettingsError) as error:
        return _fail(_explain(error), 2)
    except (RolecallError, BindError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130


def _settings(command: str, arguments: Sequence[str]) -> Settings:
    return Settings(_cli_parse_args=list(arguments), _cli_prog_name=f"rolecall {command}")


def _serve(settings: Settings) -> int:
    _set_up_process(settings)
    if unknown := unknown_variables():
        log.warning("the environment has variables that are no setting", extra={"variables": unknown})
    try:
        asyncio.run(_serve_and_end(settings))
    except ModelNotFoundError as error:
        return _fail(f"{error} {settings.model_repository}; {_remedy(settings)}", 1)
    except UnfinishedError as error:
        _fail(str(error), 1)
        os._exit(1)  # the interpreter would take itself down around threads that still compute
    return 0


def _remedy(settings: Settings) -> str:
    return f"run `rolecall-export encoder --repository {shlex.quote(str(settings.model_repository))}`"


def _set_up_process(settings: Settings) -> None:
    """What holds for the whole process, before any of its parts is made."""
    configure(settings.log_format, settings.log_level)
    # The threads that tokenise are the server's own; the library's would fight with them for the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A gauge beside every counter and histogram, of use to nobody here.
    disable_created_metrics()  # type: ignore[no-untyped-call]


async def _serve_and_end(settings: Settings) -> None:
    try:
        await serve(settings)
    finally:
        exit_at_the_latest(REST_SECONDS)


def _check_config(settings: Settings) -> int:
    _warn_of_unknown_variables()
    for name, value in settings.model_dump(mode="json").items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            print(f"--{flag}" if value else f"--no-{flag}")
        else:
            print(f"--{flag} {shlex.quote(str(value))}")
    return 0


def _warn_of_unknown_variables() -> None:
    if unknown := unknown_variables():
        print(f"rolecall: warning: no setting, and ignored: {', '.join(unknown)}", file=sys.stderr)


def _models(settings: Settings) -> int:
    repository = ModelRepository(settings.model_repository)
    keys = repository.versions()
    if not keys:
        return _fail(f"there is no model in {settings.model_repository}; {_remedy(settings)}", 1)
    # Preset, source and weights tell one export from another, so they fit 80 columns; a longer source takes more lines.
    table = Table("model", "preset", "weights", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("source", "licence"):
        table.add_column(name, overflow="fold")
    for column in table.columns[:3]:
        column.no_wrap = True
    for key in keys:
        info = repository.info(key)
        table.add_row(str(key), info.precision, info.weights_hash[:12], info.source, info.licence)
    Console().print(table)
    return 0


def _doctor(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="rolecall doctor", description=COMMANDS["doctor"])
    parser.add_argument("--model-repository", type=Path, default=Settings().model_repository)
    parser.add_argument("--providers", default=Settings().providers)
    parser.add_argument("--verbose", action="store_true", help="every node, not only counts")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    return doctor.run(
        repository=chosen.model_repository, providers=chosen.providers, verbose=chosen.verbose, as_json=chosen.json
    )


def _usage() -> str:
    lines = [f"  {name:14}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: rolecall COMMAND [flags]",
            "",
            *lines,
            "",
            "`rolecall serve --help` lists all flags, `rolecall --version` says which this is.",
        ]
    )


def _explain(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return str(error)
    return "; ".join(f"{_name_of(e['loc'])}{e['msg']}" for e in error.errors())


def _name_of(location: tuple[int | str, ...]) -> str:
    """The flag and its variable: a bad value may have come by either."""
    if not location:
        return ""
    field = str(location[0])
    return f"--{field.replace('_', '-')} ({variable_of(field)}): "


def _fail(reason: str, status: int) -> int:
    print(f"rolecall: {reason}", file=sys.stderr)
    return status
