"""A T5's three graphs, straight from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from rolecall_export.families.t5.encoder import build_encoder
from rolecall_export.families.t5.prefill import build_prefill
from rolecall_export.families.t5.products import FloatProducts, Products
from rolecall_export.families.t5.rows import build_rows
from rolecall_export.families.t5.step import build_step
from rolecall_export.t5_weights import T5Weights

OPSET = 24
"""The first with TensorScatter."""


@dataclass(frozen=True, slots=True)
class T5Graphs:
    """encoder: token ids to hidden states. prefill: hidden states to cross-attention caches. step: one decoder step.
    rows: moves rows of the caches on a device, None where the caches lie in the host's memory."""

    encoder: onnx.ModelProto
    prefill: onnx.ModelProto
    step: onnx.ModelProto
    rows: onnx.ModelProto | None = None

    def files(self) -> dict[str, onnx.ModelProto]:
        """The graphs under the names of their files."""
        files = {"encoder.onnx": self.encoder, "prefill.onnx": self.prefill, "step.onnx": self.step}
        return files if self.rows is None else files | {"rows.onnx": self.rows}


def build(
    weights: T5Weights, *, products: Callable[[T5Weights], Products] = FloatProducts, padded: bool = False
) -> T5Graphs:
    """The graphs with products of this kind, made anew for each graph.

    padded: for GPUs, whose kernels want texts of one length and a step without branches.
    """
    kinds = [products(weights) for _ in range(3)]
    rows = build_rows(weights.config, cache=kinds[2].cache, opset=OPSET) if padded else None
    return T5Graphs(
        encoder=build_encoder(weights, kinds[0], padded=padded, opset=OPSET),
        prefill=build_prefill(weights, kinds[1], opset=OPSET),
        step=build_step(weights, kinds[2], opset=OPSET, padded=padded),
        rows=rows,
    )
