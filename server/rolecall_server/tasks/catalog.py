"""Which encoders are there, by model and version, and who is using them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rolecall_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.tasks.encoder import Encoder
from rolecall_server.types import ModelKey


@dataclass(slots=True, eq=False)
class _Entry:
    encoder: Encoder
    users: int = 0
    leaving: bool = False
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class EncoderCatalog:
    """Owned by the event loop."""

    def __init__(self, default: str, exists: Callable[[str, str], bool]) -> None:
        """exists: whether the repository has a version, or, where that is empty, any of the model of that name. Asked
        on a thread, since it reads a disk, and only about what is not loaded."""
        self.default = default
        self._exists = exists
        self._entries: dict[ModelKey, _Entry] = {}

    def add(self, encoder: Encoder) -> None:
        self._entries[encoder.info.key] = _Entry(encoder)

    def serving(self) -> list[Encoder]:
        return [entry.encoder for entry in self._entries.values() if not entry.leaving]

    def leaving(self) -> list[Encoder]:
        return [entry.encoder for entry in self._entries.values() if entry.leaving]

    async def find(self, name: str, version: str) -> ModelKey:
        """The loaded version that a request means. ModelNotFoundError, ModelNotLoadedError, UnavailableError."""
        name = name or self.default
        serving = [encoder.info.key for encoder in self.serving()]
        found = [key for key in serving if key.name == name and version in ("", key.version)]
        if found:
            return max(found, key=lambda key: int(key.version))
        if name == self.default and not version:
            raise UnavailableError("the default encoder is not loaded")
        leaving = any(e.info.key.name == name and version in ("", e.info.key.version) for e in self.leaving())
        if leaving or await asyncio.to_thread(self._exists, name, version):
            raise ModelNotLoadedError(name, version)
        raise ModelNotFoundError(name, version)

    @asynccontextmanager
    async def use(self, name: str, version: str) -> AsyncIterator[Encoder]:
        """An encoder that stays loaded until the block ends."""
        entry = self._entries[await self.find(name, version)]  # `find` does not pause where it finds something
        entry.users += 1
        try:
            yield entry.encoder
        finally:
            entry.users -= 1
            if entry.users == 0:
                entry.unused.set()

    async def retire(self, key: ModelKey, unload: Callable[[ModelKey], Awaitable[None]]) -> None:
        """Take no new requests on a version, wait for those on it, then unload it. ModelNotLoadedError.

        Cancelled while it waits, the version serves again.
        """
        entry = self._entries.get(key)
        if entry is None or entry.leaving:
            raise ModelNotLoadedError(key.name, key.version)
        entry.leaving = True
        try:
            while entry.users:
                entry.unused.clear()
                await entry.unused.wait()
        except BaseException:
            entry.leaving = False  # whoever wanted it gone went away: it serves on, and can be retired again
            raise
        try:
            await unload(key)
        finally:
            del self._entries[key]
