"""Makes any encoder graph batch-invariant: every text of a batch runs through it alone, without padding."""

from __future__ import annotations

import onnx

from rolecall_export.families.graph import BOOL, FLOAT, INT64, GraphBuilder, tensor

_INPUTS = ("input_ids", "attention_mask")
_OUTPUT = "embedding"


def text_by_text(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of the same inputs and output that runs `model` as the body of a Loop over the batch.

    For graphs that were exported elsewhere: nothing in them can depend on the batch any more. Short texts lose the
    speed of a batch, long ones nothing. A text without any token counts as one token. Takes `model` apart.
    """
    outer = GraphBuilder()
    sums = outer.op("ReduceSum", "attention_mask", outer.integers(-1), keepdims=0, name="batch.sums")
    lengths = outer.op("Max", sums, outer.integer(1), name="batch.lengths")
    ends = outer.op("Unsqueeze", lengths, outer.integers(1), name="batch.ends")
    inner = GraphBuilder(outer, prefix="text.")
    end = inner.op("Gather", ends, "text.index", axis=0, name="end")
    for name in _INPUTS:
        row = inner.op("Gather", name, "text.index", axis=0, name=f"{name}.row")
        cut = inner.op("Slice", row, inner.integers(0), end, inner.integers(0), name=f"{name}.cut")
        inner.op("Unsqueeze", cut, inner.integers(0), name=name)
    for node in model.graph.node:
        inner.keep(_renamed(node))
    flat = inner.op("Squeeze", f"text.{_OUTPUT}", inner.integers(0), name="flat")
    going = inner.op("Identity", "text.going", name="still_going")
    body = inner.collected(
        "text",
        [tensor("text.index", INT64, []), tensor("text.going", BOOL, [])],
        [tensor(going, BOOL, []), tensor(flat, FLOAT, ["width"])],
    )
    body.initializer.extend(model.graph.initializer)
    outer.op("Loop", outer.op("Size", lengths, name="batch.texts"), "", body=body, name=_OUTPUT)
    wrapped = outer.model("text_by_text", list(model.graph.input), list(model.graph.output))
    del wrapped.opset_import[:]
    wrapped.opset_import.extend(model.opset_import)
    return wrapped


def _renamed(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node with the graph's inputs and output under names of their own, since those of the batch are taken."""
    if any(attribute.HasField("g") for attribute in node.attribute):
        raise ValueError(f"node {node.name!r} has a graph of its own; such models can't be run text by text")
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for field in (copy.input, copy.output):
        renamed = [f"text.{name}" if name in (*_INPUTS, _OUTPUT) else name for name in field]
        del field[:]
        field.extend(renamed)
    return copy
