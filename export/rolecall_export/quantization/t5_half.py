"""A T5's products for GPUs: 16-bit arithmetic, weights in 16, 8 or 4 bits, with float32 where T5 needs its range.

The product that ends a feed-forward block stays in float32: its results pass the largest float16, and so do the hidden
states that it is added to. Norms and the sums of hidden states are float32 in every preset.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import BFLOAT16, FLOAT, FLOAT16, MICROSOFT, GraphBuilder
from rolecall_export.families.t5.cross import CrossCache, PlainCache
from rolecall_export.families.t5.products import FloatProducts, joined
from rolecall_export.quantization.blocks import eight_bits
from rolecall_export.quantization.fp16 import half
from rolecall_export.t5_weights import T5Weights
from rolecall_export.weights import Q4_BLOCK, Array, Q4Matrix


class Float16:
    """Weights and products in float16."""

    cache = FLOAT16
    cross: CrossCache = PlainCache(FLOAT16)

    def __init__(self, weights: T5Weights) -> None:
        self._weights = weights
        self._float = FloatProducts(weights)

    def rows(self, graph: GraphBuilder, token_ids: str) -> str:
        table = graph.constant("shared.half", self._narrow(self._weights.dense("shared"), "shared"))
        return graph.op("Cast", graph.op("Gather", table, token_ids, name="rows"), to=FLOAT, name="embeddings")

    def prepare(self, graph: GraphBuilder, x: str, *, positive: bool = False) -> Activation:
        """Casts of what has the type already are dropped by the runtime."""
        return Activation(value=graph.op("Cast", x, to=self.cache, name="narrow"))

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        label = "+".join(names)
        matrix = np.ascontiguousarray(joined(self._weights, names).T)
        return graph.op("MatMul", x.value, graph.constant(f"{label}.half", self._narrow(matrix, label)), name=label)

    def residual(self, graph: GraphBuilder, y: str) -> str:
        return graph.op("Cast", y, to=FLOAT, name="wide")

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        return self._float.product(graph, Activation(value=self.residual(graph, x)), name)

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        """The table is stored as the look-up wants it; the runtime turns it around once, when it loads."""
        table = graph.constant(f"{name}.half", self._narrow(self._weights.dense(name), name))
        turned = graph.op("Transpose", table, perm=[1, 0], name="head")
        rows = self.prepare(graph, graph.op("Reshape", x, shape, name="last_hidden"))
        y = graph.op("MatMul", rows.value, turned, name="all_logits")
        return self.residual(graph, y)

    def _narrow(self, array: Array, name: str) -> Array:
        return half(array, name=name)


class BFloat16(Float16):
    """Weights and products in bfloat16: float32's range, 8 bits of precision."""

    cache = BFLOAT16
    cross: CrossCache = PlainCache(BFLOAT16)

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        """In float32: with 8 bits the best of the logits would often be several."""
        return self._float.logits(graph, x, name, shape=shape)

    def _narrow(self, array: Array, name: str) -> Array:
        return np.ascontiguousarray(array.astype(ml_dtypes.bfloat16))


class EightBitWeights(Float16):
    """Float16 arithmetic with 8-bit weights in blocks of 32."""

    bits = 8

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        return self._times(graph, x.value, "+".join(names), joined(self._weights, names), scale=np.float16)

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        wide = self.residual(graph, x)
        return self._times(graph, wide, name, self._weights.dense(name), scale=np.float32)

    def _times(
        self, graph: GraphBuilder, x: str, name: str, matrix: Array, *, scale: type[np.float16] | type[np.float32]
    ) -> str:
        """x @ matrix.T for a float32 matrix [out, in]; x is of the scales' type."""
        packed, scales = self._packed(matrix)
        return graph.op(
            "MatMulNBits",
            x,
            graph.constant(f"{name}.q{self.bits}", packed),
            graph.constant(f"{name}.scales", scales.astype(scale)),
            K=matrix.shape[1],
            N=matrix.shape[0],
            bits=self.bits,
            block_size=Q4_BLOCK,
            domain=MICROSOFT,
            name=f"{name}.product",
        )

    def _packed(self, matrix: Array) -> tuple[Array, Array]:
        return eight_bits(matrix, block=Q4_BLOCK)


class FourBitWeights(EightBitWeights):
    """Float16 arithmetic with 4-bit weights in blocks of 32; the tables stay in float16."""

    bits = 4

    def _packed(self, matrix: Array) -> tuple[Array, Array]:
        q4 = Q4Matrix.quantize(matrix)
        return q4.packed, q4.scales
