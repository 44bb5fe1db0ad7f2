"""The command `rolecall`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import disable_created_metrics
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table

from rolecall_server import doctor
from rolecall_server.app import serve
from rolecall_server.errors import RolecallError
from rolecall_server.observability.logs import configure
from rolecall_server.repository import ModelRepository
from rolecall_server.settings import Settings
from rolecall_server.stopping import REST_SECONDS, UnfinishedError, exit_at_the_latest
from rolecall_server.transport.server import BindError

COMMANDS = {
    "serve": "run the server",
    "check-config": "print every setting as `serve` would take it from flags and environment",
    "models": "list what the model repository holds",
    "doctor": "print hardware, execution providers, and where each node of each graph runs",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    try:
        asyncio.run(_serve_and_end(settings))
    except UnfinishedError as error:
        _fail(str(error), 1)
        os._exit(1)  # the interpreter would take itself down around threads that still compute
    return 0


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
    for name, value in settings.model_dump(mode="json").items():
        print(f"--{name.replace('_', '-')} {value}")
    return 0


def _models(settings: Settings) -> int:
    repository = ModelRepository(settings.model_repository)
    table = Table("model", "version", "preset", "source", "licence", "dimensions", "tokens", "weights")
    for key in repository.versions():
        info = repository.info(key)
        numbers = (str(info.dimensions), str(info.max_tokens), info.weights_hash[:12])
        table.add_row(key.name, key.version, info.precision, info.source, info.licence, *numbers)
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
    return "\n".join(["usage: rolecall COMMAND [flags]", "", *lines, "", "`rolecall serve --help` lists all flags."])


def _explain(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return str(error)
    reasons = [f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']}" if e["loc"] else e["msg"] for e in error.errors()]
    return "; ".join(reasons)


def _fail(reason: str, status: int) -> int:
    print(f"rolecall: {reason}", file=sys.stderr)
    return status
