"""Which models are there, by name and version, and who is using them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from rolecall_server.errors import InvalidInputError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.types import ModelInfo, ModelKey


class Model(Protocol):
    """A loaded version, of whatever kind."""

    @property
    def info(self) -> ModelInfo: ...


ModelT = TypeVar("ModelT", bound=Model)


@dataclass(slots=True, eq=False)
class _Entry:
    model: Model
    users: int = 0
    leaving: bool = False
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class Catalog:
    """Owned by the event loop."""

    def __init__(
        self, essential: str, exists: Callable[[str, str], bool], *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """essential: the model without which the server is UNAVAILABLE. exists: whether the repository has a version,
        or, where that is empty, any of the model of that name; asked on a thread, since it reads a disk, and only about
        what is not loaded. on_change: called when `serving` gives something else."""
        self._essential = essential
        self._exists = exists
        self._on_change = on_change
        self._entries: dict[ModelKey, _Entry] = {}

    def add(self, model: Model) -> None:
        self._entries[model.info.key] = _Entry(model)
        self._on_change()

    def serving(self) -> list[Model]:
        return [entry.model for entry in self._entries.values() if not entry.leaving]

    def leaving(self) -> list[Model]:
        return [entry.model for entry in self._entries.values() if entry.leaving]

    async def find(self, name: str, version: str) -> ModelKey:
        """The loaded version that a request means, the newest where it names none. ModelNotFoundError,
        ModelNotLoadedError, UnavailableError."""
        serving = [model.info.key for model in self.serving()]
        found = [key for key in serving if key.name == name and version in ("", key.version)]
        if found:
            return max(found, key=lambda key: int(key.version))
        if name == self._essential and not version:
            raise UnavailableError(f"no version of the model {name} is loaded")
        leaving = any(m.info.key.name == name and version in ("", m.info.key.version) for m in self.leaving())
        if leaving or await asyncio.to_thread(self._exists, name, version):
            raise ModelNotLoadedError(name, version)
        raise ModelNotFoundError(name, version)

    @asynccontextmanager
    async def use(self, name: str, version: str) -> AsyncIterator[Model]:
        """A model that stays loaded until the block ends."""
        entry = self._entries[await self.find(name, version)]  # `find` does not pause where it finds something
        entry.users += 1
        try:
            yield entry.model
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
        self._on_change()
        try:
            while entry.users:
                entry.unused.clear()
                await entry.unused.wait()
        except BaseException:
            entry.leaving = False  # whoever wanted it gone went away: it serves on, and can be retired again
            self._on_change()
            raise
        try:
            await unload(key)
        finally:
            del self._entries[key]


class Section(Generic[ModelT]):
    """The models of one kind in a catalog, for the tasks that run these."""

    def __init__(self, catalog: Catalog, kind: type[ModelT], default: str) -> None:
        """default: the name of the model that is meant where a request names none."""
        self._catalog = catalog
        self._kind = kind
        self._default = default

    @asynccontextmanager
    async def use(self, name: str, version: str) -> AsyncIterator[ModelT]:
        """As the catalog's; InvalidInputError for a model of another kind."""
        async with self._catalog.use(name or self._default, version) as model:
            if not isinstance(model, self._kind):
                described = f"{model.info.key}, of the family {model.info.family}"
                raise InvalidInputError("model", f"{described}, is not for this method")
            yield model
