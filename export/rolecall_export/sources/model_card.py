"""What a Hugging Face folder says about itself beside its weights: pooling, prompts, length, licence, languages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolecall_export.errors import ExportError
from rolecall_export.sources.base import UNKNOWN

NO_PREFIXES = {"query": "", "document": ""}
E5_PREFIXES = {"query": "query: ", "document": "passage: "}
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_E5_NAME = re.compile(r"(^|[-_/])e5-(small|base|large)")
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_MODULES = ("Transformer", "Pooling", "Normalize")


def pooling(folder: Path) -> str:
    """How sentence-transformers pools this model, "mean", "cls" or "max"; "mean" where the folder does not say.

    ExportError for modules and poolings that the exporter can't express.
    """
    modules = _read_json(folder / "modules.json")
    for module in modules or []:
        kind = str(module["type"]).rpartition(".")[2]
        if kind not in _MODULES:
            raise ExportError(f"a module {kind} can't be exported (only {', '.join(_MODULES)})")
    settings = _read_json(folder / _pooling_folder(modules or []) / "config.json") or {}
    if not settings:
        return "mean"
    if settings.get("include_prompt") is False:
        raise ExportError("the model leaves its prompt out of the pooling, which can't be exported")
    chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value]
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        found = ", ".join(name.removeprefix("pooling_mode_") for name in chosen) or "none"
        raise ExportError(f"pooling {found!r} can't be exported (only one of mean, cls, max)")
    return _POOLINGS[chosen[0]]


def prefixes(folder: Path, name: str) -> dict[str, str]:
    """What goes before a query and a document: the declared prompts, those known of the e5 family, else nothing."""
    prompts = (_read_json(folder / "config_sentence_transformers.json") or {}).get("prompts") or {}
    document = next((prompts[key] for key in _DOCUMENT_PROMPTS if prompts.get(key)), "")
    declared = {"query": str(prompts.get("query") or ""), "document": str(document)}
    if any(declared.values()):
        return declared
    names = (name.lower(), str((_read_json(folder / "config.json") or {}).get("_name_or_path", "")).lower())
    # The instruction-tuned ones take a sentence about the task instead.
    known = any(_E5_NAME.search(each) and "instruct" not in each for each in names)
    return dict(E5_PREFIXES if known else NO_PREFIXES)


def declared_length(folder: Path) -> int | None:
    """The most tokens that sentence-transformers lets this model read; None where the folder does not say."""
    length = (_read_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
    return int(length) if length else None


def lowercases(folder: Path) -> bool:
    """Whether sentence-transformers lowercases the text before the tokenizer sees it."""
    return bool((_read_json(folder / "sentence_bert_config.json") or {}).get("do_lower_case"))


def licence_and_languages(folder: Path) -> tuple[str, tuple[str, ...]]:
    """From the head of the model card; ("unknown", ()) where there is none. Needs huggingface_hub."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    card = folder / "README.md"
    if not card.is_file():
        return UNKNOWN, ()
    try:
        facts: Mapping[str, Any] = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, YAMLError):  # the head of the card is no YAML mapping
        return UNKNOWN, ()
    languages = facts.get("language") or []
    codes = languages if isinstance(languages, list) else [languages]
    return str(facts.get("license") or UNKNOWN), tuple(str(code) for code in codes)


def _pooling_folder(modules: list[Mapping[str, Any]]) -> str:
    paths = [str(module["path"]) for module in modules if str(module["type"]).endswith(".Pooling")]
    return paths[0] if paths else "1_Pooling"


def _read_json(path: Path) -> Any:
    """The file's content; None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ExportError(f"{path.name} is damaged: {error}") from error
