"""`rolecall-export t5`: a T5 of any kind into a model repository."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from rolecall_export.commands import common
from rolecall_export.errors import UsageError
from rolecall_export.progress import Reporter

_DEFAULT_PRESET = "cpu-int8"
_LONGEST = 8192
"""Tokens; beyond it one source's caches alone fill a machine."""


def add_parser(families: Any) -> None:
    """Declare the subcommand."""
    parser: argparse.ArgumentParser = families.add_parser(
        "t5",
        help="a T5 text generator",
        description=(
            "Convert a T5 (also v1.1, Flan-T5, mT5, UMT5, ByT5, mengzi-t5) to ONNX, compare what it writes with the "
            "float model, and publish it."
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("--source", help="hub id or local folder")
    common.add_arguments(parser, preset=_DEFAULT_PRESET, name="generator")
    parser.add_argument(
        "--max-source-tokens", type=int, default=512, help="of one source, the end included (default: %(default)s)"
    )
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of one text (default: %(default)s)")
    parser.add_argument(
        "--accept-drift",
        action="store_true",
        help="publish a model that writes other texts than its float model; the manifest says how far it is",
    )


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Do what the arguments say. ExportError or UsageError with one readable line when it can't be done."""
    from rolecall_export import t5_presets
    from rolecall_export.sources.resolve import resolve_t5
    from rolecall_export.t5_pipeline import FAMILY, Options, export_t5, published

    if arguments.list_presets:
        common.list_presets(console, t5_presets.PRESETS.values())
        return
    preset = common.chosen(t5_presets.PRESETS, arguments.preset)
    if arguments.source is None:
        raise UsageError("--source is missing: a hub id or a local folder")
    for name in ("max_source_tokens", "max_new_tokens"):
        if not 2 <= getattr(arguments, name) <= _LONGEST:
            raise UsageError(f"--{name.replace('_', '-')} is not a number from 2 to {_LONGEST}")
    source = resolve_t5(arguments.source, revision=arguments.revision)
    target = common.target(arguments, family=FAMILY)
    options = Options(
        max_source_tokens=arguments.max_source_tokens,
        max_new_tokens=arguments.max_new_tokens,
        languages=common.languages(arguments),
        accept_drift=arguments.accept_drift,
    )
    reporter = Reporter(console)
    path = target.folder.version(target.number)
    if arguments.if_missing:
        found = published(source, preset, target=target, options=options)
        if found is not None:
            reporter.line(f"{path} is up to date: {common.summary(found)}")
            return
    manifest = export_t5(source, preset, target=target, options=options, reporter=reporter)
    common.report(reporter, path, manifest)
