"""The export of a T5: load, convert, verify, publish. Nothing in the repository changes before the last step."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

from rolecall_export import manifest as manifests
from rolecall_export import tools
from rolecall_export.errors import ExportError
from rolecall_export.manifest import GeneratorFacts, Manifest
from rolecall_export.progress import Reporter
from rolecall_export.repository import Target
from rolecall_export.sources.base import T5Checkpoint, T5Source
from rolecall_export.t5_artifact import write_version
from rolecall_export.t5_presets import PRESETS, T5Preset
from rolecall_export.t5_verification import verified
from rolecall_export.verify_t5 import failures

FAMILY = "t5"
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
    _require_provider(preset)
    checkpoint = source.load(reporter)
    if options.languages is not None:
        checkpoint = replace(checkpoint, languages=options.languages)
    number = target.number
    with target.folder.staging() as staged:
        with reporter.step(f"convert to {preset.name}"):
            opset = write_version(checkpoint, preset, staged)
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
        manifest = verified(
            checkpoint,
            manifest,
            staged=staged,
            preset=preset,
            accept_drift=options.accept_drift,
            reporter=reporter,
        )
        target.folder.publish(staged, number)
    return manifest


def _require_provider(preset: T5Preset) -> None:
    """ExportError, before anything is fetched, where the preset's graphs can't be run at all."""
    if not preset.only_there:
        return
    from rolecall_export.t5_engine import available

    if not available(preset.provider):
        others = ", ".join(each.name for each in PRESETS.values() if each.provider != "cpu" and not each.only_there)
        raise ExportError(
            f"{preset.name} can be verified only where {preset.provider} is, for its arithmetic has no kernels on a "
            f"CPU: export it on a machine with a GPU and rolecall[gpu], or take one of {others}"
        )


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
