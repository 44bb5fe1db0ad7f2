"""How a T5's matrix products are computed: in float, with int8 activations per token, with 4-bit or half weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import FLOAT, GraphBuilder
from rolecall_export.families.t5.cross import CrossCache, PlainCache
from rolecall_export.t5_weights import T5Weights
from rolecall_export.weights import Array


class Products(Protocol):
    """Products with constant weights and look-ups in the token table.

    Hidden states are float32 [1, tokens, hidden] between the blocks; inside one they are of the type `cache`.
    """

    @property
    def cache(self) -> int:
        """The tensor type of queries, keys and values."""
        ...

    @property
    def cross(self) -> CrossCache:
        """How keys and values of sources are kept."""
        ...

    def rows(self, graph: GraphBuilder, token_ids: str) -> str:
        """Rows of the token table for int64 [...]: float32 [..., hidden]."""
        ...

    def prepare(self, graph: GraphBuilder, x: str, *, positive: bool = False) -> Activation:
        """Get [1, tokens, in] ready for the products that read it. positive: it has no values below zero."""
        ...

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        """x @ weight.T for each of the weights `names`, side by side along the last axis; of the type `cache`."""
        ...

    def residual(self, graph: GraphBuilder, y: str) -> str:
        """What a block adds to the hidden states, as float32."""
        ...

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        """The product that ends a feed-forward block, float32: its results are the largest numbers of a T5."""
        ...

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        """The product with the output table, float32. `shape` names that of the result, int64 [rows, width, -1]: what
        goes in is reshaped, since the logits themselves are large and would be copied."""
        ...


def joined(weights: T5Weights, names: Sequence[str]) -> Array:
    """The matrices one below the other, float32 [sum of outs, in]."""
    return np.concatenate([weights.dense(name) for name in names])


def head_name(weights: T5Weights) -> str:
    """The table that logits are products with."""
    return "shared" if weights.config.scaled_output else "lm_head"


class FloatProducts:
    """Everything in float32."""

    cache = FLOAT
    cross: CrossCache = PlainCache(FLOAT)

    def __init__(self, weights: T5Weights) -> None:
        self._weights = weights

    def rows(self, graph: GraphBuilder, token_ids: str) -> str:
        return graph.op("Gather", graph.constant("shared", self._weights.dense("shared")), token_ids, name="rows")

    def prepare(self, graph: GraphBuilder, x: str, *, positive: bool = False) -> Activation:
        return Activation(value=x)

    def product(self, graph: GraphBuilder, x: Activation, *names: str) -> str:
        label = "+".join(names)
        matrix = np.ascontiguousarray(joined(self._weights, names).T)
        return graph.op("MatMul", x.value, graph.constant(f"{label}.weight", matrix), name=label)

    def residual(self, graph: GraphBuilder, y: str) -> str:
        return y

    def down(self, graph: GraphBuilder, x: str, name: str, *, positive: bool) -> str:
        return self.product(graph, self.prepare(graph, x, positive=positive), name)

    def logits(self, graph: GraphBuilder, x: str, name: str, *, shape: str) -> str:
        rows = graph.op("Reshape", x, shape, name="last_hidden")
        if name != "shared":
            return self.product(graph, self.prepare(graph, rows), name)
        # Tied: the table is stored once, as the look-up wants it; the runtime turns it around once, when it loads.
        turned = graph.op("Transpose", graph.constant("shared", self._weights.dense("shared")), perm=[1, 0])
        return graph.op("MatMul", rows, turned, name="all_logits")
