"""Models: what the repository holds, what is loaded, and loading and unloading where allowed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from weakref import WeakValueDictionary

from rolecall_server.batching.batcher import Batcher
from rolecall_server.engine.base import LoadedModel, ModelControl
from rolecall_server.errors import NotPermittedError, RolecallError
from rolecall_server.tasks.catalog import Catalog, Model
from rolecall_server.types import ModelInfo, ModelKey, Observer

log = logging.getLogger(__name__)


class ModelState(Enum):
    AVAILABLE = "available"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class ListedModel:
    info: ModelInfo
    state: ModelState


class Versions(Protocol):
    """What lists versions, loaded or not. May read a disk, so it is asked on a thread."""

    def versions(self) -> list[ModelKey]: ...

    def latest(self, name: str) -> ModelKey: ...

    def info(self, key: ModelKey) -> ModelInfo: ...


class ModelTask:
    """Empty version means the newest (loaded one for `get`, one in the repository for `load`)."""

    def __init__(
        self,
        *,
        shelf: Versions,
        catalog: Catalog,
        control: ModelControl,
        batcher: Batcher,
        make_model: Callable[[LoadedModel], Awaitable[Model]],
        observer: Observer,
        allow_control: bool,
    ) -> None:
        self._shelf = shelf
        self._catalog = catalog
        self._control = control
        self._batcher = batcher
        self._make_model = make_model
        self._observer = observer
        self._allow_control = allow_control
        self._listing = asyncio.Lock()
        self._unreadable: dict[ModelKey, str] = {}
        self._changing: WeakValueDictionary[ModelKey, asyncio.Lock] = WeakValueDictionary()

    async def list(self) -> tuple[ListedModel, ...]:
        """All versions, by name, oldest first. One whose manifest can't be read is left out, with a line in the log."""
        loaded = {model.info.key for model in self.loaded()}
        async with self._listing:  # callers of this are not admitted one by one: the disk is read for one at a time
            available, unreadable = await asyncio.to_thread(_read, self._shelf, loaded)
        for key, reason in unreadable.items():
            if self._unreadable.get(key) != reason:
                log.warning("a version can't be listed", extra={"model": str(key), "error": reason})
        self._unreadable = unreadable
        models = {model.info.key: model for model in (*available, *self.loaded())}
        return tuple(models[key] for key in sorted(models, key=lambda key: (key.name, int(key.version))))

    def loaded(self) -> tuple[ListedModel, ...]:
        """The versions that serve, by name, oldest first, and those that are being unloaded."""
        models = [ListedModel(model.info, ModelState.READY) for model in self._catalog.serving()]
        models += [ListedModel(model.info, ModelState.UNLOADING) for model in self._catalog.leaving()]
        return tuple(sorted(models, key=lambda model: (model.info.key.name, int(model.info.key.version))))

    async def get(self, name: str, version: str) -> ListedModel:
        """One version. ModelNotFoundError, ModelNotLoadedError where none is loaded, EngineError (bad manifest)."""
        key = ModelKey(name, version) if version else await self._catalog.find(name, version)
        for model in self.loaded():
            if model.info.key == key:
                return model
        return ListedModel(await asyncio.to_thread(self._shelf.info, key), ModelState.AVAILABLE)

    async def load(self, name: str, version: str) -> ListedModel:
        """Load a version beside those that serve; it serves when this returns."""
        self._check_allowed()
        key = ModelKey(name, version) if version else await asyncio.to_thread(self._shelf.latest, name)
        return await self.load_key(key)

    async def load_key(self, key: ModelKey) -> ListedModel:
        """Load without asking whether callers may: for the start of the server."""
        async with self._lock(key):
            for serving in self._catalog.serving():
                if serving.info.key == key:
                    return ListedModel(serving.info, ModelState.READY)
            loaded = await self._control.load(key)
            try:
                model = await self._make_model(loaded)
            except BaseException:
                await self._control.unload(key)
                raise
            self._catalog.add(model)
            self._report(loaded, serving=True)
            return ListedModel(loaded.info, ModelState.READY)

    async def unload(self, name: str, version: str) -> None:
        """Retire a version once the requests on it have ended."""
        self._check_allowed()
        key = await self._catalog.find(name, version)
        async with self._lock(key):
            model = next((model for model in self._control.loaded() if model.info.key == key), None)
            await self._catalog.retire(key, self._control.unload)
            self._batcher.forget(key)
            if model is not None:
                self._report(model, serving=False)

    def _lock(self, key: ModelKey) -> asyncio.Lock:
        """One change of a version at a time: a load that comes while it is unloaded waits, and loads it anew."""
        return self._changing.setdefault(key, asyncio.Lock())

    def _check_allowed(self) -> None:
        if not self._allow_control:
            raise NotPermittedError("loading and unloading is off; the server runs without --allow-model-control")

    def _report(self, model: LoadedModel, *, serving: bool) -> None:
        self._observer.on_model(
            model.info, provider=model.provider, fallback_nodes=model.fallback_nodes, loaded=serving
        )


def _read(shelf: Versions, loaded: Set[ModelKey]) -> tuple[list[ListedModel], dict[ModelKey, str]]:
    """From the disk: what is there beside the loaded versions, and why what can't be read can't."""
    available, unreadable = [], {}
    for key in shelf.versions():
        if key not in loaded:
            try:
                available.append(ListedModel(shelf.info(key), ModelState.AVAILABLE))
            except RolecallError as error:
                unreadable[key] = error.message
    return available, unreadable
