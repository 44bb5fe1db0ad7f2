"""The named ways to convert a float encoder, each with the reason to choose it and the error it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from rolecall_export.families import encoder
from rolecall_export.quantization.per_token import PerTokenInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """The limits of verification against the float model; beyond one of them the export fails."""

    cosine_min: float
    """Least cosine between the embeddings of one text by the preset and by the float model."""
    alone_vs_batched: float
    """Largest absolute difference of any coordinate between a text alone and the same text in a padded batch."""
    rank_agreement: float
    """Least share of pairs of documents, far enough apart for the float model, that keep their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One way to convert a float encoder graph."""

    name: str
    provider: str
    """What the artifact is made for: "cpu" or "cuda"."""
    reason: str
    convert: Callable[[onnx.ModelProto], onnx.ModelProto]
    """Takes the float graph, which may be changed in place, and gives the converted one."""
    tolerance: Tolerance


def _same(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def _per_token(model: onnx.ModelProto) -> onnx.ModelProto:
    return encoder.rebuild(model, PerTokenInt8)


_ALL = (
    Preset(
        name="cpu-fp32",
        provider="cpu",
        reason="The reference: what every other preset is compared with, and the choice where memory and time abound.",
        convert=_same,
        tolerance=Tolerance(cosine_min=0.99999, alone_vs_batched=1e-6, rank_agreement=1.0),
    ),
    Preset(
        name="cpu-int8",
        provider="cpu",
        reason="Int8 products with a scale per token: fast with AVX-512 VNNI and bit-identical in every batch.",
        convert=_per_token,
        tolerance=Tolerance(cosine_min=0.99, alone_vs_batched=0.0, rank_agreement=0.98),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by name."""
