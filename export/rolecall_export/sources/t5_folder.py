"""A T5 in Hugging Face form: its configuration and weights under our names. No torch, no transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rolecall_export.errors import ExportError
from rolecall_export.sources.tensors import read_tensors
from rolecall_export.t5_weights import T5Config, T5Weights, expected_shapes
from rolecall_export.weights import Array

MODEL_TYPES = ("t5", "mt5", "umt5")
"""v1.1, Flan-T5, ByT5 and mengzi-t5 are one of these."""
_UNTIED_BY_DEFAULT = ("mt5",)
_GATED_BY_DEFAULT = ("mt5", "umt5")
_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
_WORDS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""One table under three names; a file may hold any of them."""
_HEAD = "lm_head.weight"
_UNUSED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
"""Left in the original checkpoints by mistake: cross-attention has no positions."""


def load_weights(folder: Path) -> T5Weights:
    """Configuration and weights of the checkpoint in `folder`, of any member of the family.

    ExportError when it is no T5, has tensors that it should not have or lacks some, or can't be read.
    """
    config = read_config(folder)
    found = read_tensors(folder)
    names = dict(_names(config))
    words = next((name for name in _WORDS if name in found), _HEAD if config.scaled_output else _WORDS[0])
    names["shared"] = words
    missing = sorted(name for name in names.values() if name not in found)
    unexpected = sorted(set(found) - {*names.values(), *_WORDS, *_UNUSED, _HEAD})
    for problem, group in (("lacks", missing), ("has, beyond a T5 of its configuration,", unexpected)):
        if group:
            more = f" and {len(group) - 3} more" if len(group) > 3 else ""
            raise ExportError(f"the checkpoint {problem} {', '.join(group[:3])}{more}")
    tensors = {ours: found[theirs] for ours, theirs in names.items()}
    _require_finite(tensors)
    try:
        return T5Weights(config, tensors)
    except ValueError as error:
        raise ExportError(str(error)) from error


def read_config(folder: Path) -> T5Config:
    """What config.json and generation_config.json of a folder say, with the defaults of transformers."""
    raw = _json(folder / "config.json")
    kind = raw.get("model_type")
    if kind not in MODEL_TYPES:
        raise ExportError(f"model type {kind!r} is no T5 (only {', '.join(MODEL_TYPES)})")
    if raw.get("quantization_config"):
        raise ExportError("the checkpoint is quantized already; export the one that it was made of")
    gating, activation = _feed_forward(str(raw.get("feed_forward_proj") or _default_feed_forward(kind)))
    ids = _token_ids({**raw, **_json(folder / "generation_config.json", optional=True)})
    try:
        return T5Config(
            vocabulary_size=int(raw["vocab_size"]),
            hidden_size=int(raw["d_model"]),
            head_size=int(raw["d_kv"]),
            heads=int(raw["num_heads"]),
            ffn_size=int(raw["d_ff"]),
            encoder_layers=int(raw["num_layers"]),
            decoder_layers=int(raw.get("num_decoder_layers") or raw["num_layers"]),
            gated=gating,
            activation=activation,  # type: ignore[arg-type]  # checked by T5Config
            eps=float(raw.get("layer_norm_epsilon", 1e-6)),
            buckets=int(raw.get("relative_attention_num_buckets", 32)),
            max_distance=int(raw.get("relative_attention_max_distance", 128)),
            scaled_output=bool(raw.get("tie_word_embeddings", kind not in _UNTIED_BY_DEFAULT)),
            layer_biases=kind == "umt5",
            **ids,
        )
    except KeyError as error:
        raise ExportError(f"config.json does not say {error.args[0]}") from error
    except (TypeError, ValueError, OverflowError) as error:  # OverflowError: JSON's Infinity as a size
        raise ExportError(f"config.json can't be used: {error}") from error


def _default_feed_forward(kind: str) -> str:
    return "gated-gelu" if kind in _GATED_BY_DEFAULT else "relu"


def _feed_forward(text: str) -> tuple[bool, str]:
    """Whether it is gated, and the activation; "gated-gelu" alone means the tanh approximation."""
    if text == "gated-gelu":
        return True, "gelu_new"
    head, _, rest = text.partition("-")
    return (True, rest) if head == "gated" and rest else (False, text)


def _token_ids(raw: Mapping[str, Any]) -> dict[str, int]:
    """Padding, end and start; the family starts to write with padding where nothing else is said."""
    pad = _one(raw, "pad_token_id", 0)
    return {
        "pad_token_id": pad,
        "eos_token_id": _one(raw, "eos_token_id", 1),
        "decoder_start_token_id": _one(raw, "decoder_start_token_id", pad),
    }


def _one(raw: Mapping[str, Any], name: str, default: int) -> int:
    value = raw.get(name)
    values = value if isinstance(value, list) else [default if value is None else value]
    if len(values) != 1 or not isinstance(values[0], int):
        raise ExportError(f"{name} is {value!r}; one token id can be exported")
    return values[0]


def _names(config: T5Config) -> Iterator[tuple[str, str]]:
    """Our name and transformers' name of every tensor of this configuration."""
    for name, _ in expected_shapes(config):
        yield name, _their_name(name, config)


def _their_name(name: str, config: T5Config) -> str:
    if "." not in name:
        return f"{name}.weight"
    stack, _, rest = name.partition(".")
    if rest == "final_norm":
        return f"{stack}.final_layer_norm.weight"
    layer, _, part = (f"0.{rest}" if rest == "bias" else rest).partition(".")
    place = f"{stack}.block.{layer}.layer"
    feed_forward = 1 if stack == "encoder" else 2
    if part == "bias":
        return f"{place}.0.SelfAttention.relative_attention_bias.weight"
    if part in ("attention_norm", "cross_norm", "ffn_norm"):
        index = {"attention_norm": 0, "cross_norm": 1, "ffn_norm": feed_forward}[part]
        return f"{place}.{index}.layer_norm.weight"
    if part.startswith("ffn_"):
        inner = {"ffn_in": "wi_1" if config.gated else "wi", "ffn_gate": "wi_0", "ffn_out": "wo"}[part]
        return f"{place}.{feed_forward}.DenseReluDense.{inner}.weight"
    cross = part.startswith("cross_")
    matrix = _ATTENTION[part.removeprefix("cross_")]
    return f"{place}.{'1.EncDecAttention' if cross else '0.SelfAttention'}.{matrix}.weight"


def _require_finite(tensors: Mapping[str, Array]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.kind in "biuc":
            raise ExportError(f"tensor {name!r} of the checkpoint is {tensor.dtype}, not a floating-point type")
        if not np.isfinite(tensor.astype(np.float32, copy=False)).all():
            raise ExportError(f"tensor {name!r} of the checkpoint is not finite")


def _json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as error:
        if optional:
            return {}
        raise ExportError(f"folder {path.parent.name} has no {path.name}") from error
    except ValueError as error:
        raise ExportError(f"{path.name} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path.name} is damaged: not an object")
    return content
