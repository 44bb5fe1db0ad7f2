"""The prefill graph: hidden states of the encoder to the keys and values of cross-attention, once for each source."""

from __future__ import annotations

import onnx

from rolecall_export.families.graph import FLOAT, INT64, GraphBuilder, tensor
from rolecall_export.families.t5.products import Products
from rolecall_export.t5_weights import T5Weights


def build_prefill(weights: T5Weights, products: Products, *, opset: int) -> onnx.ModelProto:
    """From `hidden_states` and `spans` of the encoder and `capacity`, int64 [], to what a step reads of the sources.

    Those are `cross_key.N` and `cross_value.N`, [batch, heads, capacity, head_size], and what else cross.CrossCache
    keeps: a caller can have them written straight into the slots of new rows. Places beyond a text's own are filled
    with its last ones, and no step looks at them.
    """
    graph = GraphBuilder()
    config = weights.config
    x = graph.op("Unsqueeze", "hidden_states", graph.integers(0), name="hidden")
    places = _places(graph)
    ready = products.prepare(graph, x)
    outputs = []
    for layer in range(config.decoder_layers):
        parts = {}
        for part in ("key", "value"):
            y = products.product(graph, ready, f"decoder.{layer}.cross_{part}")
            flat = graph.op("Squeeze", y, graph.integers(0), name=f"{part}.flat")
            parts[part] = graph.op("Gather", flat, places, name=f"{part}.rows")
        products.cross.store(graph, config, layer, **parts)
        outputs.extend(products.cross.slots(config, layer))
    inputs = [
        tensor("hidden_states", FLOAT, ["tokens", config.hidden_size]),
        tensor("spans", INT64, ["batch"]),
        tensor("capacity", INT64, []),
    ]
    return graph.model("prefill", inputs, outputs, opset=opset)


def _places(graph: GraphBuilder) -> str:
    """int64 [batch, capacity]: the row of the hidden states that goes to each place of a slot."""
    one = graph.integers(1)
    starts = graph.op("Sub", graph.op("CumSum", "spans", graph.integer(0)), "spans", name="starts")
    columns = graph.op("Range", graph.integer(0), "capacity", graph.integer(1), name="columns")
    last = graph.op("Sub", graph.op("Unsqueeze", "spans", one), one, name="last")
    within = graph.op("Min", graph.op("Unsqueeze", columns, graph.integers(0)), last, name="within")
    return graph.op("Add", graph.op("Unsqueeze", starts, one), within, name="places")
