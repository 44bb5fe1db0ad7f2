"""What the files beside the weights say about a sentence encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
from rolecall_export.errors import ExportError
from rolecall_export.sources import model_card

from tests.requirements import require_module

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf8")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
    ],
)
def test_declared_pooling_is_used(tmp_path: Path, flag: str, expected: str):
    write(tmp_path / "modules.json", [TRANSFORMER, POOLING, NORMALIZE])
    write(tmp_path / "1_Pooling" / "config.json", {"word_embedding_dimension": 8, "pooling_mode_x": False, flag: True})
    assert model_card.pooling(tmp_path) == expected


def test_pooling_may_lie_in_another_folder(tmp_path: Path):
    write(tmp_path / "modules.json", [TRANSFORMER, {**POOLING, "path": "7_Pooling"}])
    write(tmp_path / "7_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    assert model_card.pooling(tmp_path) == "cls"


def test_a_plain_checkpoint_is_pooled_by_the_mean(tmp_path: Path):
    assert model_card.pooling(tmp_path) == "mean"


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode_weightedmean_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_other_poolings_are_refused(tmp_path: Path, settings: dict[str, bool]):
    write(tmp_path / "1_Pooling" / "config.json", settings)
    with pytest.raises(ExportError, match="pooling"):
        model_card.pooling(tmp_path)


def test_prompts_left_out_of_the_pooling_are_refused(tmp_path: Path):
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False})
    with pytest.raises(ExportError, match="prompt"):
        model_card.pooling(tmp_path)


def test_a_layer_after_the_pooling_is_refused(tmp_path: Path):
    write(
        tmp_path / "modules.json", [TRANSFORMER, POOLING, {"path": "2", "type": "sentence_transformers.models.Dense"}]
    )
    with pytest.raises(ExportError, match="Dense"):
        model_card.pooling(tmp_path)


def test_damaged_settings_are_named(tmp_path: Path):
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(ExportError, match=r"modules\.json is damaged"):
        model_card.pooling(tmp_path)


@pytest.mark.parametrize("document", ["document", "passage", "corpus"])
def test_declared_prompts_become_prefixes(tmp_path: Path, document: str):
    write(tmp_path / "config_sentence_transformers.json", {"prompts": {"query": "Q: ", document: "D: "}})
    assert model_card.prefixes(tmp_path, "any/model") == {"query": "Q: ", "document": "D: "}


def test_a_query_prompt_alone_leaves_documents_bare(tmp_path: Path):
    write(tmp_path / "config_sentence_transformers.json", {"prompts": {"query": "Q: ", "document": ""}})
    assert model_card.prefixes(tmp_path, "intfloat/e5-small") == {"query": "Q: ", "document": ""}


@pytest.mark.parametrize(
    ("name", "is_e5"),
    [
        ("intfloat/multilingual-e5-small", True),
        ("intfloat/e5-large-v2", True),
        ("intfloat/multilingual-e5-large-instruct", False),
        ("BAAI/bge-small-en", False),
        ("someone/the5-small", False),
    ],
)
def test_the_e5_family_is_known_by_name(tmp_path: Path, name: str, is_e5: bool):
    expected = {"query": "query: ", "document": "passage: "} if is_e5 else {"query": "", "document": ""}
    assert model_card.prefixes(tmp_path, name) == expected


def test_the_e5_family_is_known_by_what_it_was_made_from(tmp_path: Path):
    write(tmp_path / "config.json", {"_name_or_path": "intfloat/multilingual-e5-base"})
    assert model_card.prefixes(tmp_path, "mine")["query"] == "query: "


def test_declared_length_and_case(tmp_path: Path):
    assert model_card.declared_length(tmp_path) is None
    assert not model_card.lowercases(tmp_path)
    write(tmp_path / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": True})
    assert model_card.declared_length(tmp_path) == 256
    assert model_card.lowercases(tmp_path)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\nlanguage:\n- en\n- zh\n---\n# Model\n", ("apache-2.0", ("en", "zh"))),
        ("---\nlicense: mit\nlanguage: en\n---\n", ("mit", ("en",))),
        ("---\ntags: [x]\n---\n", ("unknown", ())),
        ("# A model without a head\n", ("unknown", ())),
        ("---\n- no\n- mapping\n---\n", ("unknown", ())),
        ("---\nlicense: [\n---\n", ("unknown", ())),
        ("---\nlicense: mit\nlanguage: 3\n---\n", ("mit", ("3",))),
    ],
)
def test_licence_and_languages_come_from_the_card(tmp_path: Path, card: str, expected: tuple[str, tuple[str, ...]]):
    require_module("huggingface_hub")
    (tmp_path / "README.md").write_text(card)
    assert model_card.licence_and_languages(tmp_path) == expected


def test_without_a_card_nothing_is_known(tmp_path: Path):
    require_module("huggingface_hub")
    assert model_card.licence_and_languages(tmp_path) == ("unknown", ())
