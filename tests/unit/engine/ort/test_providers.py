import pytest
from rolecall_server.engine.ort import providers
from rolecall_server.engine.ort.providers import choose, configure, parse_providers
from rolecall_server.errors import EngineError


@pytest.fixture
def with_cuda(monkeypatch):
    """As in a CUDA build: this machine's own has the CPU only."""
    monkeypatch.setattr(providers, "available", lambda: ("tensorrt", "cuda", "cpu"))
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)


@pytest.mark.parametrize(
    ("setting", "names"),
    [("auto", ("auto",)), ("", ("auto",)), (" CUDA, cpu ", ("cuda", "cpu")), ("tensorrt,cuda", ("tensorrt", "cuda"))],
)
def test_a_setting_is_a_list_of_names(setting, names):
    assert parse_providers(setting) == names


def test_the_cpu_is_always_there():
    assert providers.available()[-1] == "cpu"


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize(
    ("wanted", "made_for", "chosen"),
    [
        (["auto"], "cpu", ("cpu",)),
        (["auto"], "cuda", ("cuda", "cpu")),
        (["cpu"], "cuda", ("cpu",)),
        (["cuda"], "cpu", ("cuda", "cpu")),
        (["cpu", "cuda"], "cuda", ("cuda", "cpu")),
        (["tensorrt", "cuda", "cuda"], "cuda", ("tensorrt", "cuda", "cpu")),
    ],
)
def test_what_runs_where(wanted, made_for, chosen):
    assert choose(wanted, made_for) == chosen


@pytest.mark.parametrize(
    ("wanted", "made_for", "message"),
    [
        (["cuda"], "cpu", r"cuda is asked for.*rolecall\[gpu\]"),
        (["auto"], "cuda", r"made for cuda.*export a cpu preset"),
        (["openvino"], "cpu", "onnxruntime-ep-openvino"),
        (["npu"], "cpu", "unknown execution provider 'npu'"),
    ],
)
def test_a_provider_that_is_missing_says_what_to_do(monkeypatch, wanted, made_for, message):
    monkeypatch.setattr(providers, "available", lambda: ("cpu",))
    with pytest.raises(EngineError, match=message):
        choose(wanted, made_for)


@pytest.mark.usefixtures("with_cuda")
def test_cuda_graphs_are_for_cuda_and_only_on_demand():
    assert "enable_cuda_graph" not in dict(configure(None, ["cuda", "cpu"]))["CUDAExecutionProvider"]
    given = dict(configure(None, ["cuda", "cpu"], cuda_graph=True))
    assert given["CUDAExecutionProvider"]["enable_cuda_graph"] == "1"
    assert given["CPUExecutionProvider"] == {}


@pytest.mark.usefixtures("with_cuda")
def test_the_arena_on_a_gpu_is_bounded():
    given = dict(configure(None, ["cuda", "cpu"], gpu_memory_bytes=1 << 30))

    assert given["CPUExecutionProvider"] == {}
    assert given["CUDAExecutionProvider"] == {
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(1 << 30),
    }
