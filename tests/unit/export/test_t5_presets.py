"""What each preset makes of a T5: graphs that load, and files of the size that it promises."""

from pathlib import Path

import onnxruntime
import pytest
from rolecall_export.external_data import save_shared
from rolecall_export.sources.t5_folder import load_weights
from rolecall_export.t5_presets import DEFAULT, PRESETS, REFERENCE
from rolecall_export.t5_weights import T5Weights

from tests.unit.export.random_t5 import write_t5

SIZES = {"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 256, "vocab_size": 512}


@pytest.fixture(scope="module", params=["t5", "mt5"], ids=["tied", "untied"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> T5Weights:
    folder = tmp_path_factory.mktemp("t5")
    write_t5(folder, request.param, **SIZES)
    return load_weights(folder)


def size(weights: T5Weights, preset: str, folder: Path) -> int:
    """Bytes of weights.bin; graphs for the CPU are loaded on the way."""
    graphs = PRESETS[preset].convert(weights)
    folder.mkdir()
    models = graphs.files()
    save_shared(models, folder, weights="weights.bin")
    for name in models if PRESETS[preset].provider == "cpu" else ():
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    return (folder / "weights.bin").stat().st_size


def test_graphs_load_and_are_as_small_as_promised(weights: T5Weights, tmp_path: Path):
    sizes = {name: size(weights, name, tmp_path / name) for name in PRESETS}
    parameters = 4 * sum(tensor.size for tensor in weights.tensors.values())
    # Pages, and tables of biases by distance, come on top; a tied table is stored once.
    assert parameters <= sizes[REFERENCE] <= 1.1 * parameters
    assert sizes["cpu-int8"] < 0.4 * parameters
    assert sizes["cpu-int4"] < 0.3 * parameters
    assert sizes["gpu-int4"] < sizes["gpu-int8"] < sizes["gpu-fp16"] < sizes[REFERENCE]
    assert sizes["gpu-fp16"] <= sizes["gpu-bf16"] < sizes[REFERENCE]
    assert sizes[DEFAULT] < sizes["gpu-fp16"]
