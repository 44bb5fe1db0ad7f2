import json

import numpy as np
import pytest
from rolecall_export.weights import EncoderConfig, EncoderWeights, expected_shapes

from tests.requirements import require_module


@pytest.fixture
def weights():
    config = EncoderConfig(
        hidden_size=8,
        layers=2,
        heads=2,
        ffn_size=16,
        vocabulary_size=20,
        positions=12,
        types=2,
        eps=1e-12,
        pad_token_id=1,
    )
    generator = np.random.default_rng(0)
    tensors = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in expected_shapes(config)}
    return EncoderWeights(config, tensors)


def test_the_folder_is_a_bert_model_with_the_same_numbers(tmp_path, weights):
    require_module("safetensors")
    transformers = require_module("transformers")
    from rolecall_load.bench.checkpoint import write_folder

    write_folder(tmp_path, weights, tokenizer=b"{}")
    model, loading = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    assert np.array_equal(state["embeddings.word_embeddings.weight"], weights.dense("word"))
    assert np.array_equal(state["encoder.layer.1.output.dense.weight"], weights.dense("layers.1.ffn_out.weight"))
    assert np.array_equal(
        state["encoder.layer.0.attention.output.LayerNorm.bias"], weights.dense("layers.0.attention_norm.bias")
    )
    assert model.config.pad_token_id == 1


def test_pooling_is_the_mean_over_a_window_of_the_models_length(tmp_path, weights):
    require_module("safetensors")
    from rolecall_load.bench.checkpoint import write_folder

    write_folder(tmp_path, weights, tokenizer=b"{}")
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"] is True
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 12
