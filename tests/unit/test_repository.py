import json
from pathlib import Path

import pytest
from rolecall_server.errors import EngineError, ModelNotFoundError
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey

from tests.fixtures_models import tiny_repository

KEY = ModelKey("encoder", "1")


@pytest.fixture
def root(tmp_path):
    return tiny_repository(tmp_path, "1", manifest={"measured": {"cosine_min_en": 0.5}})


def manifest(root):
    return root / "encoder" / "1" / "manifest.json"


def replace(root, **fields):
    raw = json.loads(manifest(root).read_text())
    manifest(root).write_text(json.dumps({**raw, **fields}))


def test_a_manifest_is_read_whole(root):
    artifact = ModelRepository(root).artifact(KEY)

    assert artifact.info.key == KEY
    assert (artifact.info.precision, artifact.info.licence, artifact.info.source) == ("cpu-fp32", "Apache-2.0", "tests")
    assert (artifact.info.dimensions, artifact.info.max_tokens) == (32, 512)
    assert artifact.info.languages == ("en", "zh")
    assert artifact.info.measured == {"cosine_min_en": 0.5}
    assert (artifact.provider, artifact.pad_token_id) == ("cpu", 1)
    assert artifact.prefixes == {"query": "query: ", "document": "passage: "}
    assert artifact.graph.is_file()
    assert artifact.tokenizer.is_file()
    assert set(artifact.files) == {"model.onnx", "tokenizer.json"}
    artifact.verify()


def test_versions_are_in_the_order_of_their_numbers(root):
    for version in ("2", "10"):
        tiny_repository(root, version)
    tiny_repository(root, "3", name="another")
    repository = ModelRepository(root)

    assert [str(key) for key in repository.versions()] == ["another/3", "encoder/1", "encoder/2", "encoder/10"]
    assert str(repository.latest("encoder")) == "encoder/10"


def test_folders_that_are_no_version_are_passed_over(root):
    for name in ("latest", "1.tmp", "-1", "²", ".3"):
        (root / "encoder" / name).mkdir()
        (root / "encoder" / name / "manifest.json").write_text("{}")
    (root / "encoder" / "4").mkdir()
    (root / "encoder" / "config.pbtxt").touch()

    assert ModelRepository(root).versions() == [KEY]


@pytest.mark.parametrize("folder", ["nowhere", "encoder"])
def test_no_repository_has_no_models(root, folder):
    repository = ModelRepository(root / folder)

    assert repository.versions() == []
    with pytest.raises(ModelNotFoundError):
        repository.latest("encoder")


@pytest.mark.parametrize("key", [("encoder", "2"), ("nobody", "1"), ("encoder", "../encoder/1"), ("..", "1"), ("", "")])
def test_what_is_not_there_is_not_found(root, key):
    with pytest.raises(ModelNotFoundError):
        ModelRepository(root).artifact(ModelKey(*key))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"x"', "\x00", '{"format": 1}'])
def test_a_manifest_that_is_none_is_an_error_that_names_the_version(root, text):
    manifest(root).write_text(text)

    with pytest.raises(EngineError, match="encoder/1"):
        ModelRepository(root).info(KEY)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 2},
        {"dimensions": "many"},
        {"dimensions": None},
        {"max_tokens": float("inf")},
        {"files": ["model.onnx"]},
        {"files": {"model.onnx": {}}},
        {"prefixes": None},
        {"measured": {"cosine": "high"}},
        {"languages": 7},
    ],
    ids=str,
)
def test_a_manifest_with_a_wrong_field_is_an_error_that_names_the_version(root, fields):
    replace(root, **fields)

    with pytest.raises(EngineError, match="encoder/1"):
        ModelRepository(root).info(KEY)


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()], ids=["changed", "gone"]
)
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_every_file_is_verified(root, name, damage):
    damage(root / "encoder" / "1" / name)

    with pytest.raises(EngineError, match=name):
        ModelRepository(root).artifact(KEY).verify()


def test_one_version_is_found_without_a_look_at_the_others(root, monkeypatch):
    monkeypatch.setattr(ModelRepository, "versions", None)
    monkeypatch.setattr(ModelRepository, "versions_of", None)
    monkeypatch.setattr(Path, "iterdir", None)
    repository = ModelRepository(root)

    assert repository.has("encoder", "1")
    assert repository.info(KEY).key == KEY
    assert not repository.has("encoder", "2")


def test_a_model_is_there_with_any_version(root):
    (root / "empty").mkdir()

    assert ModelRepository(root).has("encoder")
    assert not ModelRepository(root).has("empty")
    assert not ModelRepository(root).has("nobody")


@pytest.mark.parametrize("name", ["", ".", "..", "encoder/1/..", "a\0b", "n" * 5000, "*"])
def test_a_name_that_is_no_folder_has_no_versions(root, name):
    (root / "1").mkdir()
    (root / "1" / "manifest.json").write_text("{}")
    repository = ModelRepository(root)

    assert repository.versions_of(name) == []
    assert not repository.has(name, "1")
    assert not repository.has(name)


GENERATOR = {
    "max_source_tokens": 512,
    "max_new_tokens": 200,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "layers": 6,
    "heads": 8,
    "head_size": 64,
    "vocabulary_size": 32128,
    "prompt_style": "plain",
}


def test_a_generator_is_read_with_what_it_alone_has(root):
    replace(root, family="t5", generator=GENERATOR, pooling="", prefixes={})
    artifact = ModelRepository(root).artifact(KEY)

    assert (artifact.info.family, artifact.info.max_new_tokens, artifact.info.generates) == ("t5", 200, True)
    assert artifact.generator is not None
    assert {name: getattr(artifact.generator, name) for name in GENERATOR} == GENERATOR
    graphs = (artifact.encoder_graph, artifact.prefill_graph, artifact.step_graph)
    assert [path.name for path in graphs] == ["encoder.onnx", "prefill.onnx", "step.onnx"]
    assert {path.parent for path in graphs} == {root / "encoder" / "1"}


def test_an_encoder_is_no_generator(root):
    artifact = ModelRepository(root).artifact(KEY)

    assert (artifact.generator, artifact.info.family, artifact.info.generates) == (None, "encoder", False)


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "t5"},
        {"generator": GENERATOR},
        {"family": "t5", "generator": None},
        {"family": "t5", "generator": {}},
        {"family": "t5", "generator": {**GENERATOR, "max_new_tokens": 0}},
        {"family": "t5", "generator": {**GENERATOR, "layers": -1}},
        {"family": "t5", "generator": {**GENERATOR, "eos_token_id": None}},
    ],
    ids=str,
)
def test_half_a_generator_is_an_error_that_names_the_version(root, fields):
    replace(root, **fields)

    with pytest.raises(EngineError, match="encoder/1"):
        ModelRepository(root).info(KEY)
