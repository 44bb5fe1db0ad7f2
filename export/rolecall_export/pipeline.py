"""The export of an encoder: load, convert, verify, publish. Nothing in the repository changes before the last step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from rolecall_export import manifest as manifests
from rolecall_export import tools, verification_set, verify
from rolecall_export.errors import ExportError
from rolecall_export.manifest import Manifest
from rolecall_export.presets import Preset
from rolecall_export.progress import Reporter
from rolecall_export.repository import Target
from rolecall_export.sources.base import Checkpoint, Source
from rolecall_export.triton_config import encoder_config

FAMILY = "encoder"
_PROTOBUF_LIMIT = 2**31 - 2**24
"""Bytes of weights above which a graph no longer fits one protobuf message (2 GiB, with room for the rest)."""
_POOR_TOP_1 = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the user knows better than the checkpoint says; None leaves it as it is."""

    query_prefix: str | None = None
    document_prefix: str | None = None
    languages: tuple[str, ...] | None = None

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with these facts in place of its own."""
        return replace(
            checkpoint,
            prefixes=self._prefixes(checkpoint.prefixes),
            languages=checkpoint.languages if self.languages is None else self.languages,
        )

    def agree(self, manifest: Manifest) -> bool:
        """Whether a published version already has them."""
        return self._prefixes(manifest.prefixes) == manifest.prefixes and self.languages in (None, manifest.languages)

    def _prefixes(self, own: Mapping[str, str]) -> dict[str, str]:
        given = {"query": self.query_prefix, "document": self.document_prefix}
        return {**own, **{kind: prefix for kind, prefix in given.items() if prefix is not None}}


def published(source: Source, preset: Preset, *, target: Target, overrides: Overrides) -> Manifest | None:
    """The manifest of the target version if this very export has made it and its files are whole, else None."""
    folder = target.folder.version(target.number)
    found = manifests.read(folder)
    if found is None or found.preset != preset.name or found.tools != tools.versions(source.packages):
        return None
    identity = source.identify()
    whole = (target.folder.path / "config.pbtxt").is_file() and manifests.describe(folder) == found.files
    same = (found.source, found.revision) == (identity.source, identity.revision) and overrides.agree(found)
    return found if same and whole else None


def export_encoder(
    source: Source, preset: Preset, *, target: Target, overrides: Overrides, reporter: Reporter
) -> Manifest:
    """Publish `source` converted by `preset`; the manifest of the new version.

    ExportError when a step fails, VerificationError when the result is too far from the float model; the repository
    is then as it was.
    """
    checkpoint = overrides.apply(source.load(reporter))
    number = target.number
    with target.folder.staging() as staged:
        graph = _build(checkpoint, preset, staged=staged, reporter=reporter)
        manifest = Manifest(
            name=target.name,
            family=FAMILY,
            version=str(number),
            preset=preset.name,
            provider=preset.provider,
            source=checkpoint.identity.source,
            revision=checkpoint.identity.revision,
            licence=checkpoint.licence,
            opset=graph.opset,
            dimensions=checkpoint.dimensions,
            max_tokens=checkpoint.max_tokens,
            vocabulary_size=checkpoint.vocabulary_size,
            pad_token_id=checkpoint.pad_token_id,
            pooling=checkpoint.pooling,
            prefixes=checkpoint.prefixes,
            languages=checkpoint.languages,
            files=manifests.describe(staged),
            measured=graph.measured,
            measured_on=graph.measured_on,
            tools=tools.versions(source.packages),
        )
        (staged / manifests.NAME).write_text(manifest.to_json(), encoding="utf8")
        # The configuration first: a Triton that polls must not load a new version without its queue limits.
        with target.folder.replaced_text("config.pbtxt", config(manifest)):
            target.folder.publish(staged, number)
    return manifest


def config(manifest: Manifest) -> str:
    """The config.pbtxt that belongs to a manifest."""
    return encoder_config(
        name=manifest.name,
        provider=manifest.provider,
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """Facts about a graph that was converted and verified; see Manifest."""

    opset: int
    measured: dict[str, float]
    measured_on: str


def _build(checkpoint: Checkpoint, preset: Preset, *, staged: Path, reporter: Reporter) -> _Built:
    """Write the converted graph and its tokenizer into `staged` and verify them."""
    (staged / "tokenizer.json").write_text(checkpoint.tokenizer, encoding="utf8")
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        reference = Path(folder) / "float.onnx"
        with reporter.step(f"convert to {preset.name}"):
            save(checkpoint.model, reference)
            converted = _convert(checkpoint.model, preset)
            save(converted, staged / "model.onnx")
        measured, provider = _verify(checkpoint, preset, graphs=(reference, staged / "model.onnx"), reporter=reporter)
    opset = next(each.version for each in converted.opset_import if each.domain in ("", "ai.onnx"))
    return _Built(opset=opset, measured=measured, measured_on=provider)


def _convert(model: onnx.ModelProto, preset: Preset) -> onnx.ModelProto:
    try:
        return preset.convert(model)
    except ValueError as error:
        raise ExportError(f"preset {preset.name} can't convert this model: {error}") from error


def _verify(
    checkpoint: Checkpoint, preset: Preset, *, graphs: tuple[Path, Path], reporter: Reporter
) -> tuple[dict[str, float], str]:
    """What was measured, and on which provider."""
    checks = verification_set.load().judged(checkpoint.languages)
    token_ids = verify.tokenize(
        checks, checkpoint.tokenizer, prefixes=checkpoint.prefixes, max_tokens=checkpoint.max_tokens
    )
    with reporter.step("verify", 3 * len(token_ids)) as advance:
        reference, candidate = (
            verify.Encoder(graph, pad_token_id=checkpoint.pad_token_id, provider=provider)
            for graph, provider in zip(graphs, ("cpu", preset.provider), strict=True)
        )
        measured = verify.measure(reference, candidate, checks, token_ids=token_ids, advance=advance)
    verify.require_within(measured, preset.tolerance)
    if measured["top_1_float"] < _POOR_TOP_1:
        reporter.line(
            f"warning: the float model itself puts the expected document first in only {measured['top_1_float']:.0%} "
            "of the cases; check its pooling, prefixes and languages"
        )
    if preset.provider not in candidate.provider.lower():
        reporter.line(
            f"warning: {preset.name} is made for {preset.provider}, but was verified on {candidate.provider}; "
            "export it where its own provider is to measure that"
        )
    return measured, candidate.provider


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the graph as one file, or with its weights in a second one, `<path>.data`, where they exceed 2 GiB.

    Leaves the graph as it was.
    """
    if _weight_bytes(model.graph) < _PROTOBUF_LIMIT:
        onnx.save_model(model, path)
    else:
        onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
        onnx.load_external_data_for_model(model, str(path.parent))  # saving has taken them out


def _weight_bytes(graph: onnx.GraphProto) -> int:
    """Of the graph and of the bodies of its loops and branches."""
    size = sum(len(tensor.raw_data) for tensor in graph.initializer)
    bodies = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    return size + sum(_weight_bytes(body) for body in bodies)
