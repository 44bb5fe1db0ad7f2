"""The presets on small random encoders: close to the float model, and the same in every batch."""

import numpy as np
import onnx
import pytest
from rolecall_export.families.encoder import build
from rolecall_export.families.graph import FLOAT, INT64, GraphBuilder, tensor
from rolecall_export.presets import DEFAULT, PRESETS
from rolecall_export.quantization.blocks import eight_bits
from rolecall_export.quantization.fp16 import half
from rolecall_export.quantization.per_token import TokenRounding, symmetric
from rolecall_export.quantization.rewrite import four_bits, rewrite_products
from rolecall_export.quantization.tables import compact_rows
from rolecall_export.weights import Q4Matrix

from tests.unit.export.random_encoder import CONFIG, Runner, cosines, random_texts, random_weights

TEXTS = random_texts(lengths=(2, 3, 16, 17, 48, 31, 32, 5))
CPU = sorted(name for name, preset in PRESETS.items() if preset.provider == "cpu")
LEAST_COSINE = {"cpu-fp32": 0.999999, "cpu-int8": 0.995, "cpu-int4": 0.999999, "gpu-fp16": 0.9999, "gpu-int8": 0.998}


def model(*, foreign: bool) -> onnx.ModelProto:
    """A Q4_0 encoder; `foreign` makes it look like the export of somebody else."""
    graph = build(random_weights(q4=True), padded=foreign)
    if foreign:
        del graph.metadata_props[:]
    return graph


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_close_to_the_float_model(name: str, foreign: bool) -> None:
    exact = Runner(model(foreign=False))(TEXTS)
    converted = Runner(PRESETS[name].convert(model(foreign=foreign)))(TEXTS)
    assert cosines(exact, converted).min() >= LEAST_COSINE[name]
    np.testing.assert_allclose(np.linalg.norm(converted, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("threads", [1, 2])
def test_neighbours_and_padding_change_nothing(name: str, foreign: bool, threads: int) -> None:
    run = Runner(PRESETS[name].convert(model(foreign=foreign)), threads=threads)
    alone = np.concatenate([run([text]) for text in TEXTS])
    random = np.random.default_rng(5)
    for width in (0, 48, 48, 48):
        chosen = random.integers(0, len(TEXTS), 9)
        np.testing.assert_array_equal(run([TEXTS[index] for index in chosen], width=width), alone[chosen])


@pytest.mark.parametrize("name", CPU)
def test_a_single_token_stays_within_the_order_of_additions(name: str) -> None:
    run = Runner(PRESETS[name].convert(model(foreign=False)))
    np.testing.assert_allclose(run([TEXTS[4], [9]])[1], run([[9]])[0], atol=PRESETS[name].tolerance.alone_vs_batched)


def test_default_is_a_cpu_preset_that_promises_invariance() -> None:
    assert PRESETS[DEFAULT].provider == "cpu"
    assert PRESETS[DEFAULT].tolerance.alone_vs_batched == 0


def test_int8_graph_holds_no_large_float_matrix() -> None:
    converted = PRESETS["cpu-int8"].convert(model(foreign=False))
    largest = max(np.prod(c.dims) for c in converted.graph.initializer if c.data_type == onnx.TensorProto.FLOAT)
    assert largest == CONFIG.positions * CONFIG.hidden_size


def test_q4_comes_back_unchanged() -> None:
    matrix = Q4Matrix.quantize(np.random.default_rng(0).standard_normal((37, 96)).astype(np.float32))
    again = Q4Matrix.quantize(matrix.dequantize())
    np.testing.assert_array_equal(again.packed, matrix.packed)
    np.testing.assert_array_equal(again.scales, matrix.scales)


def test_q4_errs_by_one_step_at_most_and_keeps_zeros() -> None:
    dense = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    dense[3] = 0
    matrix = Q4Matrix.quantize(dense)
    steps = np.abs(matrix.scales.astype(np.float32)).repeat(32, axis=1)
    assert (np.abs(matrix.dequantize() - dense) <= steps * 1.01).all()
    assert not matrix.dequantize()[3].any()


def test_q4_refuses_odd_shapes() -> None:
    with pytest.raises(ValueError, match="blocks of 32"):
        Q4Matrix.quantize(np.zeros((2, 40), np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        Q4Matrix(np.zeros((2, 2, 15), np.uint8), np.zeros((2, 2), np.float16))
    with pytest.raises(ValueError, match="uint8"):
        Q4Matrix(np.zeros((2, 2, 16), np.int8), np.zeros((2, 2), np.float16))


@pytest.mark.parametrize(("exact", "error"), [(True, 0.0), (False, 0.02)])
def test_compact_table(exact: bool, error: float) -> None:
    table = np.random.default_rng(2).standard_normal((50, 64)).astype(np.float32)
    if exact:
        table = Q4Matrix.quantize(table).dequantize()
    graph = GraphBuilder()
    rows = compact_rows(graph, "input_ids", table=table, name="table")
    graph.op("Identity", graph.op("ReduceSum", rows, graph.integers(1), keepdims=0), name="embedding")
    inputs = [tensor(name, INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
    run = Runner(graph.model("table", inputs, [tensor("embedding", FLOAT, ["batch", 64])]))
    np.testing.assert_allclose(run([[7], [49], [0]]), table[[7, 49, 0]], atol=error)


def test_symmetric_rounding() -> None:
    matrix = np.array([[1.27, 0.0, -3.0], [-0.635, 0.0, 1.5]], np.float32)
    values, scales = symmetric(matrix)
    np.testing.assert_array_equal(values, [[127, 0, -127], [-64, 0, 64]])
    np.testing.assert_allclose(values * scales, matrix, atol=0.02)


def test_eight_bit_blocks() -> None:
    matrix = np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32)
    matrix[2, 32:] = 0
    values, scales = eight_bits(matrix, block=32)
    back = (values.astype(np.float32) - 128).reshape(5, 2, 32) * scales[..., None]
    np.testing.assert_allclose(back.reshape(5, 64), matrix, atol=float(np.abs(matrix).max()) / 200)
    with pytest.raises(ValueError, match="blocks of 32"):
        eight_bits(np.zeros((2, 40), np.float32), block=32)


def test_half_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="'big' does not fit"):
        half(np.array([1e5], np.float32), name="big")


def test_rewriting_needs_a_product() -> None:
    graph = GraphBuilder()
    graph.op("Identity", "input_ids", name="embedding")
    inputs = [tensor("input_ids", INT64, ["batch", "sequence"])]
    with pytest.raises(ValueError, match="no product"):
        rewrite_products(graph.model("empty", inputs, [tensor("embedding", INT64, None)]), four_bits)


@pytest.mark.parametrize("after_gelu", [False, True])
def test_token_rounding_errs_by_half_a_step(after_gelu: bool) -> None:
    import onnxruntime

    graph = GraphBuilder()
    rounded = TokenRounding().round(graph, "x", after_gelu=after_gelu)
    back = graph.op("Cast", rounded.value, to=FLOAT)
    zero = graph.op("Cast", rounded.zero_point, to=FLOAT)
    y = graph.op("Mul", graph.op("Sub", back, zero), rounded.scale, name="y")
    shape = [1, "tokens", 64]
    built = graph.model(
        "rounding", [tensor("x", FLOAT, shape)], [tensor(y, FLOAT, shape), tensor(rounded.scale, FLOAT, None)]
    )
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(6).standard_normal((1, 30, 64)).astype(np.float32) * np.geomspace(0.1, 60, 30)[
        None, :, None
    ].astype(np.float32)
    if after_gelu:
        x = np.maximum(x, -0.17)
    x[0, 4] = 0
    got, scale = session.run(None, {"x": x})
    assert (np.abs(got - x) <= scale * 0.5001).all()
