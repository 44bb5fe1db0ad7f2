"""Speed, drift and batch invariance of several presets of one model, measured side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from rolecall_export.presets import Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one preset costs and gives."""

    preset: str
    megabytes: float
    """Size of the serialized graph, 10^6 bytes."""
    speed: float
    """Texts a second at the batches given, as a multiple of the float graph's, medians of one interleaved run."""
    cosine_min: float
    cosine_mean: float
    """Cosine of each text's embedding to the float graph's."""
    alone_vs_batched: float
    """Largest absolute difference of a coordinate between a text alone and the same text in its padded batch."""


def compare(
    model: onnx.ModelProto,
    presets: Sequence[Preset],
    *,
    token_ids: Mapping[str, Sequence[Sequence[int]]],
    pad_token_id: int,
    threads: int = 1,
    rounds: int = 5,
    batch_size: int = 8,
) -> list[Comparison]:
    """Rows of the comparison, in the order of `presets`; `token_ids` are texts by language, tokenized with special tokens."""
    raise NotImplementedError
