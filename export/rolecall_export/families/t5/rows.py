"""The rows graph: copies rows of the caches to other places of the same caches, on the device where they lie."""

from __future__ import annotations

import onnx

from rolecall_export.families.graph import INT64, GraphBuilder, tensor
from rolecall_export.t5_weights import T5Config


def build_rows(config: T5Config, *, cache: int, opset: int) -> onnx.ModelProto:
    """Inputs: `sources` int64 [moved], `targets` int64 [moved, 1], all different, and for each key and each value of
    the decoder layers `cache.N`, of the type `cache`, [rows, heads, capacity, head_size]. Outputs: `moved.N`.

    Row targets[i] becomes what row sources[i] was before. With `moved.N` bound to the memory of `cache.N` the other
    rows are not touched: all that moves is gathered first, and then scattered in place. Serves self-attention's caches
    and cross-attention's, one kind at a time.
    """
    graph = GraphBuilder()
    shape: list[str | int] = ["rows", config.heads, "capacity", config.head_size]
    inputs = [tensor("sources", INT64, ["moved"]), tensor("targets", INT64, ["moved", 1])]
    outputs = []
    for index in range(2 * config.decoder_layers):
        inputs.append(tensor(f"cache.{index}", cache, shape))
        rows = graph.op("Gather", f"cache.{index}", "sources", name=f"rows.{index}")
        graph.op("ScatterND", f"cache.{index}", "targets", rows, name=f"moved.{index}")
        outputs.append(tensor(f"moved.{index}", cache, shape))
    return graph.model("rows", inputs, outputs, opset=opset)
