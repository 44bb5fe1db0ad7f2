"""Graphs that share one file of weights."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from rolecall_export import external_data
from rolecall_export.errors import ExportError
from rolecall_export.external_data import ALIGNMENT, save_shared
from rolecall_export.families.graph import BOOL, FLOAT, GraphBuilder, tensor

RANDOM = np.random.default_rng(0)
SHARED, OWN, INNER = (RANDOM.standard_normal((32, 32)).astype(np.float32) for _ in range(3))


def product(matrix: np.ndarray, name: str) -> onnx.ModelProto:
    graph = GraphBuilder()
    first = graph.op("MatMul", "x", graph.constant(name, matrix))
    second = graph.op("MatMul", first, graph.constant("own", OWN))
    graph.op("Add", second, graph.number(1.0), name="y")
    return graph.model("product", [tensor("x", FLOAT, ["n", 32])], [tensor("y", FLOAT, ["n", 32])])


def branching() -> onnx.ModelProto:
    """A graph with a large constant in the body of an If."""
    body = GraphBuilder(prefix="body.")
    out = body.op("MatMul", "x", body.constant("inner", INNER))
    other = GraphBuilder(prefix="other.")
    same = other.op("Identity", "x")
    graph = GraphBuilder()
    branches = {
        "then_branch": body.collected("body", [], [tensor(out, FLOAT, None)]),
        "else_branch": other.collected("other", [], [tensor(same, FLOAT, None)]),
    }
    graph.op("If", "flag", name="y", **branches)
    inputs = [tensor("x", FLOAT, ["n", 32]), tensor("flag", BOOL, [])]
    return graph.model("branching", inputs, [tensor("y", FLOAT, ["n", 32])])


def run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], inputs)[0])


def test_what_is_the_same_is_stored_once_and_every_graph_runs(tmp_path: Path):
    models = {"a.onnx": product(SHARED, "a"), "b.onnx": product(SHARED.copy(), "b"), "c.onnx": branching()}
    save_shared(models, tmp_path, weights="weights.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "c.onnx", "weights.bin"]
    assert (tmp_path / "weights.bin").stat().st_size == 3 * SHARED.nbytes
    assert all((tmp_path / name).stat().st_size < SHARED.nbytes for name in models)
    x = RANDOM.standard_normal((2, 32)).astype(np.float32)
    for name in ("a.onnx", "b.onnx"):
        np.testing.assert_allclose(run(tmp_path / name, x=x), x @ SHARED @ OWN + 1, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(tmp_path / "c.onnx", x=x, flag=np.array(True)), x @ INNER, rtol=1e-4, atol=1e-4)


def test_tensors_begin_on_pages_and_small_ones_stay(tmp_path: Path):
    odd = np.ones((32, 33), np.float32)  # ends within a page
    models = {"a.onnx": product(odd, "a"), "b.onnx": product(SHARED, "b")}
    save_shared(models, tmp_path, weights="weights.bin")
    model = onnx.load(tmp_path / "b.onnx", load_external_data=False)
    places = {each.name: {e.key: e.value for e in each.external_data} for each in model.graph.initializer}
    assert all(int(place["offset"]) % ALIGNMENT == 0 for place in places.values() if place)
    small = next(each for each in model.graph.initializer if not each.external_data)
    assert numpy_helper.to_array(small) == np.float32(1)
    assert places["b"]["location"] == "weights.bin"


def test_the_same_models_give_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_shared({"a.onnx": product(SHARED, "a")}, tmp_path / name, weights="weights.bin")
    for file in ("a.onnx", "weights.bin"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_graph_beyond_one_message_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(external_data, "_PROTOBUF_LIMIT", 100)
    with pytest.raises(ExportError, match=r"a.onnx does not fit one protobuf message"):
        save_shared({"a.onnx": product(SHARED, "a")}, tmp_path, weights="weights.bin")
