"""Hugging Face checkpoints of every family, from a folder and from a hub, against transformers itself."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rolecall_export.errors import ExportError
from rolecall_export.pipeline import save
from rolecall_export.sources.base import Checkpoint
from rolecall_export.sources.huggingface import LocalFolder
from rolecall_export.verify import Encoder
from tokenizers import Tokenizer

from tests.integration import checkpoints
from tests.integration.checkpoints import POSITIONS, WORDS, write_checkpoint
from tests.requirements import require_module
from tests.unit.export.exporting import reporter

ROWS = [[5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15], list(range(5, 35)) * 2]
TOKENIZER_FILES = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(autouse=True)
def _needs_torch() -> None:
    require_module("torch")
    require_module("optimum.exporters.onnx")


def mean(states: Any) -> Any:
    return states.mean(axis=0)


def cls(states: Any) -> Any:
    return states[0]


def largest(states: Any) -> Any:
    return states.max(axis=0)


def load(folder: Path) -> Checkpoint:
    return LocalFolder(folder).load(reporter()[0])


def largest_error(checkpoint: Checkpoint, model: Any, folder: Path, *, pool: Callable[[Any], Any]) -> float:
    """Of the exported graph on a padded batch against transformers row by row."""
    import torch

    save(checkpoint.model, folder / "exported.onnx")
    encoder = Encoder(folder / "exported.onnx", pad_token_id=checkpoint.pad_token_id, provider="cpu")
    errors = []
    for row, found in zip(ROWS, encoder.embed(ROWS), strict=True):
        with torch.no_grad():
            states = model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long)).last_hidden_state[0]
        expected = pool(states.numpy())
        errors.append(np.abs(expected / np.linalg.norm(expected) - found).max())
    return float(max(errors))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet"])
def test_every_family_equals_transformers(tmp_path: Path, family: str):
    model = write_checkpoint(tmp_path / family, family)
    checkpoint = load(tmp_path / family)
    assert [each.name for each in checkpoint.model.graph.input] == ["input_ids", "attention_mask"]
    assert largest_error(checkpoint, model, tmp_path, pool=mean) < 1e-5
    offset_family = family not in ("bert", "distilbert")
    assert checkpoint.max_tokens == (POSITIONS - 2 if offset_family else POSITIONS)
    assert checkpoint.pad_token_id == (1 if offset_family else 0)
    assert (checkpoint.dimensions, checkpoint.vocabulary_size) == (16, 60)
    assert (checkpoint.licence, checkpoint.languages) == ("unknown", ())
    assert checkpoint.prefixes == {"query": "", "document": ""}


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_the_tokenizer_travels_whole(tmp_path: Path, family: str):
    """Also one that was slow, and one whose file cuts and pads at 8 tokens."""
    write_checkpoint(tmp_path, family)
    tokenizer = Tokenizer.from_str(load(tmp_path).tokenizer)
    ids = tokenizer.encode(" ".join(WORDS[:20])).ids
    assert len(ids) == 22
    assert len(tokenizer.encode(WORDS[0]).ids) == 3
    first = 5 if family == "bert" else 4
    assert ids[1:-1] == list(range(first, first + 20))


@pytest.mark.parametrize(("pooling", "flag", "pool"), [("cls", "cls_token", cls), ("max", "max_tokens", largest)])
def test_what_sentence_transformers_declares_is_used(
    tmp_path: Path, pooling: str, flag: str, pool: Callable[[Any], Any]
):
    model = write_checkpoint(tmp_path, "bert")
    kind = "sentence_transformers.models"
    modules = [{"path": "", "type": f"{kind}.Transformer"}, {"path": "1_Pooling", "type": f"{kind}.Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode_{flag}": true}}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    (tmp_path / "config_sentence_transformers.json").write_text('{"prompts": {"query": "ask: "}}')
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: zh\n---\n")
    checkpoint = load(tmp_path)
    assert (checkpoint.pooling, checkpoint.max_tokens) == (pooling, 40)
    assert checkpoint.prefixes == {"query": "ask: ", "document": ""}
    assert (checkpoint.licence, checkpoint.languages) == ("mit", ("zh",))
    assert largest_error(checkpoint, model, tmp_path, pool=pool) < 1e-5


def test_a_family_that_is_not_known_is_refused(tmp_path: Path):
    write_checkpoint(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(ExportError, match="model type 'electra' can't be exported"):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "vocab.txt"])
def test_an_incomplete_folder_is_one_readable_line(tmp_path: Path, missing: str):
    write_checkpoint(tmp_path, "bert")
    (tmp_path / missing).unlink()
    with pytest.raises(ExportError, match=r"can't") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_torch_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_checkpoint(tmp_path, "bert")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"needs torch: pip install 'rolecall\[hub\]'"):
        load(tmp_path)


def run_with_hub(tmp_path: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own: the hub's client reads the environment when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub-cache")}
    code = "import sys; from rolecall_export.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "encoder", "--repository", str(tmp_path / "repository"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_a_hub_model_is_fetched_once_with_its_commit(tmp_path: Path):
    write_checkpoint(tmp_path / "model", "xlm-roberta")
    for extra in ("pytorch_model.bin", "onnx/model.onnx", "onnx/config.json", "tf_model.h5"):
        (tmp_path / "model" / extra).parent.mkdir(exist_ok=True)
        (tmp_path / "model" / extra).write_bytes(b"not to be fetched")
    name = "some/multilingual-e5-small"
    arguments = ["--source", name, "--preset", "cpu-fp32", "--languages", "en"]
    with checkpoints.hub(tmp_path / "model", name) as (address, asked):
        done = run_with_hub(tmp_path, address, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        unknown = run_with_hub(tmp_path, address, "--source", "some/other")
        assert unknown.returncode == 1
        assert unknown.stderr == (
            "rolecall-export: the hub has no model some/other, or it is private; nor is some/other a folder here\n"
        )
    assert sorted(asked) == ["config.json", "model.safetensors", *TOKENIZER_FILES]
    manifest = json.loads((tmp_path / "repository" / "encoder" / "1" / "manifest.json").read_text())
    assert (manifest["source"], manifest["revision"]) == (f"hub:{name}", checkpoints.COMMIT)
    assert manifest["prefixes"] == {"query": "query: ", "document": "passage: "}
    # The hub is gone now, and the cache knows the commit.
    again = run_with_hub(tmp_path, address, *arguments, "--if-missing")
    assert (again.returncode, again.stderr) == (0, "")
    assert "is up to date" in again.stdout


@pytest.mark.slow
def test_a_hub_model_with_pickled_weights_only(tmp_path: Path):
    write_checkpoint(tmp_path / "model", "bert").save_pretrained(tmp_path / "model", safe_serialization=False)
    (tmp_path / "model" / "model.safetensors").unlink()
    with checkpoints.hub(tmp_path / "model", "some/old") as (address, asked):
        done = run_with_hub(tmp_path, address, "--source", "some/old", "--preset", "cpu-fp32")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pytorch_model.bin" in asked


def test_an_unreachable_hub_is_one_readable_line(tmp_path: Path):
    done = run_with_hub(tmp_path, "http://127.0.0.1:9", "--source", "some/model")
    assert done.returncode == 1
    assert done.stderr == (
        "rolecall-export: hub model some/model: the hub can't be reached and the cache does not hold it; "
        "nor is some/model a folder here\n"
    )
    assert not (tmp_path / "repository").exists()
