"""Read a model repository: folders `<name>/<version>/` with a manifest each. Writes nothing, loads no weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolecall_server.errors import EngineError, ModelNotFoundError
from rolecall_server.types import ModelInfo, ModelKey

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
ENCODER = "encoder"
"""The family of every model that is no generator."""


@dataclass(frozen=True, slots=True)
class GeneratorShape:
    """What the manifest of a generator says beside what every manifest says; all counts are positive.

    max_source_tokens: end-of-sequence token included. prompt_style: how its tasks are put into words.
    """

    max_source_tokens: int
    max_new_tokens: int
    eos_token_id: int
    decoder_start_token_id: int
    layers: int
    heads: int
    head_size: int
    vocabulary_size: int
    prompt_style: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version folder: where its files are and what its manifest says. generator: None for an encoder."""

    info: ModelInfo
    folder: Path
    provider: str
    pad_token_id: int
    prefixes: Mapping[str, str]
    files: Mapping[str, str]
    generator: GeneratorShape | None = None

    @property
    def graph(self) -> Path:
        """Of an encoder."""
        return self.folder / "model.onnx"

    @property
    def encoder_graph(self) -> Path:
        """Of a generator, and so are the next two; the three share their weights."""
        return self.folder / "encoder.onnx"

    @property
    def prefill_graph(self) -> Path:
        return self.folder / "prefill.onnx"

    @property
    def step_graph(self) -> Path:
        return self.folder / "step.onnx"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def verify(self) -> None:
        """Hash every file that the manifest lists; EngineError on the first that differs or is missing."""
        for name, expected in sorted(self.files.items()):
            path = self.folder / name
            if not path.is_file():
                raise EngineError(f"model {self.info.key}: file {name} is missing")
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != expected:
                raise EngineError(f"model {self.info.key}: file {name} does not match the manifest's hash")


class ModelRepository:
    """A folder of models. Version folders appear and go by rename, so what is listed is whole.

    Every method reads the disk, and nothing of it is kept: call them where waiting for a disk harms nobody.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def versions(self) -> list[ModelKey]:
        """All versions, by name, oldest first."""
        names = sorted({manifest.parent.parent.name for manifest in self.root.glob(f"*/*/{MANIFEST}")})
        return [key for name in names for key in self.versions_of(name)]

    def versions_of(self, name: str) -> list[ModelKey]:
        """The versions of one model, oldest first; none where there is no such model."""
        folders = _folders(self.root / name) if _is_folder_name(name) else []
        keys = [ModelKey(name, folder) for folder in folders if self.has(name, folder)]
        return sorted(keys, key=lambda key: int(key.version))

    def has(self, name: str, version: str = "") -> bool:
        """Whether there is this version, or any of the model. Looks at their folders alone."""
        if not version:
            return bool(self.versions_of(name))
        if not (_is_folder_name(name) and version.isascii() and version.isdigit()):
            return False
        try:
            return (self.root / name / version / MANIFEST).is_file()
        except OSError:  # a name longer than names may be, a folder that may not be read
            return False

    def latest(self, name: str) -> ModelKey:
        versions = self.versions_of(name)
        if not versions:
            raise ModelNotFoundError(name)
        return versions[-1]

    def info(self, key: ModelKey) -> ModelInfo:
        """What the manifest says. Errors as `artifact`."""
        return self.artifact(key).info

    def artifact(self, key: ModelKey) -> Artifact:
        """Read one manifest. ModelNotFoundError; EngineError when it can't be understood."""
        if not (key.version and self.has(key.name, key.version)):
            raise ModelNotFoundError(key.name, key.version)
        folder = self.root / key.name / key.version
        try:
            raw = json.loads((folder / MANIFEST).read_text(encoding="utf8"))
            return _artifact(key, folder, raw)
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"model {key}: unreadable manifest ({type(error).__name__})") from error


def _is_folder_name(name: str) -> bool:
    """Whether `name` names a folder in another, rather than that one, its parent, or one further down."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _folders(parent: Path) -> list[str]:
    try:
        return [entry.name for entry in parent.iterdir()]
    except OSError:
        return []


def _artifact(key: ModelKey, folder: Path, raw: Mapping[str, Any]) -> Artifact:
    if raw["format"] != MANIFEST_FORMAT:
        raise EngineError(f"model {key}: manifest format {raw['format']} is not {MANIFEST_FORMAT}")
    generator = _generator(raw["generator"]) if "generator" in raw else None
    family = str(raw.get("family", ENCODER))
    if (family == ENCODER) != (generator is None):
        raise EngineError(f"model {key}: a manifest of family {family!r} does not go with what else it says")
    info = ModelInfo(
        key=key,
        precision=str(raw["preset"]),
        weights_hash=str(raw["weights_hash"]),
        source=str(raw["source"]),
        licence=str(raw["licence"]),
        max_tokens=int(raw["max_tokens"]),
        dimensions=int(raw["dimensions"]),
        languages=tuple(raw.get("languages", ())),
        measured={name: float(value) for name, value in raw.get("measured", {}).items()},
        family=family,
        max_new_tokens=0 if generator is None else generator.max_new_tokens,
    )
    return Artifact(
        info=info,
        folder=folder,
        provider=str(raw["provider"]),
        pad_token_id=int(raw["pad_token_id"]),
        prefixes={str(kind): str(prefix) for kind, prefix in raw["prefixes"].items()},
        files={str(name): str(entry["sha256"]) for name, entry in raw["files"].items()},
        generator=generator,
    )


def _generator(raw: Mapping[str, Any]) -> GeneratorShape:
    """ValueError where a count is none."""
    shape = GeneratorShape(
        max_source_tokens=int(raw["max_source_tokens"]),
        max_new_tokens=int(raw["max_new_tokens"]),
        eos_token_id=int(raw["eos_token_id"]),
        decoder_start_token_id=int(raw["decoder_start_token_id"]),
        layers=int(raw["layers"]),
        heads=int(raw["heads"]),
        head_size=int(raw["head_size"]),
        vocabulary_size=int(raw["vocabulary_size"]),
        prompt_style=str(raw["prompt_style"]),
    )
    counts = (shape.max_source_tokens, shape.max_new_tokens, shape.layers, shape.heads, shape.head_size)
    if min(*counts, shape.vocabulary_size) < 1:
        raise ValueError("a count is not positive")
    return shape
