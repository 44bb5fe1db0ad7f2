"""Half precision for GPUs: products, attention and Gelu in float16 between float32 norms, residuals and pooling."""

from __future__ import annotations

import numpy as np
import onnx

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import FLOAT, FLOAT16, GraphBuilder
from rolecall_export.weights import Array, EncoderWeights

_SINGLE = ("LayerNormalization", "Softmax", "ReduceSum", "ReduceMean", "ReduceL2")
"""Stays in float32: norms, softmax, the sums of pooling."""
_LARGEST = float(np.finfo(np.float16).max)


class HalfProducts:
    """Weights and their products in float16. The attention kernels keep their softmax in float32."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        table = graph.constant("word", half(self._weights.dense("word"), name="word"))
        return graph.op("Cast", graph.op("Gather", table, token_ids, name="word_rows"), to=FLOAT, name="words")

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        """Casts of what is float16 already (context, Gelu) are dropped by the runtime."""
        return Activation(value=graph.op("Cast", x, to=FLOAT16, name="half"))

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        weight = half(self._weights.dense(f"{name}.weight").T, name=f"{name}.weight")
        y = graph.op("MatMul", x.value, graph.constant(f"{name}.weight", weight), name=f"{name}.product")
        return self.biased(graph, y, name=name)

    def biased(self, graph: GraphBuilder, y: str, *, name: str) -> str:
        bias = half(self._weights.dense(f"{name}.bias"), name=f"{name}.bias")
        return graph.op("Add", y, graph.constant(f"{name}.bias", bias), name=name) if bias.any() else y

    def finish(self, graph: GraphBuilder, y: str) -> str:
        return graph.op("Cast", y, to=FLOAT, name="single")


def half(array: Array, *, name: str) -> Array:
    """The array in float16; ValueError where it does not fit."""
    if np.abs(array).max(initial=0.0) > _LARGEST:
        raise ValueError(f"tensor {name!r} does not fit float16: its largest value is {np.abs(array).max():.3g}")
    return np.ascontiguousarray(array, dtype=np.float16)


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph that somebody else exported, in float16 between the operators of _SINGLE; inputs and outputs stay."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=list(_SINGLE)))
    converted.topological_sort()  # it puts casts at the end
    result: onnx.ModelProto = converted.model
    return result
