"""The files of a T5's version folder."""

from __future__ import annotations

from pathlib import Path

from rolecall_export import manifest as manifests
from rolecall_export.errors import ExportError
from rolecall_export.external_data import save_shared
from rolecall_export.families.t5 import T5Graphs
from rolecall_export.manifest import Manifest
from rolecall_export.sources.base import T5Checkpoint
from rolecall_export.t5_presets import T5Preset

WEIGHTS = "weights.bin"


def write_version(checkpoint: T5Checkpoint, preset: T5Preset, folder: Path) -> int:
    """Write tokenizer, graphs and weights of the preset; the opset of the graphs."""
    (folder / "tokenizer.json").write_text(checkpoint.tokenizer, encoding="utf8")
    try:
        graphs: T5Graphs = preset.convert(checkpoint.weights)
    except ValueError as error:
        raise ExportError(f"preset {preset.name} can't convert this model: {error}") from error
    opset = next(each.version for each in graphs.step.opset_import if each.domain in ("", "ai.onnx"))
    save_shared(graphs.files(), folder, weights=WEIGHTS)
    return int(opset)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Beside what it describes."""
    (folder / manifests.NAME).write_text(manifest.to_json(), encoding="utf8")
