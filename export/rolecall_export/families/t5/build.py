"""A T5's three graphs, straight from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from rolecall_export.families.t5.encoder import build_encoder
from rolecall_export.families.t5.prefill import build_prefill
from rolecall_export.families.t5.products import FloatProducts, Products
from rolecall_export.families.t5.step import build_step
from rolecall_export.t5_weights import T5Weights

OPSET = 24
"""The first with TensorScatter."""


@dataclass(frozen=True, slots=True)
class T5Graphs:
    """encoder: token ids to hidden states. prefill: hidden states to cross-attention caches. step: one decoder step."""

    encoder: onnx.ModelProto
    prefill: onnx.ModelProto
    step: onnx.ModelProto


def build(
    weights: T5Weights, *, products: Callable[[T5Weights], Products] = FloatProducts, padded: bool = False
) -> T5Graphs:
    """The graphs with products of this kind, made anew for each graph. padded: for GPUs, whose kernels want texts of one length."""
    return T5Graphs(
        encoder=build_encoder(weights, products(weights), padded=padded, opset=OPSET),
        prefill=build_prefill(weights, products(weights), opset=OPSET),
        step=build_step(weights, products(weights), opset=OPSET),
    )
