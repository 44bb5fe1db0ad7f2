"""An export as a whole, on the tiny encoder: what is published, what is refused, what is recognised."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from rolecall_export import manifest as manifests
from rolecall_export import pipeline, tools
from rolecall_export.errors import ExportError, VerificationError
from rolecall_export.manifest import Manifest
from rolecall_export.pipeline import Overrides, export_encoder, published
from rolecall_export.presets import Preset, Tolerance
from rolecall_export.repository import ModelFolder, Target
from rolecall_server.repository import ModelRepository

from tests.unit.export.exporting import TinySource, contents, other_weights, preset, reporter, same

SAME = preset(same)
NONE = Overrides()


def target(folder: Path, version: int | None = None) -> Target:
    return Target(repository=folder, name="encoder", version=version)


def export(folder: Path, source: TinySource | None = None, *, by: Preset = SAME, to: int | None = None) -> Manifest:
    return export_encoder(source or TinySource(), by, target=target(folder, to), overrides=NONE, reporter=reporter()[0])


def test_the_server_reads_what_the_export_publishes(tmp_path: Path):
    manifest = export(tmp_path)
    repository = ModelRepository(tmp_path)
    artifact = repository.artifact(repository.latest("encoder"))
    artifact.verify()
    assert artifact.info.weights_hash == manifest.weights_hash
    assert artifact.info.precision == "same"
    assert artifact.info.languages == ("en", "zh")
    assert artifact.prefixes == {"query": "query: ", "document": "passage: "}
    assert artifact.info.measured["rank_agreement"] == 1
    assert set(contents(tmp_path / "encoder")) == {
        *("config.pbtxt", "1/model.onnx", "1/tokenizer.json", "1/manifest.json")
    }


def test_the_manifest_says_what_was_made_of_what(tmp_path: Path):
    manifest = export(tmp_path)
    assert manifests.read(tmp_path / "encoder" / "1") == manifest
    assert (manifest.source, manifest.revision, manifest.preset) == ("tiny", "0", "same")
    assert manifest.opset == 20
    assert {"rolecall", "onnx", "onnxruntime", "rolecall-export"} <= set(manifest.tools)


def test_the_config_fits_the_model(tmp_path: Path):
    manifest = export(tmp_path)
    assert (tmp_path / "encoder" / "config.pbtxt").read_text() == pipeline.config(manifest)


def test_a_failed_verification_leaves_the_old_version(tmp_path: Path):
    export(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(VerificationError, match="cosine_min_en"):
        export(tmp_path, by=preset(other_weights))
    assert contents(tmp_path) == before


def test_a_failed_first_export_leaves_nothing(tmp_path: Path):
    with pytest.raises(VerificationError):
        export(tmp_path / "repository", by=preset(other_weights))
    assert contents(tmp_path) == {}
    assert not (tmp_path / "repository" / "encoder").exists()


@pytest.mark.parametrize("first", [True, False])
def test_a_failed_publication_leaves_the_old_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
):
    def fail(folder: ModelFolder, staged: Path, number: int) -> Path:
        assert "old" not in (folder.path / "config.pbtxt").read_text()
        raise OSError("no space left")

    if not first:
        export(tmp_path)
        (tmp_path / "encoder" / "config.pbtxt").write_text("old")
    before = contents(tmp_path)
    monkeypatch.setattr(ModelFolder, "publish", fail)
    with pytest.raises(OSError, match="no space"):
        export(tmp_path)
    assert contents(tmp_path) == before


def test_figures_say_where_they_were_measured(tmp_path: Path):
    """A preset for a GPU, where there is none."""
    report, output = reporter()
    for_gpu = replace(SAME, provider="cuda")
    manifest = export_encoder(TinySource(), for_gpu, target=target(tmp_path), overrides=NONE, reporter=report)
    assert (manifest.provider, manifest.measured_on) == ("cuda", "CPUExecutionProvider")
    assert json.loads((tmp_path / "encoder" / "1" / "manifest.json").read_text())["measured_on"] == manifest.measured_on
    assert "same is made for cuda, but was verified on CPUExecutionProvider" in output.getvalue().replace("\n", " ")


def test_an_artifact_for_this_machine_is_no_cause_for_a_warning(tmp_path: Path):
    report, output = reporter()
    export_encoder(TinySource(), SAME, target=target(tmp_path), overrides=NONE, reporter=report)
    assert "made for" not in output.getvalue()


def test_a_preset_that_can_not_convert_is_one_readable_error(tmp_path: Path):
    def refuse(model: onnx.ModelProto) -> onnx.ModelProto:
        raise ValueError("no such layer")

    with pytest.raises(ExportError, match="preset same can't convert this model: no such layer"):
        export(tmp_path, by=preset(refuse))
    assert contents(tmp_path) == {}


def test_the_latest_version_is_replaced_unless_told_otherwise(tmp_path: Path):
    export(tmp_path, TinySource(seed=1))
    export(tmp_path, TinySource(seed=2), to=7)
    export(tmp_path, TinySource(seed=3))
    versions = {path.name: manifests.read(path) for path in (tmp_path / "encoder").iterdir() if path.is_dir()}
    assert {name: found.revision for name, found in versions.items() if found} == {"1": "1", "7": "3"}


def test_an_english_model_is_judged_in_english(tmp_path: Path):
    manifest = export(tmp_path, TinySource(languages=("en",)))
    assert "cosine_min_en" in manifest.measured
    assert "cosine_min_zh" not in manifest.measured


def test_what_the_user_knows_better_is_published(tmp_path: Path):
    overrides = Overrides(query_prefix="ask: ", languages=("zh",))
    manifest = export_encoder(TinySource(), SAME, target=target(tmp_path), overrides=overrides, reporter=reporter()[0])
    assert manifest.prefixes == {"query": "ask: ", "document": "passage: "}
    assert manifest.languages == ("zh",)


def test_a_model_that_ranks_badly_before_conversion_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "_POOR_TOP_1", 1.1)
    report, output = reporter()
    export_encoder(TinySource(), SAME, target=target(tmp_path), overrides=NONE, reporter=report)
    assert "warning: the float model itself" in output.getvalue()


def test_the_same_export_is_recognised_without_loading(tmp_path: Path):
    source = TinySource()
    assert published(source, SAME, target=target(tmp_path), overrides=NONE) is None
    manifest = export(tmp_path, source)
    assert published(source, SAME, target=target(tmp_path), overrides=NONE) == manifest
    assert source.loads == 1


def test_another_export_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = TinySource()
    export(tmp_path, source)

    def found(by: Preset = SAME, *, of: TinySource = source, to: int | None = None, with_: Overrides = NONE) -> bool:
        return published(of, by, target=target(tmp_path, to), overrides=with_) is not None

    assert found()
    assert found(with_=Overrides(query_prefix="query: ", languages=("en", "zh")))
    assert not found(with_=Overrides(document_prefix=""))
    assert not found(with_=Overrides(languages=("en",)))
    assert not found(preset(same, "other"))
    assert not found(of=TinySource(seed=1))
    assert not found(to=2)
    monkeypatch.setattr(tools, "versions", lambda packages: {"onnx": "0"})
    assert not found()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "manifest.json"])
def test_a_damaged_version_is_not_taken_for_it(tmp_path: Path, name: str):
    source = TinySource()
    export(tmp_path, source)
    path = tmp_path / "encoder" / "1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert published(source, SAME, target=target(tmp_path), overrides=NONE) is None


def test_a_version_without_its_config_is_not_taken_for_it(tmp_path: Path):
    source = TinySource()
    export(tmp_path, source)
    (tmp_path / "encoder" / "config.pbtxt").unlink()
    assert published(source, SAME, target=target(tmp_path), overrides=NONE) is None


def test_weights_beyond_the_limit_of_one_message_go_into_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "_PROTOBUF_LIMIT", 1000)
    manifest = export(
        tmp_path, by=replace(SAME, tolerance=Tolerance(cosine_min=0.99, alone_vs_batched=1e-6, rank_agreement=1.0))
    )
    assert set(manifest.files) == {"model.onnx", "model.onnx.data", "tokenizer.json"}
    assert manifest.files["model.onnx"].bytes < manifest.files["model.onnx.data"].bytes
    assert json.loads((tmp_path / "encoder" / "1" / "manifest.json").read_text())["files"]["model.onnx.data"]
