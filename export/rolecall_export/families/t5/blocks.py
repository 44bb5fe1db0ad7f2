"""What encoder and decoder layers of a T5 have in common. Method: Raffel et al. 2020; v1.1 and later: gated blocks."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.graph import GraphBuilder
from rolecall_export.families.t5.products import Products
from rolecall_export.t5_weights import T5Config, T5Weights

_ACTIVATIONS = {"relu": ("Relu", {}), "gelu": ("Gelu", {}), "gelu_new": ("Gelu", {"approximate": "tanh"})}


class Blocks:
    """Adds norms and feed-forward blocks to a graph; hidden states are float32 [1, tokens, hidden]."""

    def __init__(self, graph: GraphBuilder, weights: T5Weights, products: Products) -> None:
        self.graph = graph
        self.weights = weights
        self.products = products

    @property
    def config(self) -> T5Config:
        return self.weights.config

    def norm(self, x: str, name: str, *, factor: float = 1.0) -> str:
        """Root mean square normalization, times `factor`."""
        scale = self.graph.constant(name, self.weights.dense(name) * np.float32(factor))
        return self.graph.op(
            "SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=self.config.eps, stash_type=1, name=f"{name}.out"
        )

    def add(self, x: str, y: str) -> str:
        """The hidden states and what a block adds to them."""
        return self.graph.op("Add", x, self.products.residual(self.graph, y), name="hidden")

    def feed_forward(self, x: str, prefix: str) -> str:
        """A layer's last block, plain or gated, with its residual."""
        graph, products = self.graph, self.products
        ready = products.prepare(graph, self.norm(x, f"{prefix}.ffn_norm"))
        if self.config.gated:
            gate = self._activated(products.product(graph, ready, f"{prefix}.ffn_gate"), prefix)
            hidden = graph.op("Mul", gate, products.product(graph, ready, f"{prefix}.ffn_in"), name=f"{prefix}.gated")
        else:
            hidden = self._activated(products.product(graph, ready, f"{prefix}.ffn_in"), prefix)
        positive = self.config.activation == "relu" and not self.config.gated
        y = products.down(graph, hidden, f"{prefix}.ffn_out", positive=positive)
        return graph.op("Add", x, y, name="hidden")

    def _activated(self, x: str, prefix: str) -> str:
        if self.config.activation == "silu":
            return self.graph.op("Mul", x, self.graph.op("Sigmoid", x), name=f"{prefix}.activated")
        kind, attributes = _ACTIVATIONS[self.config.activation]
        return self.graph.op(kind, x, name=f"{prefix}.activated", **attributes)
