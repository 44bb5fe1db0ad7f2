"""The named ways to convert a T5, each with the reason to choose it and the error it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rolecall_export.families.t5 import T5Graphs, build
from rolecall_export.quantization.t5 import FourBits, PerTokenInt8
from rolecall_export.quantization.t5_half import BFloat16, EightBitWeights, Float16, FourBitWeights
from rolecall_export.t5_weights import T5Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Tolerance:
    """The limits of verification against the float model, greedy; see verify_t5.check for the figures."""

    next_tokens: float
    """Least share; the figure that says most of the conversion and least of the inputs."""
    equal_tokens: float
    """Least share."""
    equal_texts: float
    """Least share."""
    edit_distance: float
    """Greatest mean, in parts of a text."""
    batch_changes: float = 0.0
    """Greatest share of texts that come out otherwise in a batch than alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Preset:
    """One way to make a T5's graphs."""

    name: str
    provider: str
    """What the artifact is made for: "cpu" or "cuda"."""
    reason: str
    convert: Callable[[T5Weights], T5Graphs]
    tolerance: T5Tolerance
    only_there: bool = False
    """Whether its graphs have no kernels on a CPU, so that they can't be verified but where they are to run."""


_INT8_HEADS = 8
_EXACT = T5Tolerance(next_tokens=1.0, equal_tokens=1.0, equal_texts=1.0, edit_distance=0.0)
_INT8 = T5Tolerance(next_tokens=0.97, equal_tokens=0.8, equal_texts=0.6, edit_distance=0.1)


_FP16 = T5Tolerance(next_tokens=0.995, equal_tokens=0.9, equal_texts=0.85, edit_distance=0.05, batch_changes=0.05)
_BF16 = replace(_FP16, next_tokens=0.98, equal_tokens=0.8, equal_texts=0.7, edit_distance=0.1, batch_changes=0.15)
"""Kernels on a GPU add up in another order in another batch; with few bits that shows in some texts."""
_INT4 = T5Tolerance(next_tokens=0.88, equal_tokens=0.5, equal_texts=0.2, edit_distance=0.4)


def _cpu_int8(weights: T5Weights) -> T5Graphs:
    """ValueError for heads that the runtime's attention on 8-bit keys and values does not take."""
    if weights.config.head_size % _INT8_HEADS:
        raise ValueError(f"heads of {weights.config.head_size} features do not divide into groups of {_INT8_HEADS}")
    return build(weights, products=PerTokenInt8)


def _cpu_int4(weights: T5Weights) -> T5Graphs:
    return build(weights, products=FourBits)


def _gpu_fp16(weights: T5Weights) -> T5Graphs:
    return build(weights, products=Float16, padded=True)


def _gpu_bf16(weights: T5Weights) -> T5Graphs:
    return build(weights, products=BFloat16, padded=True)


def _gpu_int8(weights: T5Weights) -> T5Graphs:
    return build(weights, products=EightBitWeights, padded=True)


def _gpu_int4(weights: T5Weights) -> T5Graphs:
    return build(weights, products=FourBitWeights, padded=True)


_ALL = (
    T5Preset(
        name="cpu-fp32",
        provider="cpu",
        reason="The reference: token for token what transformers writes; also for CPUs without 8-bit instructions.",
        convert=build,
        tolerance=_EXACT,
    ),
    T5Preset(
        name="cpu-int8",
        provider="cpu",
        reason=(
            "The default: 8-bit products with a scale for each token, the same text alone and in every batch. Needs "
            "AVX-512 VNNI or AMX: older CPUs saturate in these products."
        ),
        convert=_cpu_int8,
        tolerance=_INT8,
    ),
    T5Preset(
        name="cpu-int4",
        provider="cpu",
        reason=(
            "The smallest file and the quickest single text: 4-bit weights, read once for each step. Small models "
            "write visibly other texts; slower than cpu-int8 from a few texts at a time on."
        ),
        convert=_cpu_int4,
        tolerance=_INT4,
    ),
    T5Preset(
        name="gpu-fp16",
        provider="cuda",
        reason=(
            "The default on a GPU: half precision on tensor cores; norms, sums and the products that end feed-forward "
            "blocks in float32, since a T5's numbers there pass the largest float16."
        ),
        convert=_gpu_fp16,
        tolerance=_FP16,
    ),
    T5Preset(
        name="gpu-bf16",
        provider="cuda",
        reason=(
            "For checkpoints that overflow even so: bfloat16 has float32's range and fewer digits. Needs an Ampere "
            "GPU or newer."
        ),
        convert=_gpu_bf16,
        tolerance=_BF16,
        only_there=True,
    ),
    T5Preset(
        name="gpu-int8",
        provider="cuda",
        reason="8-bit weights, half-precision arithmetic: half the memory of the layers and half as much to read.",
        convert=_gpu_int8,
        tolerance=replace(_INT8, batch_changes=0.05),
    ),
    T5Preset(
        name="gpu-int4",
        provider="cuda",
        reason="4-bit weights, half-precision arithmetic: for large models on small GPUs, at the price of other texts.",
        convert=_gpu_int4,
        tolerance=replace(_INT4, batch_changes=0.1),
    ),
)

DEFAULT = "cpu-int8"
REFERENCE = "cpu-fp32"
"""Stands for the float model where transformers is not installed."""
PRESETS: dict[str, T5Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by name."""
