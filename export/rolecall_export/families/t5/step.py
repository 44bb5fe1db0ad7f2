"""The decoder step graph: one or more tokens of every row to what follows each of them.

Caches are slots of a fixed size, [rows, heads, capacity, head_size], given as inputs and given back as outputs. Bound
to the same memory nothing is copied: TensorScatter writes the new keys and values into their places, row by row at each
row's own position. So rows of different age and source run together, and a row's results depend on that row alone.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rolecall_export.families.graph import BOOL, FLOAT, INT64, GraphBuilder, tensor
from rolecall_export.families.t5.attention import Attention, Together, TokenByToken
from rolecall_export.families.t5.bias import MASKED, decoder_table
from rolecall_export.families.t5.blocks import Blocks
from rolecall_export.families.t5.cross import StepValues
from rolecall_export.families.t5.products import Products, head_name
from rolecall_export.t5_weights import T5Config, T5Weights

TOP = 64
"""Candidates of a token that come in order, with `ranked`."""


def build_step(weights: T5Weights, products: Products, *, opset: int, padded: bool = False) -> onnx.ModelProto:
    """Inputs: `token_ids` int64 [rows, width], `positions` int64 [rows] (of each row's first token), `source_lengths`
    int64 [rows], `ranked` bool [], and for each layer N `self_key.N`, `self_value.N` [rows, heads, capacity, head_size]
    and what cross.CrossCache keeps: `cross_key.N`, `cross_value.N` [rows, heads, source_capacity, head_size] and so on.

    Outputs: `best` int64 [rows, width], the lowest id of the greatest logit, -1 where there is no number; with
    `ranked`, `top_ids` int64 and `top_logits` float32 [rows, width, K], `log_sum_exp` float32 [rows, width] (empty
    otherwise); `logits` float32 [rows, width, vocabulary], which costs nothing where nobody fetches it; and the caches,
    `present_self_key.N`...

    padded: for GPUs. There is no `ranked` then and no branch in the graph, since a captured CUDA graph can have none:
    candidates are always there, and stay on the device unless they are fetched.
    """
    graph = GraphBuilder()
    attention = Together(products.cache) if padded else TokenByToken()
    step = _Step(graph, weights, products, attention=attention)
    x = graph.op("Reshape", products.rows(graph, "token_ids"), graph.integers(1, -1, weights.config.hidden_size))
    for layer in range(weights.config.decoder_layers):
        x = step.layer(x, layer)
    _head(step.blocks, x, branch=not padded)
    inputs = _inputs(weights.config, products, branch=not padded)
    return graph.model("step", inputs, _outputs(weights.config, products), opset=opset)


class _Step:
    """The parts of the graph that all layers share, and the layers."""

    def __init__(self, graph: GraphBuilder, weights: T5Weights, products: Products, *, attention: Attention) -> None:
        self.graph = graph
        self.products = products
        self.blocks = Blocks(graph, weights, products)
        self._config = weights.config
        self._bias = ""
        self._attention = attention
        self._width = width = graph.op("Shape", "token_ids", start=1, end=2, name="width")
        self._columns = graph.op(
            "Range", graph.integer(0), graph.op("Squeeze", width), graph.integer(1), name="columns"
        )
        self._by_row = graph.op("Concat", graph.op("Shape", "token_ids", name="shape"), graph.integers(-1), axis=0)
        heads = graph.integers(self._config.heads, self._config.head_size)
        self._by_head = graph.op("Concat", graph.op("Shape", "token_ids", name="shape"), heads, axis=0, name="by_head")
        self._rows_seen = self._distances()
        self._unseen_source = self._source_mask()

    def layer(self, x: str, layer: int) -> str:
        x = self.blocks.add(x, self._self_attention(x, layer))
        x = self.blocks.add(x, self._cross_attention(x, layer))
        return self.blocks.feed_forward(x, f"decoder.{layer}")

    def _self_attention(self, x: str, layer: int) -> str:
        graph, prefix = self.graph, f"decoder.{layer}"
        ready = self.products.prepare(graph, self.blocks.norm(x, f"{prefix}.attention_norm"))
        joined = self.products.product(graph, ready, *(f"{prefix}.{part}" for part in ("query", "key", "value")))
        third = self._config.inner_size
        sizes = graph.constant("thirds", np.array([third] * 3, np.int64))
        query, key, value = graph.ops("Split", joined, sizes, outputs=3, axis=-1, name=f"{prefix}.parts")
        caches = [self._written(key, f"self_key.{layer}"), self._written(value, f"self_value.{layer}")]
        if layer == 0 or self._config.layer_biases:
            self._bias = self._position_bias(f"{prefix}.bias" if self._config.layer_biases else "decoder.bias")
        queries = graph.op("Reshape", query, self._by_row, name=f"{prefix}.queries")
        name = f"{prefix}.attention"
        context = self._attention.attend(graph, queries, *caches, bias=self._bias, config=self._config, name=name)
        return self._output(context, f"{prefix}.output")

    def _cross_attention(self, x: str, layer: int) -> str:
        graph, prefix = self.graph, f"decoder.{layer}"
        ready = self.products.prepare(graph, self.blocks.norm(x, f"{prefix}.cross_norm"))
        query = self.products.product(graph, ready, f"{prefix}.cross_query")
        queries = graph.op("Reshape", query, self._by_row, name=f"{prefix}.cross.queries")
        values = StepValues(
            queries=queries,
            lengths="source_lengths",
            mask=self._unseen_source,
            width=self._width,
            attention=self._attention,
        )
        context = self.products.cross.attend(graph, self._config, layer, values)
        return self._output(context, f"{prefix}.cross_output")

    def _output(self, context: str, name: str) -> str:
        """The product that ends an attention block, from [rows, width, heads * head_size]."""
        flat = self.graph.op("Reshape", context, self.graph.integers(1, -1, self._config.inner_size))
        return self.products.product(self.graph, self.products.prepare(self.graph, flat), name)

    def _written(self, part: str, cache: str) -> str:
        """The cache with this step's keys or values in their places."""
        graph = self.graph
        heads = graph.op("Reshape", part, self._by_head, name=f"{cache}.heads")
        turned = graph.op("Transpose", heads, perm=[0, 2, 1, 3], name=f"{cache}.new")
        return graph.op("TensorScatter", cache, turned, "positions", axis=2, name=f"present_{cache}")

    def _distances(self) -> str:
        """int64 [rows, width, capacity]: the row of bias.decoder_table for each token and place of its slot."""
        graph = self.graph
        first = graph.op("Unsqueeze", "positions", graph.integers(1), name="first")
        own = graph.op("Unsqueeze", graph.op("Add", first, self._columns), graph.integers(2), name="own_positions")
        capacity = graph.op("Squeeze", graph.op("Shape", "self_key.0", start=2, end=3), name="capacity")
        places = graph.op("Range", graph.integer(0), capacity, graph.integer(1), name="slot_places")
        back = graph.op("Sub", own, places, name="back")
        near = graph.op("Clip", back, graph.integer(-1), graph.integer(self._config.max_distance), name="near")
        return graph.op("Add", near, graph.integer(1), name="distances")

    def _position_bias(self, name: str) -> str:
        """T5's bias, with what lies ahead masked."""
        table = decoder_table(self.blocks.weights.dense(name), max_distance=self._config.max_distance)
        rows = self.graph.constant(name, table)
        values = self.graph.op("Gather", rows, self._rows_seen, name=f"{name}.values")
        return self._attention.position_bias(self.graph, values, name=name)

    def _source_mask(self) -> str:
        """Masks what lies beyond each row's source."""
        graph = self.graph
        capacity = graph.op("Squeeze", graph.op("Shape", "cross_key.0", start=2, end=3), name="source_capacity")
        places = graph.op("Range", graph.integer(0), capacity, graph.integer(1), name="source_places")
        seen = graph.op("Less", places, graph.op("Unsqueeze", "source_lengths", graph.integers(1, 2, 3)), name="seen")
        mask = graph.op("Where", seen, graph.number(0.0), graph.number(float(MASKED)), name="unseen")
        return self._attention.source_mask(graph, mask, width=self._width)


def _head(blocks: Blocks, x: str, *, branch: bool) -> None:
    """From the last hidden states to the choice of tokens."""
    graph, config = blocks.graph, blocks.config
    factor = config.hidden_size**-0.5 if config.scaled_output else 1.0
    normed = blocks.norm(x, "decoder.final_norm", factor=factor)
    name = head_name(blocks.weights)
    shape = graph.op("Concat", graph.op("Shape", "token_ids"), graph.integers(-1), axis=0, name="logits_shape")
    logits = graph.op("Identity", blocks.products.logits(graph, normed, name, shape=shape), name="logits")
    best = graph.op("ArgMax", logits, axis=-1, keepdims=0, name="largest_logit")
    broken = _broken(graph, normed)
    graph.op("Where", broken, graph.integer(-1), best, name="best")
    count = min(TOP, config.vocabulary_size)
    outputs = ["top_logits", "top_ids", "log_sum_exp"]
    if not branch:
        graph.keep(helper.make_node("TopK", [logits, graph.integers(count)], outputs[:2], axis=-1, name="top"))
        graph.op("ReduceLogSumExp", logits, graph.integers(-1), keepdims=0, name="log_sum_exp")
        return
    ranked = _branch(graph, logits, count=count)
    graph.keep(helper.make_node("If", ["ranked"], outputs, then_branch=ranked, else_branch=_nothing(graph)))


def _broken(graph: GraphBuilder, hidden: str) -> str:
    """bool [rows, width]: whether a token's hidden state has a NaN or an infinity, which an arg-max doesn't show."""
    total = graph.op("ReduceSum", hidden, graph.integers(-1), keepdims=0, name="hidden_total")
    nothing = graph.op("Sub", total, total, name="zero_if_finite")
    return graph.op("Reshape", graph.op("IsNaN", nothing), graph.op("Shape", "token_ids"), name="broken")


def _branch(graph: GraphBuilder, logits: str, *, count: int) -> onnx.GraphProto:
    inner = GraphBuilder(graph, prefix="ranked.")
    values, ids = inner.ops("TopK", logits, graph.integers(count), outputs=2, axis=-1, name="top")
    total = inner.op("ReduceLogSumExp", logits, graph.integers(-1), keepdims=0, name="total")
    return inner.collected(
        "ranked", [], [tensor(values, FLOAT, None), tensor(ids, INT64, None), tensor(total, FLOAT, None)]
    )


def _nothing(graph: GraphBuilder) -> onnx.GraphProto:
    inner = GraphBuilder(graph, prefix="plain.")
    empty = graph.integers(0, 0, 0)
    none = numpy_helper.from_array(np.zeros(1, np.int64))
    values = inner.op("ConstantOfShape", empty, name="values")
    ids = inner.op("ConstantOfShape", empty, value=none, name="ids")
    total = inner.op("ConstantOfShape", graph.integers(0, 0), name="total")
    return inner.collected(
        "plain", [], [tensor(values, FLOAT, None), tensor(ids, INT64, None), tensor(total, FLOAT, None)]
    )


def _own_slots(config: T5Config, cache: int, *, prefix: str = "") -> list[onnx.ValueInfoProto]:
    names = [f"{prefix}self_{part}.{layer}" for layer in range(config.decoder_layers) for part in ("key", "value")]
    return [tensor(name, cache, ["rows", config.heads, "capacity", config.head_size]) for name in names]


def _inputs(config: T5Config, products: Products, *, branch: bool) -> list[onnx.ValueInfoProto]:
    return [
        tensor("token_ids", INT64, ["rows", "width"]),
        tensor("positions", INT64, ["rows"]),
        tensor("source_lengths", INT64, ["rows"]),
        *([tensor("ranked", BOOL, [])] if branch else []),
        *_own_slots(config, products.cache),
        *(slot for layer in range(config.decoder_layers) for slot in products.cross.slots(config, layer)),
    ]


def _outputs(config: T5Config, products: Products) -> list[onnx.ValueInfoProto]:
    return [
        tensor("best", INT64, ["rows", "width"]),
        tensor("top_ids", INT64, None),
        tensor("top_logits", FLOAT, None),
        tensor("log_sum_exp", FLOAT, None),
        tensor("logits", FLOAT, ["rows", "width", "vocabulary"]),
        *_own_slots(config, products.cache, prefix="present_"),
        *(slot for layer in range(config.decoder_layers) for slot in products.cross.written(config, layer)),
    ]
