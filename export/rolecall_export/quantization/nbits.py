"""Weight-only quantization through ONNX Runtime's MatMulNBits: small files, activations as they are."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.encoder import Activation, biased
from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.quantization.fp16 import HalfProducts
from rolecall_export.quantization.tables import q4_rows
from rolecall_export.weights import Q4_BLOCK, Array, EncoderWeights, Q4Matrix

_FLOAT_ACTIVATIONS = 1
_INT8_ACTIVATIONS = 4
"""Values of `accuracy_level`: in which type MatMulNBits multiplies."""


class FourBits:
    """4-bit weights in blocks of 32 (Q4_0): exact where the checkpoint was in Q4_0."""

    accuracy_level = _FLOAT_ACTIVATIONS

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        return q4_rows(graph, token_ids, table=self._weights.dense("word"), name="word")

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        return Activation(value=x)

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        matrix = Q4Matrix.quantize(self._weights.dense(f"{name}.weight"))
        y = graph.op(
            "MatMulNBits",
            x.value,
            graph.constant(f"{name}.packed", matrix.packed),
            graph.constant(f"{name}.scales", matrix.scales.astype(np.float32)),
            K=matrix.shape[1],
            N=matrix.shape[0],
            bits=4,
            block_size=Q4_BLOCK,
            accuracy_level=self.accuracy_level,
            domain=MICROSOFT,
            name=f"{name}.product",
        )
        return biased(graph, y, bias=self._weights.dense(f"{name}.bias"), name=name)

    def finish(self, graph: GraphBuilder, y: str) -> str:
        return y


class FourBitsInt8(FourBits):
    """The same weights, multiplied with activations rounded to int8 in blocks of 32."""

    accuracy_level = _INT8_ACTIVATIONS


class HalfEightBits(HalfProducts):
    """Float16 with 8-bit weights in blocks of 128 (32 where rows are no multiple): half the memory traffic."""

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        matrix = self._weights.dense(f"{name}.weight")
        packed, scales = eight_bits(matrix)
        rows, columns = matrix.shape
        y = graph.op(
            "MatMulNBits",
            x.value,
            graph.constant(f"{name}.packed", packed),
            graph.constant(f"{name}.scales", scales.astype(np.float16)),
            K=columns,
            N=rows,
            bits=8,
            block_size=columns // scales.shape[1],
            domain=MICROSOFT,
            name=f"{name}.product",
        )
        return self.biased(graph, y, name=name)


def eight_bits(matrix: Array) -> tuple[Array, Array]:
    """Round float32 [rows, columns] to uint8 [rows, blocks, block] around 128, with float32 scales [rows, blocks]."""
    rows, columns = matrix.shape
    block = next((size for size in (128, 32) if columns % size == 0), 0)
    if not block:
        raise ValueError(f"rows of {columns} weights do not divide into blocks of 32")
    blocks = matrix.reshape(rows, columns // block, block)
    scales = (np.abs(blocks).max(axis=-1) / 127).astype(np.float16).astype(np.float32)
    steps = np.maximum(scales, np.finfo(np.float16).tiny)[..., None]
    values = np.clip(np.rint(blocks / steps), -127, 127) + 128
    return values.astype(np.uint8), scales
