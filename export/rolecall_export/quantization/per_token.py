"""Int8 products with one activation scale per token: fast on AVX-512 VNNI, and independent of the batch."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.weights import Array, EncoderWeights

_MIDDLE = 128
"""Zero point of the unsigned activations; signed ones fall to a kernel ten times as slow."""
_LEAST_SCALE = 1e-10
"""Keeps an all-zero row from dividing by zero."""


class PerTokenInt8:
    """Symmetric int8 weights with a scale per output, uint8 activations with a scale per token."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        return graph.op("Gather", graph.constant("word", self._weights.dense("word")), token_ids, name="words")

    def prepare(self, graph: GraphBuilder, x: str, site: str) -> str:
        largest = graph.op("ReduceMax", x, graph.integers(-1), keepdims=0)
        least = graph.op("Neg", graph.op("ReduceMin", x, graph.integers(-1), keepdims=0))
        peak = graph.op("Max", largest, least, graph.number(_LEAST_SCALE))
        scale = graph.op("Mul", peak, graph.number(1 / 127), name=f"{site}.scale")  # [1, tokens]
        flat = graph.op("Squeeze", scale, graph.integers(0))
        middle = numpy_helper.from_array(np.array([_MIDDLE], np.uint8))
        zero = graph.op("ConstantOfShape", graph.op("Shape", flat), value=middle)
        quantized = graph.op("QuantizeLinear", x, flat, zero, axis=1, name=f"{site}.quantized")
        graph.op("Unsqueeze", scale, graph.integers(-1), name=f"{quantized}.scale")
        return quantized

    def product(self, graph: GraphBuilder, prepared: str, name: str) -> str:
        values, scales = symmetric(self._weights.dense(f"{name}.weight").T)
        y = graph.op(
            "MatMulIntegerToFloat",
            prepared,
            graph.constant(f"{name}.int8", values),
            graph.number(1.0),
            graph.constant(f"{name}.scales", scales),
            graph.constant("middle", np.uint8(_MIDDLE)),
            domain=MICROSOFT,
            name=f"{name}.product",
        )
        scaled = graph.op("Mul", y, f"{prepared}.scale", name=f"{name}.scaled")
        return graph.op("Add", scaled, graph.constant(f"{name}.bias", self._weights.dense(f"{name}.bias")), name=name)


def symmetric(matrix: Array) -> tuple[Array, Array]:
    """Round [in, out] to int8 in -127..127 with one float32 scale per column."""
    scales = np.maximum(np.abs(matrix).max(axis=0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales
