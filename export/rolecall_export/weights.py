"""The weights of a sentence encoder as plain arrays: what readers of checkpoints give and graph builders take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Q4_BLOCK = 32
"""Weights that share one scale in Q4_0."""
Q4_ZERO_POINT = 8
"""The nibble that stands for zero in Q4_0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The shape of a BERT-like encoder."""

    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    vocabulary_size: int
    positions: int
    """Rows of the position table; the longest text has `positions - position_offset` tokens."""
    types: int
    eps: float
    """Added to the variance in every layer normalization."""
    pad_token_id: int
    position_offset: int = 0
    """Row of the position table that the first token takes: 0 in BERT, pad + 1 in XLM-R."""

    def __post_init__(self) -> None:
        counts = (self.hidden_size, self.layers, self.heads, self.ffn_size, self.vocabulary_size, self.positions)
        if min(counts) < 1 or self.types < 0:
            raise ValueError(f"sizes of an encoder are positive: {self}")
        if self.hidden_size % self.heads:
            raise ValueError(f"{self.hidden_size} features do not divide into {self.heads} heads")
        if not 0 <= self.position_offset < self.positions:
            raise ValueError(f"position offset {self.position_offset} is outside a table of {self.positions} rows")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def max_tokens(self) -> int:
        """The longest input in tokens, special tokens included."""
        return self.positions - self.position_offset


@dataclass(frozen=True, slots=True, eq=False)
class Q4Matrix:
    """A [rows, columns] matrix in Q4_0: blocks of 32 weights along a row, value = (nibble - 8) * scale of the block.

    `packed` is uint8 [rows, blocks, 16], byte i of a block holding weight 2i in its low half and weight 2i + 1 in its
    high half (the order of ONNX Runtime's MatMulNBits); `scales` is float16 [rows, blocks].
    """

    packed: Array
    scales: Array

    def __post_init__(self) -> None:
        wanted = (*self.scales.shape, Q4_BLOCK // 2)
        if self.scales.ndim != 2 or self.packed.shape != wanted:
            raise ValueError(f"packed weights {self.packed.shape} do not fit scales {self.scales.shape}")
        if self.packed.dtype != np.uint8 or self.scales.dtype != np.float16:
            raise ValueError(f"Q4_0 is uint8 with float16 scales, not {self.packed.dtype} with {self.scales.dtype}")

    @classmethod
    def quantize(cls, matrix: Array) -> Q4Matrix:
        """Round a float32 [rows, columns] to Q4_0: the largest weight of a block, by magnitude, becomes -8 steps.

        A matrix that was dequantized from Q4_0 comes back unchanged, since its largest weights are -8 steps already.
        """
        rows, columns = matrix.shape
        if columns % Q4_BLOCK:
            raise ValueError(f"rows of {columns} weights do not divide into blocks of {Q4_BLOCK}")
        blocks = matrix.reshape(rows, columns // Q4_BLOCK, Q4_BLOCK)
        places = np.abs(blocks).argmax(axis=-1, keepdims=True)
        scales = (np.take_along_axis(blocks, places, axis=-1)[..., 0] / -Q4_ZERO_POINT).astype(np.float16)
        steps = scales.astype(np.float32)[..., None]
        nibbles = np.rint(np.divide(blocks, steps, out=np.zeros_like(blocks), where=steps != 0)) + Q4_ZERO_POINT
        nibbles = np.clip(nibbles, 0, 15).astype(np.uint8)
        return cls(nibbles[..., 0::2] | nibbles[..., 1::2] << 4, scales)

    @property
    def shape(self) -> tuple[int, int]:
        rows, blocks = self.scales.shape
        return rows, blocks * Q4_BLOCK

    def dequantize(self) -> Array:
        """The matrix as float32 [rows, columns]; exact, since 4 bits times a float16 fit a float32."""
        nibbles = np.stack([self.packed & 15, self.packed >> 4], axis=-1).reshape(*self.scales.shape, Q4_BLOCK)
        values = (nibbles.astype(np.int8) - np.int8(Q4_ZERO_POINT)).astype(np.float32)
        values *= self.scales.astype(np.float32)[:, :, None]
        return values.reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderWeights:
    """All parameters of an encoder by name, float32 arrays or Q4Matrix; matrices are [out, in].

    Names: `word` [vocabulary, hidden], `position` [positions, hidden], `type` [types, hidden] (absent when there are
    none), `embedding_norm.{weight,bias}`; in each layer `layers.N.{query,key,value,attention_output,ffn_in,ffn_out}.`
    and `layers.N.{attention_norm,ffn_norm}.`, each with `weight` and `bias`.
    """

    config: EncoderConfig
    tensors: Mapping[str, Array | Q4Matrix]

    def __post_init__(self) -> None:
        for name, shape in expected_shapes(self.config):
            tensor = self.tensors.get(name)
            if tensor is None:
                raise ValueError(f"the checkpoint has no tensor {name!r}")
            if tensor.shape != shape:
                raise ValueError(f"tensor {name!r} is {tensor.shape}, expected {shape}")

    def dense(self, name: str) -> Array:
        """The tensor as float32, dequantized where it is held in 4 bits."""
        tensor = self.tensors[name]
        return tensor.dequantize() if isinstance(tensor, Q4Matrix) else np.asarray(tensor, dtype=np.float32)


def expected_shapes(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor that an encoder of this configuration has."""
    hidden, ffn = config.hidden_size, config.ffn_size
    yield "word", (config.vocabulary_size, hidden)
    yield "position", (config.positions, hidden)
    if config.types:
        yield "type", (config.types, hidden)
    yield "embedding_norm.weight", (hidden,)
    yield "embedding_norm.bias", (hidden,)
    products = dict.fromkeys(("query", "key", "value", "attention_output"), (hidden, hidden))
    products |= {"ffn_in": (ffn, hidden), "ffn_out": (hidden, ffn)}
    for layer in range(config.layers):
        for name, shape in products.items():
            yield f"layers.{layer}.{name}.weight", shape
            yield f"layers.{layer}.{name}.bias", shape[:1]
        for name in ("attention_norm", "ffn_norm"):
            yield f"layers.{layer}.{name}.weight", (hidden,)
            yield f"layers.{layer}.{name}.bias", (hidden,)


def is_matrix(name: str) -> bool:
    """Whether a tensor is the weight of a product, [out, in]; the tables and vectors are not."""
    return name.startswith("layers.") and name.endswith(".weight") and "_norm." not in name
