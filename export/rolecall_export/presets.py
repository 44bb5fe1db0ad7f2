"""The named ways to convert a float encoder, each with the reason to choose it and the error it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx

from rolecall_export.quantization import convert


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


_EXACT = Tolerance(cosine_min=0.9999, alone_vs_batched=0.0, rank_agreement=1.0)
_INT8 = Tolerance(cosine_min=0.99, alone_vs_batched=0.0, rank_agreement=0.98)
_INT4 = Tolerance(cosine_min=0.95, alone_vs_batched=1e-6, rank_agreement=0.95)  # a lone row has a kernel of its own
_FP16 = Tolerance(cosine_min=0.999, alone_vs_batched=2e-3, rank_agreement=0.99)

_ALL = (
    Preset(
        name="cpu-fp32",
        provider="cpu",
        reason="The reference: what every other preset is compared with; also for CPUs without 8-bit instructions.",
        convert=convert.cpu_fp32,
        tolerance=_EXACT,
    ),
    Preset(
        name="cpu-int8",
        provider="cpu",
        reason=(
            "The default: 8-bit products with a scale for each token, twice as fast as float with AVX-512 VNNI, and "
            "bit-identical in every batch. Needs VNNI (or AMX): older CPUs saturate in these products."
        ),
        convert=convert.cpu_int8,
        tolerance=_INT8,
    ),
    Preset(
        name="cpu-int4",
        provider="cpu",
        reason=(
            "The smallest file, with float arithmetic on 4-bit weights: exact where the checkpoint was in 4 bits "
            "before, an approximation to measure anywhere else. As fast as float."
        ),
        convert=convert.cpu_int4,
        tolerance=_INT4,
    ),
    Preset(
        name="gpu-fp16",
        provider="cuda",
        reason="The default on a GPU: half precision on tensor cores, with norms, softmax and pooling in float32.",
        convert=convert.gpu_fp16,
        tolerance=_FP16,
    ),
    Preset(
        name="gpu-int8",
        provider="cuda",
        reason=(
            "8-bit weights, half-precision arithmetic: half the memory of the layers. 8-bit activations would fall "
            "back to the CPU under the CUDA provider."
        ),
        convert=convert.gpu_int8,
        tolerance=replace(_FP16, cosine_min=0.995),
    ),
)

DEFAULT = "cpu-int8"
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by name."""
