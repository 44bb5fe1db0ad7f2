"""The named ways to convert a T5, each with the reason to choose it and the error it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rolecall_export.families.t5 import T5Graphs, build
from rolecall_export.quantization.t5 import FourBits, PerTokenInt8
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


_EXACT = T5Tolerance(next_tokens=1.0, equal_tokens=1.0, equal_texts=1.0, edit_distance=0.0)
_INT8 = T5Tolerance(next_tokens=0.97, equal_tokens=0.8, equal_texts=0.6, edit_distance=0.1)


_INT4 = T5Tolerance(next_tokens=0.88, equal_tokens=0.5, equal_texts=0.2, edit_distance=0.4)


def _cpu_int8(weights: T5Weights) -> T5Graphs:
    return build(weights, products=PerTokenInt8)


def _cpu_int4(weights: T5Weights) -> T5Graphs:
    return build(weights, products=FourBits)


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
)

DEFAULT = "cpu-int8"
REFERENCE = "cpu-fp32"
"""Stands for the float model where transformers is not installed."""
PRESETS: dict[str, T5Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by name."""
