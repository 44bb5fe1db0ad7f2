"""The float graph: against numpy, against transformers, and alone against batched."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rolecall_export.families.alone import text_by_text
from rolecall_export.families.encoder import FloatProducts as Floats
from rolecall_export.families.encoder import build, is_ours, rebuild, weights_of
from rolecall_export.families.folding import fold_biases
from rolecall_export.families.pooling import POOLINGS, append_pooling
from rolecall_export.quantization.convert import cpu_fp32, cpu_int4, cpu_int8, gpu_fp16, gpu_int8
from rolecall_export.weights import EncoderConfig, EncoderWeights

from tests.requirements import require_module
from tests.unit.export.random_encoder import CONFIG, Runner, cosines, random_texts, random_weights, reference

Conversion = Callable[[onnx.ModelProto], onnx.ModelProto]
TEXTS = random_texts(lengths=(2, 5, 17, 48, 31))


def expected(weights: EncoderWeights, texts: list[list[int]] = TEXTS, **options: object) -> np.ndarray:
    return np.stack([reference(weights, text, **options) for text in texts])  # type: ignore[arg-type]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("mean", False), ("cls", True), ("max", True)])
def test_equals_the_numpy_encoder(padded: bool, pooling: str, normalize: bool) -> None:
    weights = random_weights()
    run = Runner(build(weights, pooling=pooling, normalize=normalize, padded=padded))
    wanted = expected(weights, pooling=pooling, normalize=normalize)
    np.testing.assert_allclose(run(TEXTS), wanted, atol=5e-6)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, position_offset=2, positions=50),  # XLM-R
        replace(CONFIG, types=0),
        replace(CONFIG, heads=1, layers=1),
        replace(CONFIG, eps=1e-5),
    ],
)
def test_follows_the_configuration(config: EncoderConfig) -> None:
    weights = random_weights(3, config=config)
    np.testing.assert_allclose(Runner(build(weights))(TEXTS), expected(weights), atol=5e-6)


def test_equals_transformers() -> None:
    torch, transformers = require_module("torch"), require_module("transformers")
    weights = random_weights(1)
    c = weights.config
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=c.vocabulary_size,
            hidden_size=c.hidden_size,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            intermediate_size=c.ffn_size,
            max_position_embeddings=c.positions,
            type_vocab_size=c.types,
            layer_norm_eps=c.eps,
            pad_token_id=c.pad_token_id,
            attn_implementation="eager",
        ),
        add_pooling_layer=False,
    ).eval()
    model.load_state_dict({theirs: torch.from_numpy(weights.dense(ours)) for theirs, ours in _bert_names(c)})
    with torch.no_grad():
        hidden = [model(torch.tensor([text])).last_hidden_state[0].mean(0).numpy() for text in TEXTS]
    wanted = np.stack([vector / np.linalg.norm(vector) for vector in hidden])
    np.testing.assert_allclose(Runner(build(weights))(TEXTS), wanted, atol=2e-6)


def _bert_names(config: EncoderConfig) -> list[tuple[str, str]]:
    parts = {
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "attention_output",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "ffn_in",
        "output.dense": "ffn_out",
        "output.LayerNorm": "ffn_norm",
    }
    tables = {"word_embeddings": "word", "position_embeddings": "position", "token_type_embeddings": "type"}
    names = [(f"embeddings.{theirs}.weight", ours) for theirs, ours in tables.items()]
    names += [(f"embeddings.LayerNorm.{kind}", f"embedding_norm.{kind}") for kind in ("weight", "bias")]
    return names + [
        (f"encoder.layer.{layer}.{theirs}.{kind}", f"layers.{layer}.{ours}.{kind}")
        for layer in range(config.layers)
        for theirs, ours in parts.items()
        for kind in ("weight", "bias")
    ]


def test_neighbours_and_padding_change_nothing() -> None:
    run = Runner(build(random_weights()))
    alone = np.concatenate([run([text]) for text in TEXTS])
    for width in (0, 48, 200):
        np.testing.assert_array_equal(run(TEXTS, width=width), alone)
    np.testing.assert_array_equal(run(TEXTS[::-1])[::-1], alone)


def test_a_row_without_tokens_is_no_error() -> None:
    run = Runner(build(random_weights()))
    with_empty = run([TEXTS[0], [], TEXTS[1]])
    assert np.isfinite(with_empty).all()
    np.testing.assert_array_equal(with_empty[[0, 2]], run(TEXTS[:2]))


def test_folding_leaves_the_function_as_it_is() -> None:
    weights = random_weights(2)
    folded = fold_biases(weights)
    assert not folded.dense("layers.1.key.bias").any()
    assert not folded.dense("layers.1.ffn_out.bias").any()
    np.testing.assert_allclose(expected(folded), expected(weights), atol=1e-6)


def test_weights_come_back_out_of_the_graph() -> None:
    weights = random_weights(4, config=replace(CONFIG, position_offset=2, positions=50))
    model = build(weights, pooling="cls")
    assert is_ours(model)
    again = rebuild(model, Floats)
    np.testing.assert_array_equal(Runner(again)(TEXTS), Runner(model)(TEXTS))
    assert weights_of(model).config.max_tokens == weights.config.max_tokens


@pytest.mark.parametrize("tensor", ["word", "layers.1.ffn_in.bias"])
def test_weights_must_be_whole(tensor: str) -> None:
    weights = random_weights()
    with pytest.raises(ValueError, match="no tensor"):
        EncoderWeights(CONFIG, {name: value for name, value in weights.tensors.items() if name != tensor})
    with pytest.raises(ValueError, match="expected"):
        EncoderWeights(CONFIG, dict(weights.tensors) | {tensor: np.zeros((3, 3), np.float32)})


def _backbone() -> onnx.ModelProto:
    """A stand-in for somebody else's export: hidden states are rows of a table, times a matrix."""
    random = np.random.default_rng(0)
    table = onnx.numpy_helper.from_array(random.standard_normal((101, 64)).astype(np.float32), "table")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"], name="rows")]
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, 64])],
        [table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_appended_pooling(pooling: str) -> None:
    table = onnx.numpy_helper.to_array(_backbone().graph.initializer[0])
    kinds = {"mean": lambda rows: rows.mean(0), "cls": lambda rows: rows[0], "max": lambda rows: rows.max(0)}
    vectors = [kinds[pooling](table[text]) for text in TEXTS]
    run = Runner(append_pooling(_backbone(), pooling=pooling, normalize=False))
    np.testing.assert_allclose(run(TEXTS), vectors, atol=1e-6)
    unit = Runner(append_pooling(_backbone(), pooling=pooling, normalize=True))(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("convert", [cpu_fp32, gpu_fp16])
def test_largest_values_are_of_real_tokens_alone(convert: Conversion) -> None:
    """Tokens of negative coordinates: padding, whose row is 0 here, would win against them."""
    backbone = _backbone()
    table = -np.abs(onnx.numpy_helper.to_array(backbone.graph.initializer[0]))
    table[CONFIG.pad_token_id] = 0
    backbone.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "table"))
    run = Runner(convert(append_pooling(backbone, pooling="max", normalize=False)))
    np.testing.assert_allclose(run(TEXTS, width=60), [table[text].max(0) for text in TEXTS], rtol=1e-3)


@pytest.mark.parametrize("convert", [cpu_int8, cpu_int4, gpu_fp16, gpu_int8])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_survives_conversion(pooling: str, convert: Conversion) -> None:
    weights = random_weights(q4=True)
    found = Runner(convert(build(weights, pooling=pooling)))(TEXTS)
    assert cosines(found, Runner(build(weights, pooling=pooling))(TEXTS)).min() > 0.99


def test_pooling_needs_hidden_states_and_a_known_kind() -> None:
    with pytest.raises(ValueError, match="last_hidden_state"):
        append_pooling(build(random_weights()), pooling="mean", normalize=True)
    with pytest.raises(ValueError, match="pooling 'median'"):
        append_pooling(_backbone(), pooling="median", normalize=True)


def test_any_graph_can_run_text_by_text() -> None:
    padded = build(random_weights(), padded=True)
    plain, wrapped = Runner(padded), Runner(text_by_text(padded))
    alone = np.concatenate([plain([text]) for text in TEXTS])
    np.testing.assert_array_equal(wrapped(TEXTS, width=60), alone)
    np.testing.assert_array_equal(wrapped(TEXTS[2:3]), alone[2:3])
