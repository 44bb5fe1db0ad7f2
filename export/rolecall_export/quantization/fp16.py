"""Half precision for GPUs: products, attention and Gelu in float16 between float32 norms, residuals and pooling."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import FLOAT, FLOAT16, GraphBuilder
from rolecall_export.weights import Array, EncoderWeights

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
