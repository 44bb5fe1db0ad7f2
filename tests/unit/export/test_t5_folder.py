"""Weights of every member of the family, read without torch, against transformers' own."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rolecall_export.errors import ExportError
from rolecall_export.sources.t5_folder import load_weights, read_config

from tests.requirements import require_module
from tests.unit.export.random_t5 import FAMILIES, SIZES, write_t5


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not ...}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_of_every_family_comes_under_our_name(tmp_path: Path, family: str):
    state = {name: tensor.numpy() for name, tensor in write_t5(tmp_path, family).state_dict().items()}
    weights = load_weights(tmp_path)
    gated = "gated" in FAMILIES[family].get("feed_forward_proj", "gated" if family in ("mt5", "umt5") else "relu")
    pairs = {
        "shared": "shared",
        "encoder.0.query": "encoder.block.0.layer.0.SelfAttention.q",
        "encoder.0.ffn_out": "encoder.block.0.layer.1.DenseReluDense.wo",
        "encoder.0.ffn_in": f"encoder.block.0.layer.1.DenseReluDense.{'wi_1' if gated else 'wi'}",
        "encoder.0.ffn_norm": "encoder.block.0.layer.1.layer_norm",
        "encoder.final_norm": "encoder.final_layer_norm",
        "decoder.0.output": "decoder.block.0.layer.0.SelfAttention.o",
        "decoder.0.cross_norm": "decoder.block.0.layer.1.layer_norm",
        "decoder.0.cross_value": "decoder.block.0.layer.1.EncDecAttention.v",
        "decoder.0.ffn_norm": "decoder.block.0.layer.2.layer_norm",
        ("decoder.0.bias" if family == "umt5" else "decoder.bias"): (
            "decoder.block.0.layer.0.SelfAttention.relative_attention_bias"
        ),
    }
    if gated:
        pairs["decoder.0.ffn_gate"] = "decoder.block.0.layer.2.DenseReluDense.wi_0"
    if not weights.config.scaled_output:
        pairs["lm_head"] = "lm_head"
    for ours, theirs in pairs.items():
        assert np.array_equal(weights.dense(ours), state[f"{theirs}.weight"]), ours
    # Every parameter once: what transformers counts without its tied copies.
    tied = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    tied |= {"lm_head.weight"} if weights.config.scaled_output else set()
    wanted = sum(tensor.size for name, tensor in state.items() if name not in tied)
    assert sum(tensor.size for tensor in weights.tensors.values()) == wanted


def test_what_the_configuration_leaves_out_is_what_transformers_takes(tmp_path: Path):
    write_t5(tmp_path, "t5")
    config = read_config(tmp_path)
    assert (config.gated, config.activation, config.scaled_output) == (False, "relu", True)
    left_out = ("feed_forward_proj", "tie_word_embeddings", "layer_norm_epsilon", "num_decoder_layers")
    change_config(tmp_path, **dict.fromkeys(left_out, ...))
    again = read_config(tmp_path)
    assert (again.gated, again.activation, again.scaled_output, again.eps) == (False, "relu", True, 1e-6)
    assert again.decoder_layers == SIZES["num_layers"]
    change_config(tmp_path, model_type="mt5")
    assert (read_config(tmp_path).activation, read_config(tmp_path).scaled_output) == ("gelu_new", False)


def test_sharded_bfloat16_is_read(tmp_path: Path):
    model = write_t5(tmp_path, "t5-v1.1", dtype="bfloat16", shards="40kB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    weights = load_weights(tmp_path)
    assert np.array_equal(
        weights.dense("decoder.2.query"), model.decoder.block[2].layer[0].SelfAttention.q.weight.detach()
    )
    assert weights.dense("shared").dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pickled_weights_are_read_through_torch(tmp_path: Path, dtype: str):
    torch = require_module("torch")
    model = write_t5(tmp_path, "t5", dtype=dtype)
    (tmp_path / "model.safetensors").unlink()
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in model.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert np.array_equal(load_weights(tmp_path).dense("shared"), model.shared.weight.detach())


def test_a_pickle_that_is_none_is_one_line(tmp_path: Path):
    torch = require_module("torch")
    write_t5(tmp_path, "t5")
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    for damaged in (b"abc", b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"):
        path.write_bytes(damaged)
        with pytest.raises(ExportError, match=r"pytorch_model.bin can't be read: \S") as error:
            load_weights(tmp_path)
        assert "\n" not in str(error.value)
    for other in ([torch.zeros(1)], {"shared.weight": 3}):
        torch.save(other, path)
        with pytest.raises(ExportError, match=r"something other than tensors by name"):
            load_weights(tmp_path)


def test_safetensors_need_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_t5(tmp_path, "t5")
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    load_weights(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ExportError, match="needs torch"):
        load_weights(tmp_path)


def rewrite(folder: Path, change: Any) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_the_word_table_goes_by_several_names(tmp_path: Path):
    write_t5(tmp_path, "t5")
    expected = load_weights(tmp_path).dense("shared")
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    for old, new in pairwise(names):
        rewrite(tmp_path, lambda tensors, old=old, new=new: tensors.update({new: tensors.pop(old)}))
        assert np.array_equal(load_weights(tmp_path).dense("shared"), expected)


def test_what_is_missing_or_too_much_is_named(tmp_path: Path):
    write_t5(tmp_path, "t5")
    query = "decoder.block.1.layer.0.SelfAttention.q.weight"
    rewrite(tmp_path, lambda tensors: tensors.pop(query))
    with pytest.raises(ExportError, match=f"lacks {query}"):
        load_weights(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({query: np.zeros((18, 31), np.float32)}))
    with pytest.raises(ExportError, match=r"'decoder.1.query' is \(18, 31\), expected \(18, 32\)"):
        load_weights(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({query: np.full((18, 32), np.nan, np.float32)}))
    with pytest.raises(ExportError, match=r"'decoder.1.query' of the checkpoint is not finite"):
        load_weights(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({query: np.zeros((18, 32), np.int8)}))
    with pytest.raises(ExportError, match=r"'decoder.1.query' of the checkpoint is int8, not a floating-point type"):
        load_weights(tmp_path)
    adapter = "decoder.block.0.adapter.weight"
    rewrite(tmp_path, lambda tensors: tensors.update({adapter: np.zeros(1, np.float32)}))
    with pytest.raises(ExportError, match=f"beyond a T5 of its configuration, {adapter}"):
        load_weights(tmp_path)


def test_the_leftover_of_the_first_checkpoints_is_ignored(tmp_path: Path):
    write_t5(tmp_path, "t5")
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    rewrite(tmp_path, lambda tensors: tensors.update({name: np.zeros((32, 3), np.float32)}))
    load_weights(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, "model type 'bert' is no T5"),
        ({"model_type": ...}, "model type None is no T5"),
        ({"d_kv": ...}, "does not say d_kv"),
        ({"d_kv": "wide"}, "config.json can't be used"),
        ({"num_heads": 0}, "sizes of a T5 are positive"),
        ({"feed_forward_proj": "gated-tanh"}, "activation 'tanh' is none of"),
        ({"relative_attention_num_buckets": 3}, "are not relative positions"),
        ({"quantization_config": {"bits": 8}}, "quantized already"),
        ({"pad_token_id": 400}, "token id 400 is outside"),
        ({"num_layers": float("inf")}, "config.json can't be used: cannot convert float infinity"),
        ({"num_decoder_layers": 100_000}, "more than 1000 layers"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon nan is no"),
        ({"layer_norm_epsilon": -1e-6}, "layer_norm_epsilon -1e-06 is no"),
    ],
)
def test_a_configuration_that_can_t_be_used_is_one_line(tmp_path: Path, fields: dict[str, Any], message: str):
    write_t5(tmp_path, "t5")
    (tmp_path / "generation_config.json").unlink()
    change_config(tmp_path, **fields)
    with pytest.raises(ExportError, match=message) as error:
        load_weights(tmp_path)
    assert "\n" not in str(error.value)


def test_the_generation_config_wins_and_names_one_end(tmp_path: Path):
    write_t5(tmp_path, "t5")
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": [7], "decoder_start_token_id": 3}))
    config = read_config(tmp_path)
    assert (config.eos_token_id, config.decoder_start_token_id, config.pad_token_id) == (7, 3, 0)
    path.write_text(json.dumps({"eos_token_id": [7, 8]}))
    with pytest.raises(ExportError, match=r"eos_token_id is \[7, 8\]"):
        read_config(tmp_path)


def test_damaged_files_are_one_line(tmp_path: Path):
    write_t5(tmp_path, "t5")
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(ExportError, match=r"model.safetensors can't be read"):
        load_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="holds no weights"):
        load_weights(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ExportError, match=r"config.json is damaged"):
        load_weights(tmp_path)
