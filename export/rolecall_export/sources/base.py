"""What every source gives: who a checkpoint is, where its files lie, and its model with what goes around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx

from rolecall_export.progress import Reporter
from rolecall_export.t5_weights import T5Weights

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
class CheckpointFolder:
    """A checkpoint in Hugging Face form on this machine; `name` is what it is called where it is from."""

    path: Path
    identity: Identity
    name: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Checkpoint:
    """A T5, ready to be converted."""

    identity: Identity
    folder: Path
    """Its files in Hugging Face form, for whoever wants to run it elsewhere."""
    weights: T5Weights
    tokenizer: str
    """Content of tokenizer.json, without truncation and padding."""
    licence: str
    languages: tuple[str, ...]


class Place(Protocol):
    """Somewhere a checkpoint in Hugging Face form can be fetched from."""

    def identify(self) -> Identity:
        """As Source.identify."""
        ...

    def fetch(self, reporter: Reporter) -> CheckpointFolder:
        """Bring its files here. ExportError when they can't be had."""
        ...


class T5Source(Protocol):
    """One place a T5 comes from; like Source."""

    @property
    def packages(self) -> tuple[str, ...]: ...

    def identify(self) -> Identity: ...

    def load(self, reporter: Reporter) -> T5Checkpoint: ...
