"""The named ways to convert a float encoder, each with the reason to choose it and the error it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx


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
