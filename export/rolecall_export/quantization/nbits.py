"""Weight-only quantization through ONNX Runtime's MatMulNBits: small files, activations as they are."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.encoder import Activation, biased
from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.quantization.blocks import eight_bits
from rolecall_export.quantization.fp16 import HalfProducts
from rolecall_export.quantization.tables import compact_rows
from rolecall_export.weights import Q4_BLOCK, Array, EncoderWeights, Q4Matrix

_FLOAT_ACTIVATIONS = 1
"""A value of `accuracy_level`: the type in which MatMulNBits multiplies."""
_EIGHT_BIT_BLOCK = 128


class FourBits:
    """4-bit weights in blocks of 32 (Q4_0): exact where the checkpoint was in Q4_0."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        return compact_rows(graph, token_ids, table=self._weights.dense("word"), name="word")

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        return Activation(value=x)

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        y = four_bit_product(graph, x.value, matrix=self._weights.dense(f"{name}.weight"), name=name)
        return biased(graph, y, bias=self._weights.dense(f"{name}.bias"), name=name)

    def finish(self, graph: GraphBuilder, y: str) -> str:
        return y


class HalfEightBits(HalfProducts):
    """Float16 with 8-bit weights in blocks of 128 (32 where rows are no multiple): half the memory traffic."""

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        y = eight_bit_product(
            graph, x.value, matrix=self._weights.dense(f"{name}.weight"), name=name, scale_type=np.float16
        )
        return self.biased(graph, y, name=name)


def four_bit_product(graph: GraphBuilder, x: str, *, matrix: Array, name: str) -> str:
    """x @ matrix.T for a float32 matrix [out, in]."""
    q4 = Q4Matrix.quantize(matrix)
    return graph.op(
        "MatMulNBits",
        x,
        graph.constant(f"{name}.packed", q4.packed),
        graph.constant(f"{name}.scales", q4.scales.astype(np.float32)),
        K=q4.shape[1],
        N=q4.shape[0],
        bits=4,
        block_size=Q4_BLOCK,
        accuracy_level=_FLOAT_ACTIVATIONS,
        domain=MICROSOFT,
        name=f"{name}.product",
    )


def eight_bit_product(
    graph: GraphBuilder, x: str, *, matrix: Array, name: str, scale_type: type[np.float16] | type[np.float32]
) -> str:
    """x @ matrix.T for a float32 matrix [out, in]; x is of the scales' type."""
    block = _EIGHT_BIT_BLOCK if matrix.shape[1] % _EIGHT_BIT_BLOCK == 0 else Q4_BLOCK
    packed, scales = eight_bits(matrix, block=block)
    return graph.op(
        "MatMulNBits",
        x,
        graph.constant(f"{name}.packed", packed),
        graph.constant(f"{name}.scales", scales.astype(scale_type)),
        K=matrix.shape[1],
        N=matrix.shape[0],
        bits=8,
        block_size=block,
        domain=MICROSOFT,
        name=f"{name}.product",
    )
