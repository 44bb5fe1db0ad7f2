"""The weights of a T5 as plain arrays: what readers of checkpoints give and graph builders take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from rolecall_export.weights import Array

Activation = Literal["relu", "gelu_new", "gelu", "silu"]
"""Names as in transformers: gelu_new is the tanh approximation, gelu the exact one."""
_MOST_LAYERS = 1000
"""Of a stack. A damaged number is refused before the names of all its tensors fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Config:
    """The shape of a model of the T5 family (Raffel et al. 2020; v1.1, mT5, UMT5 and ByT5 differ in these facts only).

    `heads * head_size` need not be `hidden_size`. Attention scores are not scaled; norms have no mean and no shift.
    """

    vocabulary_size: int
    """Rows of the word table and logits of a step; often padded beyond what the tokenizer knows."""
    hidden_size: int
    head_size: int
    heads: int
    ffn_size: int
    encoder_layers: int
    decoder_layers: int
    gated: bool
    """Whether the FFN is ffn_out(activation(ffn_gate(x)) * ffn_in(x)); else it is ffn_out(activation(ffn_in(x)))."""
    activation: Activation
    eps: float
    buckets: int
    """Of relative distances: half of them for each direction in the encoder, all of them backwards in the decoder."""
    max_distance: int
    """From here on all distances share the last bucket."""
    scaled_output: bool
    """Whether the head is the word table: logits are then those of hidden * hidden_size ** -0.5."""
    layer_biases: bool
    """Whether every layer has its own relative biases (UMT5); else all layers of a stack add the same ones."""
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int

    def __post_init__(self) -> None:
        sizes = (self.vocabulary_size, self.hidden_size, self.head_size, self.heads, self.ffn_size)
        if min(*sizes, self.encoder_layers, self.decoder_layers) < 1:
            raise ValueError(f"sizes of a T5 are positive: {self}")
        if max(self.encoder_layers, self.decoder_layers) > _MOST_LAYERS:
            raise ValueError(f"more than {_MOST_LAYERS} layers")
        if not 0 <= self.eps < math.inf:
            raise ValueError(f"layer_norm_epsilon {self.eps} is no small positive number")
        # Half of a direction's buckets hold one distance each, so one direction needs two at least.
        if self.buckets < 4 or self.buckets % 2 or self.max_distance <= self.buckets // 2:
            raise ValueError(f"{self.buckets} buckets up to distance {self.max_distance} are not relative positions")
        if self.activation not in get_args(Activation):
            raise ValueError(f"activation {self.activation!r} is none of {', '.join(get_args(Activation))}")
        for token_id in (self.pad_token_id, self.eos_token_id, self.decoder_start_token_id):
            if not 0 <= token_id < self.vocabulary_size:
                raise ValueError(f"token id {token_id} is outside a vocabulary of {self.vocabulary_size}")

    @property
    def inner_size(self) -> int:
        """Width of queries, keys and values over all heads."""
        return self.heads * self.head_size


@dataclass(frozen=True, slots=True, eq=False)
class T5Weights:
    """All parameters of a T5 by name; `expected_shapes` lists them. Matrices are [out, in], there are no shifts.

    `shared` is the word table and, unless there is an `lm_head`, the head. In each layer `encoder.{i}.` has
    attention_norm, query, key, value, output, ffn_norm, ffn_in, ffn_gate (where gated) and ffn_out; `decoder.{i}.` has
    cross_norm, cross_query, cross_key, cross_value and cross_output beside them. `encoder.bias` and `decoder.bias`, or
    `encoder.{i}.bias` and `decoder.{i}.bias` with `layer_biases`, are [buckets, heads].
    """

    config: T5Config
    tensors: Mapping[str, Array]

    def __post_init__(self) -> None:
        for name, shape in expected_shapes(self.config):
            tensor = self.tensors.get(name)
            if tensor is None:
                raise ValueError(f"the checkpoint has no tensor {name!r}")
            if tensor.shape != shape:
                raise ValueError(f"tensor {name!r} is {tensor.shape}, expected {shape}")

    def dense(self, name: str) -> Array:
        """The tensor as float32; KeyError for an `lm_head` of a tied model."""
        return np.asarray(self.tensors[name], dtype=np.float32)


def expected_shapes(config: T5Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor that a T5 of this configuration has."""
    hidden = config.hidden_size
    yield "shared", (config.vocabulary_size, hidden)
    if not config.scaled_output:
        yield "lm_head", (config.vocabulary_size, hidden)
    for stack, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        if not config.layer_biases:
            yield f"{stack}.bias", (config.buckets, config.heads)
        for layer in range(layers):
            prefix = f"{stack}.{layer}"
            if config.layer_biases:
                yield f"{prefix}.bias", (config.buckets, config.heads)
            yield from _attention(config, f"{prefix}.", norm="attention_norm")
            if stack == "decoder":
                yield from _attention(config, f"{prefix}.cross_", norm="norm")
            yield f"{prefix}.ffn_norm", (hidden,)
            for name in ("ffn_in", "ffn_gate") if config.gated else ("ffn_in",):
                yield f"{prefix}.{name}", (config.ffn_size, hidden)
            yield f"{prefix}.ffn_out", (hidden, config.ffn_size)
        yield f"{stack}.final_norm", (hidden,)


def _attention(config: T5Config, prefix: str, *, norm: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}{norm}", (config.hidden_size,)
    for name in ("query", "key", "value"):
        yield f"{prefix}{name}", (config.inner_size, config.hidden_size)
    yield f"{prefix}output", (config.hidden_size, config.inner_size)
