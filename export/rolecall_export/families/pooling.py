"""From the hidden states of a text's tokens to one vector."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import helper

from rolecall_export.families.graph import BOOL, FLOAT, GraphBuilder, tensor

POOLINGS = ("mean", "cls", "max")
_LEAST_LENGTH = 1e-12
"""Vectors shorter than this are not stretched to unit length."""
_BELOW_ALL = -1e4
"""Below every normalized hidden state, and within what conversion to float16 leaves as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """Which vector stands for a text: the "mean" of its tokens, the first one ("cls") or each coordinate's largest
    value ("max"); at unit length if wanted.
    """

    kind: str
    normalize: bool

    def __post_init__(self) -> None:
        if self.kind not in POOLINGS:
            raise ValueError(f"pooling {self.kind!r} is not one of {', '.join(POOLINGS)}")

    def text(self, graph: GraphBuilder, x: str) -> str:
        """From one text's tokens without padding, float [1, tokens, width]: [width]."""
        if self.kind == "mean":
            vector = graph.op("ReduceMean", x, graph.integers(0, 1), keepdims=0, name="mean")
        elif self.kind == "max":
            vector = graph.op("ReduceMax", x, graph.integers(0, 1), keepdims=0, name="max")
        else:
            first = graph.op("Gather", x, graph.integer(0), axis=1, name="first")
            vector = graph.op("Squeeze", first, graph.integers(0), name="cls")
        return _unit(graph, vector) if self.normalize else vector

    def batch(self, graph: GraphBuilder, x: str, *, mask: str) -> str:
        """From a padded batch, float [batch, sequence, width], and its int64 mask: [batch, width]."""
        if self.kind == "mean":
            weights = graph.op("Cast", mask, to=FLOAT, name="mask")
            column = graph.op("Unsqueeze", weights, graph.integers(-1), name="mask_column")
            total = graph.op("ReduceSum", graph.op("Mul", x, column), graph.integers(1), keepdims=0, name="total")
            count = graph.op("ReduceSum", weights, graph.integers(-1), keepdims=1, name="count")
            vector = graph.op("Div", total, graph.op("Max", count, graph.number(1.0)), name="mean")
        elif self.kind == "max":
            column = graph.op("Unsqueeze", mask, graph.integers(-1), name="mask_column")
            real = graph.op("Cast", column, to=BOOL, name="real")
            tokens = graph.op("Where", real, x, graph.number(_BELOW_ALL), name="real_tokens")
            vector = graph.op("ReduceMax", tokens, graph.integers(1), keepdims=0, name="max")
        else:
            vector = graph.op("Gather", x, graph.integer(0), axis=1, name="cls")
        return _unit(graph, vector) if self.normalize else vector


def append_pooling(model: onnx.ModelProto, *, pooling: str, normalize: bool) -> onnx.ModelProto:
    """Turn the output last_hidden_state [batch, sequence, width] of a graph into embedding [batch, width], in place.

    The graph has the input `attention_mask`; `pooling` is "mean" or "max" (of real tokens) or "cls" (the first one).
    """
    hidden = next((value for value in model.graph.output if value.name == "last_hidden_state"), None)
    if hidden is None:
        raise ValueError(f"no output last_hidden_state among {[value.name for value in model.graph.output]}")
    graph = GraphBuilder(prefix="pooling.")
    vector = Pooling(kind=pooling, normalize=normalize).batch(graph, hidden.name, mask="attention_mask")
    added = graph.collected("pooling", [], [])
    model.graph.node.extend([*added.node, helper.make_node("Identity", [vector], ["embedding"], name="embedding")])
    model.graph.initializer.extend(added.initializer)
    batch, _, width = hidden.type.tensor_type.shape.dim
    sizes = [dim.dim_param or dim.dim_value or name for dim, name in ((batch, "batch"), (width, "width"))]
    del model.graph.output[:]
    model.graph.output.append(tensor("embedding", FLOAT, sizes))
    return model


def _unit(graph: GraphBuilder, vector: str) -> str:
    """Vectors along the last axis at unit length."""
    length = graph.op("ReduceL2", vector, graph.integers(-1), keepdims=1, name="length")
    return graph.op("Div", vector, graph.op("Max", length, graph.number(_LEAST_LENGTH)), name="unit")
