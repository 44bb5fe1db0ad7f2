"""Models: what the repository holds, what is loaded, and loading and unloading where allowed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from rolecall_server.batching.batcher import Batcher
from rolecall_server.engine.base import LoadedModel, ModelControl
from rolecall_server.errors import ModelNotFoundError, NotPermittedError
from rolecall_server.tasks.catalog import EncoderCatalog
from rolecall_server.tasks.encoder import Encoder
from rolecall_server.types import ModelInfo, ModelKey, Observer


class ModelState(Enum):
    AVAILABLE = "available"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class ListedModel:
    info: ModelInfo
    state: ModelState


class Versions(Protocol):
    """What lists versions, loaded or not."""

    def versions(self) -> list[ModelKey]: ...

    def latest(self, name: str) -> ModelKey: ...

    def info(self, key: ModelKey) -> ModelInfo: ...


class ModelTask:
    """Empty version means the newest (loaded one for `get`, one in the repository for `load`)."""

    def __init__(
        self,
        *,
        shelf: Versions,
        catalog: EncoderCatalog,
        control: ModelControl,
        batcher: Batcher,
        make_encoder: Callable[[LoadedModel], Awaitable[Encoder]],
        observer: Observer,
        allow_control: bool,
    ) -> None:
        self._shelf = shelf
        self._catalog = catalog
        self._control = control
        self._batcher = batcher
        self._make_encoder = make_encoder
        self._observer = observer
        self._allow_control = allow_control

    async def list(self) -> tuple[ListedModel, ...]:
        states = {e.info.key: ModelState.READY for e in self._catalog.serving()}
        states.update({e.info.key: ModelState.UNLOADING for e in self._catalog.leaving()})
        loaded = {e.info.key: e.info for e in (*self._catalog.serving(), *self._catalog.leaving())}
        keys = sorted({*self._shelf.versions(), *loaded}, key=lambda key: (key.name, int(key.version)))
        return tuple(
            ListedModel(loaded.get(key) or self._shelf.info(key), states.get(key, ModelState.AVAILABLE)) for key in keys
        )

    async def get(self, name: str, version: str) -> ListedModel:
        key = ModelKey(name, version) if version else self._catalog.find(name, version)
        for model in await self.list():
            if model.info.key == key:
                return model
        raise ModelNotFoundError(name, version)

    async def load(self, name: str, version: str) -> ListedModel:
        """Load a version beside those that serve; it serves when this returns."""
        self._check_allowed()
        key = ModelKey(name, version) if version else self._shelf.latest(name)
        return await self.load_key(key)

    async def load_key(self, key: ModelKey) -> ListedModel:
        """Load without asking whether callers may: for the start of the server."""
        if key not in {encoder.info.key for encoder in self._catalog.serving()}:
            loaded = await self._control.load(key)
            self._catalog.add(await self._make_encoder(loaded))
            self._report(loaded, serving=True)
        return ListedModel(self._shelf.info(key), ModelState.READY)

    async def unload(self, name: str, version: str) -> None:
        """Retire a version once the requests on it have ended."""
        self._check_allowed()
        key = self._catalog.find(name, version)
        model = next(model for model in self._control.loaded() if model.info.key == key)
        await self._catalog.retire(key, self._control.unload)
        self._batcher.forget(key)
        self._report(model, serving=False)

    def _check_allowed(self) -> None:
        if not self._allow_control:
            raise NotPermittedError("loading and unloading is off; the server runs without --allow-model-control")

    def _report(self, model: LoadedModel, *, serving: bool) -> None:
        self._observer.on_model(
            model.info, provider=model.provider, fallback_nodes=model.fallback_nodes, loaded=serving
        )
