"""Biases that need no addition of their own, folded into their neighbours; the function computed stays the same."""

from __future__ import annotations

import numpy as np

from rolecall_export.weights import Array, EncoderWeights, Q4Matrix


def fold_biases(weights: EncoderWeights) -> EncoderWeights:
    """The same encoder with zero key, value and second feed-forward biases, which graphs then leave out.

    A key bias adds the same to all scores of a query, which softmax takes away again. A value bias passes through
    attention unchanged, since probabilities sum to one, and so joins the bias of the output product. The second
    feed-forward bias moves to the residual, that is, into the shift of the normalization before, whose other reader,
    the first feed-forward product, takes it back in its own bias.
    """
    tensors: dict[str, Array | Q4Matrix] = dict(weights.tensors)

    def matrix(name: str) -> Array:
        return weights.dense(name).astype(np.float64)

    for layer in range(weights.config.layers):
        prefix = f"layers.{layer}"
        value, ffn_out = matrix(f"{prefix}.value.bias"), matrix(f"{prefix}.ffn_out.bias")
        changed = {
            "key.bias": np.zeros_like(value),
            "value.bias": np.zeros_like(value),
            "attention_output.bias": matrix(f"{prefix}.attention_output.bias")
            + matrix(f"{prefix}.attention_output.weight") @ value,
            "attention_norm.bias": matrix(f"{prefix}.attention_norm.bias") + ffn_out,
            "ffn_in.bias": matrix(f"{prefix}.ffn_in.bias") - matrix(f"{prefix}.ffn_in.weight") @ ffn_out,
            "ffn_out.bias": np.zeros_like(ffn_out),
        }
        tensors |= {f"{prefix}.{name}": array.astype(np.float32) for name, array in changed.items()}
    return EncoderWeights(weights.config, tensors)
