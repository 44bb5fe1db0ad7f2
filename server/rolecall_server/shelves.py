"""Where model versions, and the tokenizers that go with them, come from: a repository on disk, or made up."""

import asyncio
from pathlib import Path
from typing import Protocol

from rolecall_server.engine.fake import FAKE_KEY, fake_info
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.errors import ModelNotFoundError
from rolecall_server.repository import ModelRepository
from rolecall_server.tasks.encoder import Encoder, Shared
from rolecall_server.text.tokenizer import Tokenizer
from rolecall_server.types import ModelInfo, ModelKey


class Shelf(Protocol):
    """Lists versions and makes the encoder of one that the engine has loaded. All but `encoder` may read a disk."""

    def versions(self) -> list[ModelKey]: ...

    def has(self, name: str, version: str = "") -> bool: ...

    def latest(self, name: str) -> ModelKey:
        """ModelNotFoundError."""

    def info(self, key: ModelKey) -> ModelInfo:
        """ModelNotFoundError; EngineError where it can't be read."""

    async def encoder(self, info: ModelInfo, shared: Shared) -> Encoder: ...


class RepositoryShelf(ModelRepository):
    async def encoder(self, info: ModelInfo, shared: Shared) -> Encoder:
        """EngineError where the tokenizer is missing or damaged."""

        def load() -> Tokenizer:
            artifact = self.artifact(info.key)
            return Tokenizer.load(artifact.tokenizer, max_tokens=info.max_tokens, prefixes=artifact.prefixes)

        return Encoder(info, await asyncio.to_thread(load), shared=shared)


class FakeShelf:
    """The one version of the fake engine, with a tokenizer of one token for each byte."""

    def versions(self) -> list[ModelKey]:
        return [FAKE_KEY]

    def has(self, name: str, version: str = "") -> bool:
        return name == FAKE_KEY.name and version in ("", FAKE_KEY.version)

    def latest(self, name: str) -> ModelKey:
        if name != FAKE_KEY.name:
            raise ModelNotFoundError(name)
        return FAKE_KEY

    def info(self, key: ModelKey) -> ModelInfo:
        if not self.has(key.name, key.version):
            raise ModelNotFoundError(key.name, key.version)
        return fake_info(key)

    async def encoder(self, info: ModelInfo, shared: Shared) -> Encoder:
        return Encoder(info, Tokenizer(byte_tokenizer(), max_tokens=info.max_tokens, prefixes={}), shared=shared)


def open_shelf(backend: str, repository: Path) -> Shelf:
    return FakeShelf() if backend == "fake" else RepositoryShelf(repository)
