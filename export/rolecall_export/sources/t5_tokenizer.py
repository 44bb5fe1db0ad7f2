"""The tokenizer of a T5 checkpoint as the text of a tokenizer.json, which it may lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from rolecall_export.errors import ExportError
from rolecall_export.sources import sentencepiece_model
from rolecall_export.sources.sentencepiece_model import CONTROL, UNKNOWN, USER_DEFINED
from rolecall_export.t5_weights import T5Config

_READY = "tokenizer.json"
_PIECES = ("spiece.model", "sentencepiece.model", "tokenizer.model")
_BYTES_CLASS = "ByT5Tokenizer"
_SPACE = "▁"
_BYTE_SPECIALS = ("<pad>", "</s>", "<unk>")
_END = "</s>"


def read_tokenizer(folder: Path, config: T5Config) -> str:
    """Content of tokenizer.json, without truncation and padding: as it is there, else made for bytes or SentencePiece.

    ExportError where there is none, it does not end texts with the end-of-sequence token, or it gives ids that the
    model does not know.
    """
    tokenizer = _load(folder)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= config.vocabulary_size:
        raise ExportError(f"the tokenizer gives ids up to {largest}, the model knows {config.vocabulary_size}")
    if tokenizer.encode("a").ids[-1:] != [config.eos_token_id]:
        raise ExportError(f"the tokenizer does not end texts with the end-of-sequence token {config.eos_token_id}")
    return str(tokenizer.to_str())


def _load(folder: Path) -> Tokenizer:
    if (folder / _READY).is_file():
        try:
            return Tokenizer.from_file(str(folder / _READY))
        except Exception as error:  # the library raises no narrower class
            raise ExportError(f"{_READY} can't be read: {error}") from error
    settings = _settings(folder)
    if settings.get("tokenizer_class") == _BYTES_CLASS:
        return byte_tokenizer(extra_ids=_extra_ids(settings, default=125))
    for name in _PIECES:
        if (folder / name).is_file():
            return piece_tokenizer(folder / name, extra_ids=_extra_ids(settings, default=100))
    raise ExportError(f"the checkpoint has no tokenizer: none of {', '.join((_READY, *_PIECES))}")


def byte_tokenizer(*, extra_ids: int = 125) -> Tokenizer:
    """ByT5's: three special tokens, one for each byte, then the sentinels. Method: Xue et al. 2022.

    Like transformers', but for a text that itself ends with </s>, which gets another one, and for bytes that are no
    character, which become U+FFFD instead of nothing.
    """
    vocabulary = {token: index for index, token in enumerate((*_BYTE_SPECIALS, *_byte_letters()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    # Not the fallback to bytes: its decoder gives up a whole run of them for one that is incomplete.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in _BYTE_SPECIALS]
    sentinels = [AddedToken(f"<extra_id_{index}>", normalized=False) for index in range(extra_ids)]
    tokenizer.add_special_tokens([*specials, *sentinels])
    tokenizer.post_processor = _ending(vocabulary[_END])
    return tokenizer


def _byte_letters() -> list[str]:
    """The letter that ByteLevel writes for each byte: itself where it can be seen, else the next one from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in seen else chr(next(hidden)) for byte in range(0x100)]


def piece_tokenizer(path: Path, *, extra_ids: int = 100) -> Tokenizer:
    """A SentencePiece model; `extra_ids` sentinels follow its pieces, the first one last, as T5 has them.

    Unlike transformers' conversion this keeps the fallback to bytes, so no character is lost where the model has it.
    """
    model = sentencepiece_model.read(path)
    unknown = next((index for index, piece in enumerate(model.pieces) if piece.type == UNKNOWN), None)
    names = {piece.text: index for index, piece in enumerate(model.pieces)}
    if unknown is None or _END not in names:
        raise ExportError(f"{path.name} lacks the piece for the unknown or {_END}")
    sentinels = [f"<extra_id_{index}>" for index in reversed(range(extra_ids))]
    vocabulary = [(piece.text, piece.score) for piece in model.pieces] + [(each, 0.0) for each in sentinels]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=model.byte_fallback))
    specials = [piece.text for piece in model.pieces if piece.type in (CONTROL, UNKNOWN)] + sentinels
    tokenizer.add_special_tokens([AddedToken(each, normalized=False) for each in specials])
    own = [piece.text for piece in model.pieces if piece.type == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in own])
    forms = [normalizers.Precompiled(model.characters)] if model.characters else []
    spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), _SPACE)]
    tokenizer.normalizer = normalizers.Sequence([*forms, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    words = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), words]) if model.byte_fallback else words
    tokenizer.post_processor = _ending(names[_END])
    return tokenizer


def _ending(token_id: int) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, token_id)])


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    except ValueError as error:
        raise ExportError(f"{path.name} is damaged: {error}") from error
    if not isinstance(settings, dict):
        raise ExportError(f"{path.name} is damaged: not an object")
    return settings


def _extra_ids(settings: dict[str, Any], *, default: int) -> int:
    """What the settings say; the special tokens they list by name count as well."""
    extra_ids = settings.get("extra_ids")
    if isinstance(extra_ids, int) and extra_ids >= 0:
        return extra_ids
    if extra_ids is not None:
        raise ExportError(f"tokenizer_config.json is damaged: extra_ids is {extra_ids!r}")
    listed = settings.get("additional_special_tokens") or []
    names = [each["content"] if isinstance(each, dict) else str(each) for each in listed]
    return sum(name.startswith("<extra_id_") for name in names) or default
