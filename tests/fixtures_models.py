"""A tiny encoder as a valid model repository: tests of engine, batching and transport need no exported model.

The tokenizer has one token for each byte of the text, so it takes any text in any language. The graph looks each token
up in a random table, averages under the mask and normalises: texts with like characters get like embeddings, padding
changes nothing, and it runs in microseconds.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rolecall_server.engine.fake_tokenizer import PAD_TOKEN_ID, VOCABULARY_SIZE, byte_tokenizer

DIMENSIONS = 32
MAX_TOKENS = 512


def tiny_repository(
    path: Path,
    version: str = "1",
    *,
    name: str = "encoder",
    dimensions: int = DIMENSIONS,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Publish the tiny encoder as `path/<name>/<version>` and return `path`, the root of the repository.

    Call it again with another version for a second one. `seed` picks the weights; `manifest` replaces single fields.
    """
    folder = path / name / version
    folder.mkdir(parents=True)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    onnx.save(tiny_graph(dimensions=dimensions, seed=seed), str(folder / "model.onnx"))
    write_manifest(folder, {"dimensions": dimensions, "max_tokens": max_tokens, **(manifest or {})})
    return path


def tiny_graph(*, dimensions: int = DIMENSIONS, seed: int = 0) -> onnx.ModelProto:
    """input_ids, attention_mask int64 [batch, sequence] -> embedding float32 [batch, dimensions] of unit length."""
    weights = np.random.default_rng(seed).standard_normal((VOCABULARY_SIZE, dimensions))
    # Multiples of 1/1024: their sums are exact in float32, so padding and order of additions change no bit.
    table = (np.round(weights * 1024) / 1024).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
        helper.make_node("Mul", ["tokens", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "sequence_axis"], ["summed"], keepdims=0),
        helper.make_node("LpNormalization", ["summed"], ["embedding"], axis=-1, p=2),
    ]
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dimensions])
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "last_axis"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "sequence_axis"),
    ]
    graph = helper.make_graph(nodes, "tiny_encoder", ids, [out], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def write_manifest(folder: Path, fields: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of what lies in `folder` (`<name>/<version>`), hashes included; `fields` replaces entries."""
    files = {
        entry.name: {"sha256": hashlib.sha256(entry.read_bytes()).hexdigest(), "bytes": entry.stat().st_size}
        for entry in sorted(folder.iterdir())
        if entry.name != "manifest.json"
    }
    lines = "".join(f"{name} {entry['sha256']}\n" for name, entry in files.items())
    manifest = {
        "format": 1,
        "name": folder.parent.name,
        "family": "encoder",
        "version": folder.name,
        "preset": "cpu-fp32",
        "provider": "cpu",
        "source": "tests",
        "revision": "0",
        "licence": "Apache-2.0",
        "opset": 20,
        "dimensions": DIMENSIONS,
        "max_tokens": MAX_TOKENS,
        "vocabulary_size": VOCABULARY_SIZE,
        "pad_token_id": PAD_TOKEN_ID,
        "pooling": "mean",
        "prefixes": {"query": "query: ", "document": "passage: "},
        "languages": ["en", "zh"],
        "files": files,
        "weights_hash": hashlib.sha256(lines.encode()).hexdigest(),
        "measured": {"cosine_min_en": 1.0, "cosine_min_zh": 1.0},
        "tools": {"onnx": onnx.__version__},
        **(fields or {}),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf8")
