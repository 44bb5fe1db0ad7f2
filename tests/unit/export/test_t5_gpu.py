"""T5s for GPUs, exported where there is none."""

import functools
import json
from pathlib import Path

import pytest
from rolecall_export import t5_engine, t5_inputs, t5_verification
from rolecall_export.cli import main
from rolecall_export.t5_presets import PRESETS

from tests import fixtures_t5
from tests.unit.export.random_t5 import write_byte_tokenizer, write_t5


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(t5_verification, "MAX_NEW_TOKENS", 8)
    monkeypatch.setattr(t5_inputs, "texts", functools.partial(t5_inputs.texts, count=8))
    monkeypatch.setattr(t5_engine, "available", lambda provider: provider == "cpu")
    write_t5(tmp_path / "tiny", "mt5", d_model=64, d_kv=16, d_ff=64, num_heads=4)
    write_byte_tokenizer(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize("preset", ["gpu-fp16", "gpu-int8", "gpu-int4"])
def test_what_a_cpu_can_run_is_verified_there_and_says_so(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str
):
    places = ("--source", str(checkpoint), "--repository", str(tmp_path / "repository"))
    # A random model drifts at the least rounding; what is looked at here is that it runs and is published.
    assert main(["t5", *places, "--preset", preset, "--languages", "en,zh", "--accept-drift"]) == 0
    assert "is made for cuda, but was verified on CPUExecutionProvider" in capsys.readouterr().out.replace("\n", " ")
    manifest = json.loads((tmp_path / "repository" / "generator" / "1" / "manifest.json").read_text())
    assert manifest["provider"] == "cuda"
    assert manifest["measured_on"] == "CPUExecutionProvider"
    assert "rows.onnx" in manifest["files"]


def test_what_a_cpu_can_t_run_is_refused_before_it_is_read(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (checkpoint / "model.safetensors").unlink()
    places = ("--source", str(checkpoint), "--repository", str(tmp_path / "repository"))
    assert main(["t5", *places, "--preset", "gpu-bf16"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rolecall-export: gpu-bf16 can be verified only where cuda is")
    assert "gpu-fp16" in error
    assert error.count("\n") == 1
    assert [name for name, preset in PRESETS.items() if preset.only_there] == ["gpu-bf16"]
    assert not (tmp_path / "repository" / "generator").exists()


@pytest.mark.slow
def test_half_precision_writes_what_float32_writes(tmp_path: Path):
    """On all 200 sources, by the stepper for devices; the export itself fails beyond the preset's tolerance."""
    places = ("--source", str(fixtures_t5.checkpoint("plain")), "--repository", str(tmp_path))
    assert main(["t5", *places, "--preset", "gpu-fp16", "--languages", "en,zh"]) == 0
    measured = json.loads((tmp_path / "generator" / "1" / "manifest.json").read_text())["measured"]
    assert measured["distinct_texts"] > 0.5
