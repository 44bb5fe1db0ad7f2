"""T5 checkpoints of every member of the family, and trained ones, from a folder to what the server runs."""

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rolecall_export import t5_inputs, t5_verification
from rolecall_export.cli import main
from rolecall_export.t5_presets import PRESETS
from rolecall_export.verify_t5 import failures
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.generation.stepper import Need, StepInput
from rolecall_server.repository import Artifact, ModelRepository
from rolecall_server.types import ModelKey

from tests import fixtures_t5
from tests.integration import checkpoints
from tests.requirements import require_module
from tests.unit.export.random_t5 import FAMILIES, write_byte_tokenizer, write_t5

LENGTHS = (1, 5, 60)
STEPS = 12
NEXT_TOKENS = {"cpu-fp32": 0.999, "cpu-int8": 0.97, "cpu-int4": 0.85}
CPU = [name for name, preset in PRESETS.items() if preset.provider == "cpu"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a tiny model more than they bring."""
    torch = require_module("torch")
    require_module("transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def export(source: Path, repository: Path, *options: str, preset: str = "cpu-fp32") -> Artifact:
    places = ("--source", str(source), "--repository", str(repository))
    assert main(["t5", *places, "--preset", preset, "--languages", "en,zh", *options]) == 0
    return ModelRepository(repository).artifact(ModelKey("generator", "1"))


def expected_logits(model: Any, source: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Float32 [steps, vocabulary] by transformers, for one source and what was written so far."""
    import torch

    with torch.inference_mode():
        answer = model(
            input_ids=torch.from_numpy(source[None]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            decoder_input_ids=torch.from_numpy(written[None]),
        )
    return np.asarray(answer.logits[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_logits_of_transformers(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(t5_inputs, "texts", functools.partial(t5_inputs.texts, count=8))
    monkeypatch.setattr(t5_verification, "MAX_NEW_TOKENS", 8)
    model = write_t5(tmp_path / family, family)
    write_byte_tokenizer(tmp_path / family)
    artifact = export(tmp_path / family, tmp_path / "repository", "--max-source-tokens", "160")
    stepper = T5Generator(artifact, SessionSettings(), rows=len(LENGTHS)).stepper()
    random = np.random.default_rng(0)
    sources = [np.append(random.integers(3, 259, length - 1), 1) for length in LENGTHS]
    written = random.integers(3, 259, (len(sources), STEPS))
    written[:, 0] = 0
    stepper.prefill(sources)
    found = []
    for place in range(STEPS):
        positions = np.full(len(sources), place)
        output = stepper.decode(StepInput(written[:, place : place + 1], positions, Need.LOGITS))
        assert output.logits is not None
        found.append(output.logits[:, 0].copy())
    for row, source in enumerate(sources):
        expected = expected_logits(model, source, written[row])
        error = np.abs(np.stack(found)[:, row] - expected).max()
        assert error <= 2e-5 * max(1.0, np.abs(expected).max()), (family, row)


@pytest.mark.slow
@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_a_trained_checkpoint_writes_token_for_token_what_transformers_writes(tmp_path: Path, name: fixtures_t5.Name):
    """On all 200 sources in both languages, alone and in company. What quantization does to models so small and so
    briefly trained says little, and no two trainings end alike: of it only that it finds nearly all tokens."""
    folder = fixtures_t5.checkpoint(name)
    for preset in CPU:
        if preset == "cpu-int4" and name == "gated":
            continue  # rows of 80 weights do not divide into its blocks
        drift = () if preset == "cpu-fp32" else ("--accept-drift",)
        measured = export(folder, tmp_path, *drift, preset=preset).info.measured
        assert measured["distinct_texts"] > 0.5
        assert measured["batch_changes"] == 0
        assert measured["next_tokens"] > NEXT_TOKENS[preset]
        if preset == "cpu-fp32":
            assert measured["equal_texts"] == measured["equal_tokens"] == measured["next_tokens"] == 1
            assert failures(measured, PRESETS[preset].tolerance) == ()
            assert measured["ties"] <= 2


@pytest.mark.parametrize(("preset", "sizes"), [("cpu-int4", {"d_model": 40}), ("cpu-int8", {"d_kv": 6})])
def test_sizes_that_a_preset_can_t_take_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str, sizes: dict[str, int]
):
    write_t5(tmp_path / "odd", "t5", **sizes)
    write_byte_tokenizer(tmp_path / "odd")
    places = ("--source", str(tmp_path / "odd"), "--repository", str(tmp_path / "repository"))
    assert main(["t5", *places, "--preset", preset]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"rolecall-export: preset {preset} can't convert this model: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "repository" / "generator").exists()


def test_a_t5_is_exported_without_torch_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `pip install rolecall[server,export]` gives exports a T5 as well."""
    write_t5(tmp_path / "tiny", "umt5")
    write_byte_tokenizer(tmp_path / "tiny")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("torch", "transformers") else found(name, *rest),
    )
    monkeypatch.setattr(t5_inputs, "texts", functools.partial(t5_inputs.texts, count=8))
    measured = export(tmp_path / "tiny", tmp_path / "repository", "--max-source-tokens", "64").info.measured
    assert measured == {"batch_changes": 0}


@pytest.mark.slow
def test_a_hub_model_is_fetched_with_its_commit(tmp_path: Path):
    write_t5(tmp_path / "model", "umt5")
    write_byte_tokenizer(tmp_path / "model")
    with checkpoints.hub(tmp_path / "model", "some/umt5") as (address, asked):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        code = "import sys; from rolecall_export.cli import main; sys.exit(main())"
        places = ["--source", "some/umt5", "--repository", str(tmp_path / "repository")]
        limits = ["--preset", "cpu-fp32", "--max-source-tokens", "64", "--max-new-tokens", "8"]
        done = subprocess.run(
            [sys.executable, "-c", code, "t5", *places, *limits],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "model.safetensors" in asked
    info = ModelRepository(tmp_path / "repository").info(ModelKey("generator", "1"))
    assert info.source == "hub:some/umt5"
    assert checkpoints.COMMIT in (tmp_path / "repository" / "generator" / "1" / "manifest.json").read_text()
