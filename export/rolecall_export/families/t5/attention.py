"""Attention of the decoder over slots: how scores, softmax and sums are computed for the tokens of a step."""

from __future__ import annotations

from typing import Protocol

from rolecall_export.families.graph import FLOAT, MICROSOFT, GraphBuilder
from rolecall_export.families.t5.layout import clipped
from rolecall_export.t5_weights import T5Config


class Attention(Protocol):
    """One way to compute it. A bias is made once and added to the scores of many layers."""

    def position_bias(self, graph: GraphBuilder, values: str, *, name: str) -> str:
        """From float32 [rows, width, capacity, heads]."""
        ...

    def source_mask(self, graph: GraphBuilder, mask: str, *, width: str) -> str:
        """From float32 [rows, 1, 1, capacity]; `width` is int64 [1]."""
        ...

    def attend(
        self, graph: GraphBuilder, queries: str, key: str, value: str, *, bias: str, config: T5Config, name: str
    ) -> str:
        """From queries [rows, width, heads * head_size] and slots [rows, heads, capacity, head_size] to a context like
        the queries. Scores are not scaled."""
        ...


class TokenByToken:
    """For CPUs: each token of each head is a product of its own, [1, head_size] with the whole slot.

    The kernels take another order of sums for one token than for several. So that a text does not depend on the width
    of its steps (which neighbours' drafts decide), every token goes the way of one. MultiHeadAttention is as fast for
    one token and slower for several.
    """

    def position_bias(self, graph: GraphBuilder, values: str, *, name: str) -> str:
        """[rows, width, heads, 1, capacity]"""
        by_head = graph.op("Transpose", values, perm=[0, 1, 3, 2], name=f"{name}.by_head")
        return graph.op("Unsqueeze", by_head, graph.integers(3), name=f"{name}.by_token")

    def source_mask(self, graph: GraphBuilder, mask: str, *, width: str) -> str:
        """[rows, 1, 1, 1, capacity]"""
        return graph.op("Unsqueeze", mask, graph.integers(1), name="source_mask")

    def attend(
        self, graph: GraphBuilder, queries: str, key: str, value: str, *, bias: str, config: T5Config, name: str
    ) -> str:
        shape = graph.integers(0, 0, config.heads, 1, config.head_size)
        tokens = graph.op("Reshape", queries, shape, name=f"{name}.tokens")
        keys, values = (graph.op("Unsqueeze", slot, graph.integers(1), name=f"{name}.slot") for slot in (key, value))
        scores = graph.op("FusedMatMul", tokens, keys, transB=1, domain=MICROSOFT, name=f"{name}.products")
        biased = graph.op("Add", scores, bias, name=f"{name}.scores")
        context = graph.op("MatMul", graph.op("Softmax", biased, axis=-1), values, name=f"{name}.context")
        return graph.op("Reshape", context, graph.integers(0, 0, config.inner_size), name=f"{name}.joined")


class Together:
    """For GPUs: one kernel for all tokens and heads."""

    def __init__(self, cache: int) -> None:
        """cache: the type of the slots."""
        self._cache = cache

    def position_bias(self, graph: GraphBuilder, values: str, *, name: str) -> str:
        """[rows, heads, width, capacity]"""
        return self._narrow(graph, graph.op("Transpose", values, perm=[0, 3, 1, 2], name=f"{name}.by_head"))

    def source_mask(self, graph: GraphBuilder, mask: str, *, width: str) -> str:
        """[rows, 1, width, capacity]"""
        one = graph.integers(1)
        shape = graph.op("Concat", one, one, width, one, axis=0, name="mask_shape")
        return self._narrow(graph, graph.op("Expand", mask, shape, name="source_mask"))

    def attend(
        self, graph: GraphBuilder, queries: str, key: str, value: str, *, bias: str, config: T5Config, name: str
    ) -> str:
        return graph.op(
            "MultiHeadAttention",
            queries,
            key,
            value,
            *("", "", bias),
            num_heads=config.heads,
            scale=1.0,
            domain=MICROSOFT,
            name=name,
        )

    def _narrow(self, graph: GraphBuilder, bias: str) -> str:
        return bias if self._cache == FLOAT else clipped(graph, bias, cache=self._cache)
