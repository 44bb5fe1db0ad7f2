"""A T5's products with quantized weights; families/t5/products.py has them in float."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import FLOAT, MICROSOFT, GraphBuilder
from rolecall_export.families.t5.cross import CrossCache, Int8Cache
from rolecall_export.families.t5.products import head_name, joined
from rolecall_export.quantization.per_token import TokenRounding, int8_product, int8_times, symmetric
from rolecall_export.t5_weights import T5Weights
from rolecall_export.weights import Q4_BLOCK, Array, Q4Matrix

_INT8_ACTIVATIONS = 4
"""A value of `accuracy_level`: the type in which MatMulNBits multiplies."""


class PerTokenInt8:
    """Symmetric int8 weights with a scale per output, uint8 activations with a scale per token.

    Products of integers are exact and everything else works on one token, so a row's logits are the same to the last
    bit whatever the batch.
    """

    cache = FLOAT
    cross: CrossCache = Int8Cache()

    def __init__(self, weights: T5Weights) -> None:
        self._weights = weights
        self._rounding = TokenRounding()

    def rows(self, graph: GraphBuilder, token_ids: str) -> str:
        """Stored as the head of a tied model needs it, so that both read the same table."""
        values, scales = self._table("shared")
        rows = graph.op("Gather", graph.constant("shared.int8", values), token_ids, name="rows")
        steps = graph.op("Gather", graph.constant("shared.scales", scales[:, None]), token_ids, name="row_scales")
        return graph.op("Mul", graph.op("Cast", rows, to=FLOAT, name="row_values"), steps, name="embeddings")

    def prepare(self, graph: GraphBuilder, x: str, *, positive: bool = False) -> Activation:
        """uint8 with one scale for each token: around 128, or from 0 up.

        A row of zeros gets the scale 0: whatever its division gives is multiplied by 0 again after the product.
        """
        zero, steps = (0, 255) if positive else (128, 127)
        size = x if positive else graph.op("Abs", x, name="sizes")
        peak = graph.op("ReduceMax", size, graph.integers(-1), keepdims=1, name="peak")
        scale = graph.op("Mul", peak, graph.number(1 / steps), name="scale")
        return self._rounding.with_scale(graph, x, scale, zero=zero)

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        return int8_product(graph, x, matrix=joined(self._weights, names).T, name="+".join(names))

    def residual(self, graph: GraphBuilder, y: str) -> str:
        return y

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        return self.product(graph, self.prepare(graph, x, positive=positive), name)

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        values, scales = self._table(name)
        ready = self.prepare(graph, x)
        rows = Activation(
            value=graph.op("Reshape", ready.value, shape, name="last_rounded"),
            scale=graph.op("Reshape", ready.scale, shape, name="last_scales"),
            zero_point=ready.zero_point,
        )
        # The runtime turns the table around once, when it loads.
        turned = graph.op("Transpose", graph.constant(f"{name}.int8", values), perm=[1, 0], name="head")
        return int8_times(graph, rows, values=turned, scales=scales, name="head")

    def _table(self, name: str) -> tuple[Array, Array]:
        """int8 [vocabulary, hidden] and float32 [vocabulary]."""
        values, scales = symmetric(self._weights.dense(name).T)
        return np.ascontiguousarray(values.T), scales


class FourBits:
    """4-bit weights in blocks of 32 (Q4_0), activations rounded to 8 bits in the same blocks inside the kernel.

    Of MatMulNBits' kernels those for blocks of 32 with 8-bit activations give a row the same bits alone and in company;
    larger blocks, and float activations, do not.
    """

    cache = FLOAT
    cross: CrossCache = Int8Cache()

    def __init__(self, weights: T5Weights) -> None:
        self._weights = weights
        self._head = Q4Matrix.quantize(weights.dense(head_name(weights)))
        self._shared = self._head if weights.config.scaled_output else Q4Matrix.quantize(weights.dense("shared"))

    def rows(self, graph: GraphBuilder, token_ids: str) -> str:
        """Stored as the head of a tied model needs it, so that both read the same table."""
        rows, columns = self._shared.shape
        flat = graph.op("Reshape", self._packed(graph, "shared", self._shared), graph.integers(rows, columns // 2))
        return graph.op(
            "GatherBlockQuantized",
            flat,
            token_ids,
            self._scales(graph, "shared", self._shared),
            gather_axis=0,
            quantize_axis=1,
            block_size=Q4_BLOCK,
            bits=4,
            domain=MICROSOFT,
            name="embeddings",
        )

    def prepare(self, graph: GraphBuilder, x: str, *, positive: bool = False) -> Activation:
        return Activation(value=x)

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        return self._times(graph, x, "+".join(names), Q4Matrix.quantize(joined(self._weights, names)))

    def residual(self, graph: GraphBuilder, y: str) -> str:
        return y

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        return self.product(graph, self.prepare(graph, x), name)

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        rows = graph.op("Reshape", x, shape, name="last_hidden")
        return self._times(graph, self.prepare(graph, rows), name, self._head)

    def _times(self, graph: GraphBuilder, x: Activation, name: str, matrix: Q4Matrix) -> str:
        return graph.op(
            "MatMulNBits",
            x.value,
            self._packed(graph, name, matrix),
            self._scales(graph, name, matrix),
            K=matrix.shape[1],
            N=matrix.shape[0],
            bits=4,
            block_size=Q4_BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
            domain=MICROSOFT,
            name=f"{name}.product",
        )

    def _packed(self, graph: GraphBuilder, name: str, matrix: Q4Matrix) -> str:
        return graph.constant(f"{name}.q4", matrix.packed)

    def _scales(self, graph: GraphBuilder, name: str, matrix: Q4Matrix) -> str:
        return graph.constant(f"{name}.scales", matrix.scales.astype(np.float32))
