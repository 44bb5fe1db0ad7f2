"""The export of a T5: load, convert, verify, publish. Nothing in the repository changes before the last step."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rolecall_export import manifest as manifests
from rolecall_export import t5_inputs, t5_reference, tools
from rolecall_export.errors import ExportError, VerificationError
from rolecall_export.external_data import save_shared
from rolecall_export.families.t5 import T5Graphs
from rolecall_export.manifest import GeneratorFacts, Manifest
from rolecall_export.progress import Reporter
from rolecall_export.repository import Target
from rolecall_export.sources.base import T5Checkpoint, T5Source
from rolecall_export.t5_presets import PRESETS, REFERENCE, T5Preset
from rolecall_export.t5_reference import Written
from rolecall_export.verify_t5 import FEW_DISTINCT, MAX_NEW_TOKENS, Checked, Sources, check, failures

FAMILY = "t5"
WEIGHTS = "weights.bin"
PROMPT_STYLE = "plain"
"""A checkpoint of anybody's knows none of the server's tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user decides. languages: None for what the checkpoint declares."""

    max_source_tokens: int = 512
    max_new_tokens: int = 256
    languages: tuple[str, ...] | None = None
    accept_drift: bool = False
    """Publish beyond the tolerance as well."""


def published(source: T5Source, preset: T5Preset, *, target: Target, options: Options) -> Manifest | None:
    """The manifest of the target version if this very export has made it and its files are whole, else None."""
    folder = target.folder.version(target.number)
    found = manifests.read(folder)
    if found is None or found.preset != preset.name or found.tools != tools.versions(source.packages):
        return None
    facts = found.generator
    wanted = (options.max_source_tokens, options.max_new_tokens)
    if facts is None or (facts.max_source_tokens, facts.max_new_tokens) != wanted:
        return None
    if options.languages not in (None, found.languages):
        return None
    if failures(found.measured, preset.tolerance) and not options.accept_drift:
        return None
    identity = source.identify()
    same = (found.source, found.revision) == (identity.source, identity.revision)
    return found if same and manifests.describe(folder) == found.files else None


def export_t5(source: T5Source, preset: T5Preset, *, target: Target, options: Options, reporter: Reporter) -> Manifest:
    """Publish `source` converted by `preset`; the manifest of the new version.

    ExportError when a step fails, VerificationError when the result writes other texts than the float model; the
    repository is then as it was.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ExportError("verification runs the graphs and needs onnxruntime: pip install 'rolecall[server]'")
    checkpoint = source.load(reporter)
    if options.languages is not None:
        checkpoint = replace(checkpoint, languages=options.languages)
    number = target.number
    with target.folder.staging() as staged:
        with reporter.step(f"convert to {preset.name}"):
            opset = _write(checkpoint, preset, staged)
        manifest = Manifest(
            name=target.name,
            family=FAMILY,
            version=str(number),
            preset=preset.name,
            provider=preset.provider,
            source=checkpoint.identity.source,
            revision=checkpoint.identity.revision,
            licence=checkpoint.licence,
            opset=opset,
            dimensions=checkpoint.weights.config.hidden_size,
            max_tokens=options.max_source_tokens,
            vocabulary_size=checkpoint.weights.config.vocabulary_size,
            pad_token_id=checkpoint.weights.config.pad_token_id,
            pooling="",
            prefixes={},
            languages=checkpoint.languages,
            files=manifests.describe(staged),
            measured={},
            measured_on="",
            tools=tools.versions(source.packages),
            generator=_facts(checkpoint, options),
        )
        manifest = _verified(checkpoint, manifest, staged=staged, preset=preset, options=options, reporter=reporter)
        target.folder.publish(staged, number)
    return manifest


def _facts(checkpoint: T5Checkpoint, options: Options) -> GeneratorFacts:
    config = checkpoint.weights.config
    return GeneratorFacts(
        max_source_tokens=options.max_source_tokens,
        max_new_tokens=options.max_new_tokens,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        layers=config.decoder_layers,
        heads=config.heads,
        head_size=config.head_size,
        vocabulary_size=config.vocabulary_size,
        prompt_style=PROMPT_STYLE,
    )


def _write(checkpoint: T5Checkpoint, preset: T5Preset, folder: Path) -> int:
    """Write tokenizer, graphs and weights of the preset; the opset of the graphs."""
    (folder / "tokenizer.json").write_text(checkpoint.tokenizer, encoding="utf8")
    try:
        graphs: T5Graphs = preset.convert(checkpoint.weights)
    except ValueError as error:
        raise ExportError(f"preset {preset.name} can't convert this model: {error}") from error
    models = {"encoder.onnx": graphs.encoder, "prefill.onnx": graphs.prefill, "step.onnx": graphs.step}
    opset = next(each.version for each in graphs.step.opset_import if each.domain in ("", "ai.onnx"))
    save_shared(models, folder, weights=WEIGHTS)
    return int(opset)


def _verified(
    checkpoint: T5Checkpoint,
    manifest: Manifest,
    *,
    staged: Path,
    preset: T5Preset,
    options: Options,
    reporter: Reporter,
) -> Manifest:
    """The manifest with what was measured, written into `staged`."""
    chosen = t5_inputs.texts(checkpoint.languages)
    sources = t5_inputs.tokenize(
        checkpoint.tokenizer, [text for _, text in chosen], max_tokens=options.max_source_tokens
    )
    length = min(options.max_new_tokens, MAX_NEW_TOKENS)
    reference = _reference(checkpoint, manifest, sources=sources, length=length, preset=preset, reporter=reporter)
    _write_manifest(manifest, staged)
    from rolecall_export.t5_engine import available, served

    provider = preset.provider if available(preset.provider) else "cpu"
    try:
        with (
            reporter.step("verify", 3 * len(sources)) as advance,
            served(staged, name=manifest.name, version=manifest.version, provider=provider) as candidate,
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
        if preset.provider == provider:
            raise
        raise VerificationError(
            f"{preset.name} is made for {preset.provider}, which is not here, and {error}"
        ) from error
    _judge(checked, preset, reference=reference, options=options, reporter=reporter)
    if preset.provider != provider:
        reporter.line(
            f"warning: {preset.name} is made for {preset.provider}, but was verified on {candidate.provider}; "
            "export it where its own provider is to measure that"
        )
    manifest = replace(manifest, measured=checked.measured, measured_on=candidate.provider)
    _write_manifest(manifest, staged)
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
        _write(checkpoint, PRESETS[REFERENCE], Path(folder))
        _write_manifest(replace(manifest, files=manifests.describe(Path(folder)), provider="cpu"), Path(folder))
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
    options: Options,
    reporter: Reporter,
) -> None:
    if not options.accept_drift:
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


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    (folder / manifests.NAME).write_text(manifest.to_json(), encoding="utf8")
