"""What the subcommands have in common: arguments, where to publish, what to say at the end."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console
from rich.table import Table

from rolecall_export.errors import UsageError
from rolecall_export.progress import Reporter

if TYPE_CHECKING:
    from rolecall_export.manifest import Manifest
    from rolecall_export.repository import Target

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Described(Protocol):
    """What a preset of any family says of itself."""

    @property
    def name(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def reason(self) -> str: ...


AnyPreset = TypeVar("AnyPreset", bound=Described)


def add_arguments(parser: argparse.ArgumentParser, *, preset: str, name: str) -> None:
    """Arguments of every family; `preset` and `name` are the defaults."""
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--preset", default=preset, help="how to convert it (default: %(default)s)")
    parser.add_argument("--list-presets", action="store_true", help="print the presets with their reasons and stop")
    parser.add_argument(
        "--repository",
        "--output",
        type=Path,
        default=Path("model_repository"),
        help="model repository (default: %(default)s)",
    )
    parser.add_argument("--name", default=name, help="the model's folder in it (default: %(default)s)")
    parser.add_argument(
        "--version", type=int, help="version to publish (default: the latest there, which is replaced, or 1)"
    )
    parser.add_argument(
        "--if-missing", action="store_true", help="do nothing when this very export is published already"
    )
    parser.add_argument("--languages", help="comma-separated codes, instead of what the model declares")


def chosen(presets: Mapping[str, AnyPreset], name: str) -> AnyPreset:
    """The preset of that name; UsageError where there is none."""
    preset = presets.get(name)
    if preset is None:
        raise UsageError(f"no preset {name!r} (known: {', '.join(presets)})")
    return preset


def target(arguments: argparse.Namespace, *, family: str) -> Target:
    """Where to publish; UsageError for a name or version that no model of the family can have."""
    from rolecall_export import manifest as manifests
    from rolecall_export.repository import Target

    if not _NAME.fullmatch(arguments.name):
        raise UsageError(f"model name {arguments.name!r} is not made of letters, digits, '_', '-' and '.'")
    if arguments.version is not None and arguments.version < 1:
        raise UsageError(f"version {arguments.version} is not a number from 1 up")
    target = Target(repository=arguments.repository, name=arguments.name, version=arguments.version)
    for number in target.folder.versions():
        found = manifests.read(target.folder.version(number))
        if found is not None and found.family != family:
            raise UsageError(f"{target.folder.path} holds a model of the family {found.family}; take another --name")
    return target


def languages(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """The codes that the user gave; None where they gave none."""
    return None if arguments.languages is None else tuple(arguments.languages.replace(",", " ").split())


def report(reporter: Reporter, path: Path, manifest: Manifest) -> None:
    """Say what was measured and published."""
    measured = ", ".join(f"{name} {value:.6g}" for name, value in manifest.measured.items())
    reporter.line(f"verified on {manifest.measured_on}: {measured}")
    reporter.line(f"published {path}: {summary(manifest)}")


def summary(manifest: Manifest) -> str:
    megabytes = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    return f"{manifest.source}, {manifest.preset}, {megabytes:.0f} MB, weights {manifest.weights_hash[:12]}"


def list_presets(console: Console, known: Iterable[Described]) -> None:
    table = Table("preset", "provider", "reason", box=None, padding=(0, 2, 1, 0), header_style="bold")
    for preset in known:
        table.add_row(preset.name, preset.provider, preset.reason)
    console.print(table)
