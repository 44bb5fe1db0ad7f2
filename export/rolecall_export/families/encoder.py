"""The float graph of a BERT-like sentence encoder, straight from arrays.

On a CPU padding is taken out at the entrance: all real tokens of a batch lie one after the other in [1, tokens,
hidden], so nothing is computed for padding, and no row knows which batch it is in. Only attention and pooling look at
more than one token; they run text by text, on exactly the tokens of that text. So an embedding cannot depend on its
neighbours or on the padding, whatever the kernels do inside. A GPU gets the usual padded tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rolecall_export.families.folding import fold_biases
from rolecall_export.families.graph import FLOAT, INT64, GraphBuilder, tensor
from rolecall_export.families.layout import Layout, PackedTokens, PaddedTokens
from rolecall_export.families.pooling import Pooling
from rolecall_export.weights import Array, EncoderConfig, EncoderWeights, expected_shapes, is_matrix

RECIPE = "rolecall.encoder"
"""Key under which a float graph says how to build it again."""
_INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An activation as products read it, [..., in]: a value of the graph and, quantized, what belongs to it."""

    value: str
    scale: str = ""
    """Float32, one for each token."""
    zero_point: str = ""


class Products(Protocol):
    """How matrix products with constant weights and look-ups in the word table are computed."""

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        """Rows of the word table for int64 [...]: float32 [..., hidden]."""
        ...

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        """Get float32 hidden states [..., in] ready for the products that read them."""
        ...

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        """x @ weight.T + bias of the tensors `name`.weight and `name`.bias, [..., out], in the products' own type."""
        ...

    def finish(self, graph: GraphBuilder, y: str) -> str:
        """A product's result as float32, for the residual."""
        ...


class FloatProducts:
    """Everything in float32."""

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights

    def words(self, graph: GraphBuilder, token_ids: str) -> str:
        return graph.op("Gather", graph.constant("word", self._weights.dense("word")), token_ids, name="words")

    def prepare(self, graph: GraphBuilder, x: str, *, after_gelu: bool = False) -> Activation:
        return Activation(value=x)

    def product(self, graph: GraphBuilder, x: Activation, *, name: str) -> str:
        weight = np.ascontiguousarray(self._weights.dense(f"{name}.weight").T)
        y = graph.op("MatMul", x.value, graph.constant(f"{name}.weight", weight), name=f"{name}.product")
        return biased(graph, y, bias=self._weights.dense(f"{name}.bias"), name=name)

    def finish(self, graph: GraphBuilder, y: str) -> str:
        return y


def biased(graph: GraphBuilder, y: str, *, bias: Array, name: str) -> str:
    """y + bias; nothing at all where the bias is zero."""
    return graph.op("Add", y, graph.constant(f"{name}.bias", bias), name=name) if bias.any() else y


def build(
    weights: EncoderWeights,
    *,
    pooling: str = "mean",
    normalize: bool = True,
    products: Callable[[EncoderWeights], Products] = FloatProducts,
    padded: bool = False,
) -> onnx.ModelProto:
    """The graph from input_ids and attention_mask, int64 [batch, sequence], to embedding, float32 [batch, hidden].

    Padding is at the right. `pooling` is one of POOLINGS; embeddings get unit length with `normalize`. `products` says
    how products are computed; the float graph can be built again in another way (`rebuild`). `padded` is for GPUs.
    Method: Devlin et al. 2018 (post-norm encoder), Reimers and Gurevych 2019 (pooling).
    """
    weights = fold_biases(weights)
    computed = products(weights)
    graph = GraphBuilder()
    tokens: Layout = (PaddedTokens if padded else PackedTokens)(graph, input_ids=_INPUTS[0], attention_mask=_INPUTS[1])
    x = _embeddings(graph, weights, tokens=tokens, products=computed)
    for layer in range(weights.config.layers):
        x = _layer(graph, x, prefix=f"layers.{layer}", weights=weights, tokens=tokens, products=computed)
    graph.op("Identity", tokens.pool(x, Pooling(kind=pooling, normalize=normalize)), name="embedding")
    model = graph.model(
        "encoder",
        [tensor(name, INT64, ["batch", "sequence"]) for name in _INPUTS],
        [tensor("embedding", FLOAT, ["batch", weights.config.hidden_size])],
    )
    if products is FloatProducts:
        recipe = {"config": asdict(weights.config), "pooling": pooling, "normalize": normalize}
        helper.set_model_props(model, {RECIPE: json.dumps(recipe)})
    return model


def is_ours(model: onnx.ModelProto) -> bool:
    """Whether this is a float graph by `build`, which `rebuild` can build again in another way."""
    return any(entry.key == RECIPE for entry in model.metadata_props)


def weights_of(model: onnx.ModelProto) -> EncoderWeights:
    """The weights out of a float graph by `build`. Token types are part of the position table by then."""
    recipe = _recipe(model)
    arrays = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    config = EncoderConfig(**recipe["config"])
    merged = replace(config, types=0, position_offset=0, positions=config.max_tokens)
    tensors = {}
    for name, shape in expected_shapes(merged):
        array = arrays.get(name, np.zeros(shape, np.float32))  # zero biases are not in the graph
        tensors[name] = array.T if is_matrix(name) else array
    return EncoderWeights(merged, tensors)


def rebuild(
    model: onnx.ModelProto, products: Callable[[EncoderWeights], Products], *, padded: bool = False
) -> onnx.ModelProto:
    """The graph that `build` gave, built again with other products or in the other layout."""
    recipe = _recipe(model)
    return build(
        weights_of(model),
        pooling=str(recipe["pooling"]),
        normalize=bool(recipe["normalize"]),
        products=products,
        padded=padded,
    )


def _recipe(model: onnx.ModelProto) -> dict[str, Any]:
    for entry in model.metadata_props:
        if entry.key == RECIPE:
            return dict(json.loads(entry.value))
    raise ValueError("not a float graph of this exporter")


def _embeddings(graph: GraphBuilder, weights: EncoderWeights, *, tokens: Layout, products: Products) -> str:
    """Sum of word, position and type rows, normalized."""
    config = weights.config
    table = weights.dense("position")[config.position_offset :]
    if config.types:
        table = table + weights.dense("type")[0]  # one sentence: every token is of the first type
    places = graph.op("Gather", graph.constant("position", table), tokens.positions, name="position_rows")
    rows = graph.op("Add", products.words(graph, tokens.token_ids), places, name="rows")
    return _normalization(graph, tokens.enter(rows), weights=weights, name="embedding_norm")


def _layer(
    graph: GraphBuilder, x: str, *, prefix: str, weights: EncoderWeights, tokens: Layout, products: Products
) -> str:
    ready = products.prepare(graph, x)
    parts = [products.product(graph, ready, name=f"{prefix}.{part}") for part in ("query", "key", "value")]
    context = tokens.attention(parts, heads=weights.config.heads, name=f"{prefix}.attention")
    y = products.product(graph, products.prepare(graph, context), name=f"{prefix}.attention_output")
    x = _residual(graph, x, products.finish(graph, y), weights=weights, name=f"{prefix}.attention_norm")
    hidden = products.product(graph, products.prepare(graph, x), name=f"{prefix}.ffn_in")
    ready = products.prepare(graph, graph.op("Gelu", hidden, name=f"{prefix}.gelu"), after_gelu=True)
    y = products.product(graph, ready, name=f"{prefix}.ffn_out")
    return _residual(graph, x, products.finish(graph, y), weights=weights, name=f"{prefix}.ffn_norm")


def _residual(graph: GraphBuilder, x: str, y: str, *, weights: EncoderWeights, name: str) -> str:
    """x + y, normalized. `Sum`, since ONNX Runtime makes Add and LayerNormalization one CPU kernel 6 times as slow."""
    return _normalization(graph, graph.op("Sum", x, y, name=f"{name}.sum"), weights=weights, name=name)


def _normalization(graph: GraphBuilder, x: str, *, weights: EncoderWeights, name: str) -> str:
    scale = graph.constant(f"{name}.weight", weights.dense(f"{name}.weight"))
    shift = graph.constant(f"{name}.bias", weights.dense(f"{name}.bias"))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=weights.config.eps, name=name)
