"""The manifest of an exported version: what it was made of, how, and how far it is from the float model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a version folder."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorFacts:
    """What the server needs to know of a generator beside what every manifest says."""

    max_source_tokens: int
    """With the end-of-sequence token."""
    max_new_tokens: int
    eos_token_id: int
    decoder_start_token_id: int
    layers: int
    """Of the decoder: each has caches of `heads` times `head_size`."""
    heads: int
    head_size: int
    vocabulary_size: int
    prompt_style: str
    """How the server puts its tasks into words for this model; "plain": as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that the server needs to know about a version without loading its graph."""

    name: str
    family: str
    version: str
    """The name of the version folder, a decimal number."""
    preset: str
    provider: str
    source: str
    revision: str
    licence: str
    opset: int
    dimensions: int
    max_tokens: int
    vocabulary_size: int
    pad_token_id: int
    pooling: str
    prefixes: Mapping[str, str]
    languages: tuple[str, ...]
    files: Mapping[str, FileEntry]
    """Every file of the folder but the manifest itself."""
    measured: Mapping[str, float]
    measured_on: str
    """ONNX Runtime's name of the provider that the converted graph was measured on."""
    tools: Mapping[str, str]
    """Version of each tool that took part in the export."""
    generator: GeneratorFacts | None = None
    """None, and not in the file, for an encoder."""

    @property
    def weights_hash(self) -> str:
        """sha256 over the sorted lines "name sha256" of the files: names this version's content."""
        lines = sorted(f"{name} {entry.sha256}\n" for name, entry in self.files.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of manifest.json."""
        fields = {"format": FORMAT, **asdict(self), "weights_hash": self.weights_hash}
        if self.generator is None:
            del fields["generator"]
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote. ValueError when it is anything else, or its files do not give its hash."""
        try:
            fields: dict[str, Any] = json.loads(text)
            wanted_format, weights_hash = fields.pop("format"), fields.pop("weights_hash")
            fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
            fields["languages"] = tuple(fields["languages"])
            if "generator" in fields:
                fields["generator"] = GeneratorFacts(**fields["generator"])
            manifest = cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error}") from error
        if wanted_format != FORMAT:
            raise ValueError(f"manifest format {wanted_format} is not {FORMAT}")
        if manifest.weights_hash != weights_hash:
            raise ValueError("the weights hash does not fit the list of files")
        return manifest


def describe(folder: Path) -> dict[str, FileEntry]:
    """Hash and size of every file in a version folder but the manifest, by path relative to it."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != NAME:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            entries[name] = FileEntry(sha256=digest, bytes=path.stat().st_size)
    return entries


def read(folder: Path) -> Manifest | None:
    """The manifest of a version folder; None where there is none that can be understood."""
    try:
        return Manifest.from_json((folder / NAME).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
