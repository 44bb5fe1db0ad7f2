"""What a SentencePiece model file says, read with protobuf alone.

The generated module in the wheel `sentencepiece` insists on one protobuf release, which need not be the one that gRPC
wants; the few fields that count here are declared below. Source: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from rolecall_export.errors import ExportError

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
"""Types of pieces that are not ordinary ones."""
_UNIGRAM = 1
_FIELD: Any = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "rolecall.sentencepiece"
_MESSAGES: dict[str, tuple[tuple[str, int, Any], ...]] = {
    "Piece": (
        ("piece", 1, _FIELD.TYPE_STRING),
        ("score", 2, _FIELD.TYPE_FLOAT),
        ("type", 3, _FIELD.TYPE_INT32),
    ),
    "Trainer": (("model_type", 3, _FIELD.TYPE_INT32), ("byte_fallback", 35, _FIELD.TYPE_BOOL)),
    "Normalizer": (
        ("precompiled_charsmap", 2, _FIELD.TYPE_BYTES),
        ("add_dummy_prefix", 3, _FIELD.TYPE_BOOL),
        ("remove_extra_whitespaces", 4, _FIELD.TYPE_BOOL),
    ),
    "Model": (("pieces", 1, "Piece"), ("trainer", 2, "Trainer"), ("normalizer", 3, "Normalizer")),
}
_DEFAULTS = {"type": "1", "model_type": "1", "add_dummy_prefix": "true", "remove_extra_whitespaces": "true"}


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary; its place is its id."""

    text: str
    score: float
    type: int


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """A unigram model that adds a space in front and merges spaces, as all of the T5 family do."""

    pieces: tuple[Piece, ...]
    byte_fallback: bool
    characters: bytes
    """The compiled map of characters to their normal forms; empty for none."""


def read(path: Path) -> SentencePieceModel:
    """ExportError when the file is damaged or a model of another kind."""
    model = _message_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ExportError(f"{path.name} is no SentencePiece model: {error}") from error
    if not model.pieces or model.trainer.model_type != _UNIGRAM:
        raise ExportError(f"{path.name} is no unigram SentencePiece model")
    if not (model.normalizer.add_dummy_prefix and model.normalizer.remove_extra_whitespaces):
        raise ExportError(f"{path.name} treats spaces in a way that can't be exported")
    return SentencePieceModel(
        pieces=tuple(Piece(each.piece, each.score, each.type) for each in model.pieces),
        byte_fallback=model.trainer.byte_fallback,
        characters=model.normalizer.precompiled_charsmap,
    )


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sentencepiece.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
                added.label = _FIELD.LABEL_REPEATED if field == "pieces" else _FIELD.LABEL_OPTIONAL
            else:
                added.type = kind
                if field in _DEFAULTS:
                    added.default_value = _DEFAULTS[field]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
