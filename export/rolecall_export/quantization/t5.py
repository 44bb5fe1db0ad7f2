"""A T5's products with quantized weights; families/t5/products.py has them in float."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import FLOAT, GraphBuilder
from rolecall_export.families.t5.products import joined
from rolecall_export.quantization.per_token import TokenRounding, int8_product, int8_times, symmetric
from rolecall_export.t5_weights import T5Weights
from rolecall_export.weights import Array


class PerTokenInt8:
    """Symmetric int8 weights with a scale per output, uint8 activations with a scale per token.

    Products of integers are exact and everything else works on one token, so a row's logits are the same to the last
    bit whatever the batch.
    """

    cache = FLOAT

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
        return self._rounding.round(graph, x, positive=positive)

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        return int8_product(graph, x, matrix=joined(self._weights, names).T, name="+".join(names))

    def residual(self, graph: GraphBuilder, y: str) -> str:
        return y

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        return self.product(graph, self.prepare(graph, x, positive=positive), name)

    def logits(self, graph: GraphBuilder, x: str, name: str) -> str:
        values, scales = self._table(name)
        # The runtime turns the table around once, when it loads.
        turned = graph.op("Transpose", graph.constant(f"{name}.int8", values), perm=[1, 0], name="head")
        return int8_times(graph, self.prepare(graph, x), values=turned, scales=scales, name="head")

    def _table(self, name: str) -> tuple[Array, Array]:
        """int8 [vocabulary, hidden] and float32 [vocabulary]."""
        values, scales = symmetric(self._weights.dense(name).T)
        return np.ascontiguousarray(values.T), scales
