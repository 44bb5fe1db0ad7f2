"""Verification of an exported T5: which inputs, which reference, and what follows from the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rolecall_export import manifest as manifests
from rolecall_export import t5_inputs, t5_reference
from rolecall_export.errors import VerificationError
from rolecall_export.manifest import Manifest
from rolecall_export.progress import Reporter
from rolecall_export.sources.base import T5Checkpoint
from rolecall_export.t5_artifact import write_manifest, write_version
from rolecall_export.t5_presets import PRESETS, REFERENCE, T5Preset
from rolecall_export.t5_reference import Written
from rolecall_export.verify_t5 import FEW_DISTINCT, MAX_NEW_TOKENS, Checked, Sources, check


def verified(
    checkpoint: T5Checkpoint,
    manifest: Manifest,
    *,
    staged: Path,
    preset: T5Preset,
    accept_drift: bool,
    reporter: Reporter,
) -> Manifest:
    """The manifest with what was measured, written into `staged`, which holds everything else."""
    chosen = t5_inputs.texts(checkpoint.languages)
    sources = t5_inputs.tokenize(checkpoint.tokenizer, [text for _, text in chosen], max_tokens=manifest.max_tokens)
    length = MAX_NEW_TOKENS if manifest.generator is None else min(manifest.generator.max_new_tokens, MAX_NEW_TOKENS)
    reference = _reference(checkpoint, manifest, sources=sources, length=length, preset=preset, reporter=reporter)
    write_manifest(manifest, staged)
    from rolecall_export.t5_engine import available, served

    here = preset.provider if available(preset.provider) else "cpu"
    try:
        with (
            reporter.step("verify", 3 * len(sources)) as advance,
            served(staged, name=manifest.name, version=manifest.version, provider=here) as candidate,
        ):
            checked = check(
                candidate,
                reference,
                sources,
                languages=[language for language, _ in chosen],
                max_new_tokens=length,
                tolerance=preset.tolerance,
                advance=advance,
            )
    except VerificationError as error:
        if preset.provider == here:
            raise
        raise VerificationError(f"{preset.name} is made for {preset.provider}, which is not here: {error}") from error
    _judge(checked, preset, reference=reference, accept_drift=accept_drift, reporter=reporter)
    if preset.provider != here:
        reporter.line(
            f"warning: {preset.name} is made for {preset.provider}, but was verified on {candidate.provider}; "
            "export it where its own provider is to measure that"
        )
    manifest = replace(manifest, measured=checked.measured, measured_on=candidate.provider)
    write_manifest(manifest, staged)
    return manifest


def _reference(
    checkpoint: T5Checkpoint,
    manifest: Manifest,
    *,
    sources: Sources,
    length: int,
    preset: T5Preset,
    reporter: Reporter,
) -> Sequence[Written] | None:
    """What the float model writes: by transformers, or else by our own float graphs; None where these are judged."""
    if t5_reference.available():
        with reporter.step("reference by transformers", len(sources)) as advance:
            return t5_reference.transformers_greedy(
                checkpoint.folder, checkpoint.weights.config, sources, max_new_tokens=length, advance=advance
            )
    if preset.name == REFERENCE:
        reporter.line(
            "warning: torch and transformers are not installed, so there is nothing to compare the float graphs with; "
            "pip install 'rolecall[hub]'"
        )
        return None
    from rolecall_export.t5_engine import served

    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        write_version(checkpoint, PRESETS[REFERENCE], Path(folder))
        write_manifest(replace(manifest, files=manifests.describe(Path(folder)), provider="cpu"), Path(folder))
        with (
            reporter.step("reference by the float graphs", len(sources)) as advance,
            served(Path(folder), name=manifest.name, version=manifest.version, provider="cpu") as generator,
        ):
            texts = generator.together(sources, max_new_tokens=length, advance=advance)
    return [Written(tokens) for tokens in texts]


def _judge(
    checked: Checked,
    preset: T5Preset,
    *,
    reference: Sequence[Written] | None,
    accept_drift: bool,
    reporter: Reporter,
) -> None:
    if not accept_drift:
        checked.require()
    elif checked.failures:
        reporter.line(
            f"WARNING: published with --accept-drift although it is beyond the limits of {preset.name}: "
            f"{', '.join(checked.failures)}"
        )
    if reference is not None and checked.measured["distinct_texts"] < FEW_DISTINCT:
        reporter.line(
            f"warning: the float model itself writes only {checked.measured['distinct_texts']:.0%} different texts; "
            "that the conversion writes the same says little"
        )
