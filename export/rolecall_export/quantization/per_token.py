"""Int8 products with one activation scale per token: fast on AVX-512 VNNI, and independent of the batch."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from rolecall_export.families.encoder import Activation, biased
from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.quantization.tables import compact_rows
from rolecall_export.weights import Array, EncoderWeights

_MIDDLE = 128
"""Zero point of unsigned activations of either sign; signed ones fall to a kernel ten times as slow."""
_GELU_ZERO = 32
"""Zero point after Gelu, whose values reach from -0.17 far up: 1.75 times as many steps for the upper part."""
_GELU_LEAST = 0.17
_LEAST_PEAK = 1e-8
"""Keeps an all-zero row from dividing by zero."""


class TokenRounding:
    """Rounds activations to uint8 with one scale per token."""

    def __init__(self) -> None:
        self._zero_points: dict[int, str] = {}

    def round(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        """Quantize float32 [1, tokens, width]."""
        largest = graph.op("ReduceMax", x, graph.integers(-1), keepdims=1, name="largest")
        if after_gelu:
            zero = _GELU_ZERO
            step = graph.op("Mul", largest, graph.number(1 / (255 - zero)), name="step")
            scale = graph.op("Max", step, graph.number(_GELU_LEAST / zero), name="scale")
        else:
            zero = _MIDDLE
            smallest = graph.op("ReduceMin", x, graph.integers(-1), keepdims=1, name="smallest")
            peak = graph.op("Max", largest, graph.op("Neg", smallest), graph.number(_LEAST_PEAK), name="peak")
            scale = graph.op("Mul", peak, graph.number(1 / 127), name="scale")
        return self.with_scale(graph, x, scale, zero=zero)

    def with_scale(self, graph: GraphBuilder, x: str, scale: str, *, zero: int) -> Activation:
        """Quantize float32 [1, tokens, width] around `zero` by a scale that is there, [1, tokens, 1]."""
        flat = graph.op("Squeeze", scale, graph.integers(0, 2), name="scale_flat")
        value = graph.op("QuantizeLinear", x, flat, self._zeros(graph, flat, zero), axis=1, name="quantized")
        return Activation(value=value, scale=scale, zero_point=graph.constant(f"zero.{zero}", np.uint8(zero)))

    def _zeros(self, graph: GraphBuilder, like: str, zero: int) -> str:
        """The zero point once per token, made once for the whole graph."""
        if zero not in self._zero_points:
            fill = numpy_helper.from_array(np.array([zero], np.uint8))
            shape = graph.op("Shape", like, name="tokens")
            self._zero_points[zero] = graph.op("ConstantOfShape", shape, value=fill, name="zero_points")
        return self._zero_points[zero]


class PerTokenInt8:
    """Symmetric int8 weights with a scale per output, uint8 activations with a scale per token.

    Products of integers are exact, and everything else works on one token, so a row's result does not depend on the
    other rows. The scale of a token is applied after the product, that of an output inside it.
    """

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights
        self._rounding = TokenRounding()

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        return compact_rows(graph, token_ids, table=self._weights.dense("word"), name="word")

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        return self._rounding.round(graph, x, after_gelu=after_gelu)

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        y = int8_product(graph, x, matrix=self._weights.dense(f"{name}.weight").T, name=name)
        return biased(graph, y, bias=self._weights.dense(f"{name}.bias"), name=name)

    def finish(self, graph: GraphBuilder, y: str) -> str:
        return y


def int8_product(graph: GraphBuilder, x: Activation, *, matrix: Array, name: str) -> str:
    """x @ matrix, [in, out], float32."""
    values, scales = symmetric(matrix)
    return int8_times(graph, x, values=graph.constant(f"{name}.int8", values), scales=scales, name=name)


def int8_times(graph: GraphBuilder, x: Activation, *, values: str, scales: Array, name: str) -> str:
    """x @ (values * scales), where `values` names int8 [in, out] and `scales` are float32 [out]; float32."""
    y = graph.op(
        "MatMulIntegerToFloat",
        x.value,
        values,
        graph.number(1.0),
        graph.constant(f"{name}.scales", scales),
        x.zero_point,
        domain=MICROSOFT,
        name=f"{name}.product",
    )
    return graph.op("Mul", y, x.scale, name=f"{name}.scaled")


def symmetric(matrix: Array) -> tuple[Array, Array]:
    """Round [in, out] to int8 in -127..127 with one float32 scale per column."""
    scales = np.maximum(np.abs(matrix).max(axis=0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales
