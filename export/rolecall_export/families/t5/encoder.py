"""The encoder graph: token ids to hidden states, run once for each source.

On a CPU the tokens of all texts lie one after the other without padding, and attention runs text by text, on exactly
the tokens of that text (layout.PackedTokens says why). On a GPU texts are padded.
"""

from __future__ import annotations

import onnx

from rolecall_export.families.graph import FLOAT, INT64, GraphBuilder, tensor
from rolecall_export.families.t5.bias import encoder_table
from rolecall_export.families.t5.blocks import Blocks
from rolecall_export.families.t5.layout import PackedSources, PaddedSources, Sources
from rolecall_export.families.t5.products import Products
from rolecall_export.t5_weights import T5Weights

INPUTS = ("input_ids", "attention_mask")


def build_encoder(weights: T5Weights, products: Products, *, padded: bool, opset: int) -> onnx.ModelProto:
    """From input_ids and attention_mask, int64 [batch, sequence] (padding at the right), to `hidden`, float32
    [tokens, hidden], normalized, text after text, and `spans`, int64 [batch]: how many of the rows each text takes."""
    graph = GraphBuilder()
    blocks = Blocks(graph, weights, products)
    config = weights.config
    sources: Sources = (PaddedSources if padded else PackedSources)(graph, *INPUTS, cache=products.cache)
    x = sources.enter(products.rows(graph, sources.token_ids))
    bias = ""
    for layer in range(config.encoder_layers):
        prefix = f"encoder.{layer}"
        if layer == 0 or config.layer_biases:
            name = f"{prefix}.bias" if config.layer_biases else "encoder.bias"
            table = encoder_table(weights.dense(name), max_distance=config.max_distance)
            bias = sources.bias(table, max_distance=config.max_distance, name=name)
        ready = products.prepare(graph, blocks.norm(x, f"{prefix}.attention_norm"))
        parts = [products.product(graph, ready, f"{prefix}.{part}") for part in ("query", "key", "value")]
        context = sources.attend(parts, bias, heads=config.heads, name=f"{prefix}.attention")
        x = blocks.add(x, products.product(graph, products.prepare(graph, context), f"{prefix}.output"))
        x = blocks.feed_forward(x, prefix)
    normed = blocks.norm(x, "encoder.final_norm")
    shape = graph.integers(-1, config.hidden_size)
    graph.op("Reshape", normed, shape, name="hidden_states")
    graph.op("Identity", sources.spans, name="spans")
    return graph.model(
        "encoder",
        [tensor(name, INT64, ["batch", "sequence"]) for name in INPUTS],
        [tensor("hidden_states", FLOAT, ["tokens", config.hidden_size]), tensor("spans", INT64, ["batch"])],
        opset=opset,
    )
