"""From the hidden states of a text's tokens to one vector."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from rolecall_export.families.graph import FLOAT, GraphBuilder, tensor

POOLINGS = ("mean", "cls")
_LEAST_LENGTH = 1e-12
"""Vectors shorter than this are not stretched to unit length."""


class TextPooling:
    """Pooling of one text that stands alone, without padding."""

    def __init__(self, pooling: str, *, normalize: bool) -> None:
        _check(pooling)
        self._pooling = pooling
        self._normalize = normalize

    def __call__(self, graph: GraphBuilder, parts: Sequence[str]) -> str:
        """The mean or the first of one text's tokens, float [1, tokens, width], at unit length if wanted: [width]."""
        if self._pooling == "mean":
            vector = graph.op("ReduceMean", parts[0], graph.integers(0, 1), keepdims=0, name="mean")
        else:
            first = graph.op("Gather", parts[0], graph.integer(0), axis=1, name="first")
            vector = graph.op("Squeeze", first, graph.integers(0), name="cls")
        return unit(graph, vector) if self._normalize else vector


def append_pooling(model: onnx.ModelProto, *, pooling: str, normalize: bool) -> onnx.ModelProto:
    """Turn the output `last_hidden_state` [batch, sequence, width] of a graph into `embedding` [batch, width], in place.

    The graph has the input `attention_mask`; `pooling` is "mean" (over real tokens) or "cls" (the first token).
    """
    _check(pooling)
    hidden = next((value for value in model.graph.output if value.name == "last_hidden_state"), None)
    if hidden is None:
        raise ValueError(f"no output last_hidden_state among {[value.name for value in model.graph.output]}")
    graph = GraphBuilder(prefix="pooling.")
    if pooling == "mean":
        mask = graph.op("Cast", "attention_mask", to=FLOAT, name="mask")
        column = graph.op("Unsqueeze", mask, graph.integers(-1), name="mask_column")
        total = graph.op("ReduceSum", graph.op("Mul", hidden.name, column), graph.integers(1), keepdims=0, name="total")
        count = graph.op("ReduceSum", mask, graph.integers(-1), keepdims=1, name="count")
        vector = graph.op("Div", total, graph.op("Max", count, graph.number(1.0)), name="mean")
    else:
        vector = graph.op("Gather", hidden.name, graph.integer(0), axis=1, name="cls")
    result = unit(graph, vector) if normalize else vector
    added = graph.collected("pooling", [], [])
    model.graph.node.extend([*added.node, helper.make_node("Identity", [result], ["embedding"], name="embedding")])
    model.graph.initializer.extend(added.initializer)
    batch, _, width = hidden.type.tensor_type.shape.dim
    del model.graph.output[:]
    sizes = [dim.dim_param or dim.dim_value or name for dim, name in ((batch, "batch"), (width, "width"))]
    model.graph.output.append(tensor("embedding", FLOAT, sizes))
    return model


def unit(graph: GraphBuilder, vector: str) -> str:
    """Vectors along the last axis at unit length."""
    length = graph.op("ReduceL2", vector, graph.integers(-1), keepdims=1, name="length")
    return graph.op("Div", vector, graph.op("Max", length, graph.number(_LEAST_LENGTH)), name="unit")


def _check(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
