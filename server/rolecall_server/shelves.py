"""Where model versions, and the tokenizers that go with them, come from: a repository on disk, or made up."""

import asyncio
from pathlib import Path
from typing import Protocol

from rolecall_server.engine.base import LoadedModel
from rolecall_server.engine.fake import FAKE_GENERATOR_KEY, FAKE_KEY, fake_generator_info, fake_info
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.errors import EngineError, ModelNotFoundError
from rolecall_server.repository import ModelRepository
from rolecall_server.tasks.catalog import Model
from rolecall_server.tasks.encoder import Encoder, Shared
from rolecall_server.tasks.generator import GenerationParts, Generator
from rolecall_server.text.tokenizer import Tokenizer
from rolecall_server.types import ModelInfo, ModelKey


class Shelf(Protocol):
    """Lists versions and gives the tokenizers of those that the engine has loaded. All methods may read a disk."""

    def versions(self) -> list[ModelKey]: ...

    def has(self, name: str, version: str = "") -> bool: ...

    def latest(self, name: str) -> ModelKey:
        """ModelNotFoundError."""

    def info(self, key: ModelKey) -> ModelInfo:
        """ModelNotFoundError; EngineError where it can't be read."""

    def tokenizer(self, info: ModelInfo) -> Tokenizer:
        """EngineError where it is missing or damaged."""


async def make_model(shelf: Shelf, loaded: LoadedModel, *, shared: Shared, generation: GenerationParts) -> Model:
    """The encoder or the generator around a version that the engine has loaded. EngineError (bad artifact)."""
    tokenizer = await asyncio.to_thread(shelf.tokenizer, loaded.info)
    if loaded.generation is not None:
        return Generator(loaded.info, tokenizer, stepper=loaded.generation, parts=generation)
    if loaded.info.generates:
        raise EngineError(f"model {loaded.info.key}: this engine does not run generators")
    return Encoder(loaded.info, tokenizer, shared=shared)


class RepositoryShelf(ModelRepository):
    def tokenizer(self, info: ModelInfo) -> Tokenizer:
        """EngineError where it is missing or damaged."""
        artifact = self.artifact(info.key)
        return Tokenizer.load(artifact.tokenizer, max_tokens=info.max_tokens, prefixes=artifact.prefixes)


class FakeShelf:
    """The fake engine's encoder and generator, of one version each, with a tokenizer of one token for each byte."""

    def versions(self) -> list[ModelKey]:
        return [FAKE_KEY, FAKE_GENERATOR_KEY]

    def has(self, name: str, version: str = "") -> bool:
        return any(name == key.name and version in ("", key.version) for key in self.versions())

    def latest(self, name: str) -> ModelKey:
        for key in self.versions():
            if name == key.name:
                return key
        raise ModelNotFoundError(name)

    def info(self, key: ModelKey) -> ModelInfo:
        if key not in self.versions():
            raise ModelNotFoundError(key.name, key.version)
        return fake_generator_info(key) if key.name == FAKE_GENERATOR_KEY.name else fake_info(key)

    def tokenizer(self, info: ModelInfo) -> Tokenizer:
        return Tokenizer(byte_tokenizer(), max_tokens=info.max_tokens, prefixes={})


def open_shelf(backend: str, repository: Path) -> Shelf:
    return FakeShelf() if backend == "fake" else RepositoryShelf(repository)
