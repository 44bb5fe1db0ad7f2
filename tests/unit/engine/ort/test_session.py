import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.session import OrtSession
from rolecall_server.errors import EngineError
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey

from tests.fixtures_models import tiny_graph, tiny_repository, write_manifest

KEY = ModelKey("encoder", "1")


def open_session(root, **settings):
    return OrtSession(ModelRepository(root).artifact(KEY), SessionSettings(**settings))


def replace_graph(root, graph, fields=None):
    """Another graph under a manifest that knows it."""
    folder = root / "encoder" / "1"
    onnx.save(graph, str(folder / "model.onnx"))
    write_manifest(folder, fields)


@pytest.fixture
def root(tmp_path):
    return tiny_repository(tmp_path)


def test_a_batch_gives_each_sequence_what_it_gets_alone(root):
    session = open_session(root)
    rng = np.random.default_rng(0)
    sequences = [rng.integers(4, 260, length) for length in (5, 512, 1, 77)]

    together = session.embed(sequences)

    assert together.embeddings.shape == (4, 32)
    assert together.padded_tokens == 4 * 512
    assert together.inference_seconds > 0
    assert np.allclose(np.linalg.norm(together.embeddings, axis=1), 1)
    for row, ids in enumerate(sequences):
        assert (session.embed([ids]).embeddings[0] == together.embeddings[row]).all()


def test_it_says_what_it_is_and_where_it_runs(root):
    session = open_session(root, intra_op_threads=2)

    assert session.loaded.info.key == KEY
    assert session.loaded.provider == "CPUExecutionProvider"
    assert session.loaded.fallback_nodes == 0
    assert session.placement.counts()["CPUExecutionProvider"]["LpNormalization"] == 1
    assert session.placement.wanted == "CPUExecutionProvider"


@pytest.mark.parametrize("sequences", [[], [np.arange(0)], [np.array([260])], [np.zeros(513, dtype=np.int64)]])
def test_a_batch_that_cannot_run_is_an_engine_error_and_the_session_lives_on(root, sequences):
    session = open_session(root)

    with pytest.raises(EngineError, match="encoder/1"):
        session.embed(sequences)

    assert session.embed([np.arange(3)]).embeddings.shape == (1, 32)


def test_damaged_files_are_refused(root):
    graph = root / "encoder" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    with pytest.raises(EngineError, match=r"model\.onnx does not match"):
        open_session(root)


def test_a_file_that_is_no_graph_is_refused(root):
    (root / "encoder" / "1" / "model.onnx").write_bytes(b"no graph")
    write_manifest(root / "encoder" / "1")

    with pytest.raises(EngineError, match="encoder/1: InvalidProtobuf"):
        open_session(root)


def test_a_graph_of_another_shape_is_refused(root):
    replace_graph(root, tiny_graph(dimensions=16))

    with pytest.raises(EngineError, match=r"\(1, 16\).*\(1, 32\)"):
        open_session(root)


def test_a_graph_with_other_inputs_is_refused(root):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 32])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["embedding"])], "other", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    replace_graph(root, model)

    with pytest.raises(EngineError, match="inputs"):
        open_session(root)


def test_weights_that_are_no_numbers_are_refused(root):
    model = tiny_graph()
    table = np.full((260, 32), np.nan, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "table"))
    replace_graph(root, model)

    with pytest.raises(EngineError, match="not finite"):
        open_session(root)


def test_a_provider_that_is_there_but_cannot_start_is_refused(root, monkeypatch):
    """A CUDA build on a machine without a GPU: ONNX Runtime itself would go on with the CPU."""
    from rolecall_server.engine.ort import create, providers

    monkeypatch.setattr(providers, "available", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(create, "configure", lambda *_, **__: ["CPUExecutionProvider"])

    with pytest.raises(EngineError, match="cuda could not start"):
        open_session(root, providers=("cuda",))
