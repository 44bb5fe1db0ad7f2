"""The generators that an engine has loaded. Belongs to the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from rolecall_server.engine.base import LoadedModel
from rolecall_server.engine.lanes import GenerationLanes, Generator, LaneOptions
from rolecall_server.errors import ModelNotLoadedError, UnavailableError
from rolecall_server.generation.types import Delta, Finished, GenerationRequest
from rolecall_server.types import Backlog, ModelKey, Observer, Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """max_rows: sequences at a time, over all lanes. cache_bytes: what the caches of one generator may take, over
    all lanes. lanes: 0 for a choice by the cores. niceness: see LaneOptions. prefill_tokens: see SchedulerLimits."""

    max_rows: int = 32
    cache_bytes: int = 2 << 30
    lanes: int = 0
    prefill_tokens: int = 512
    niceness: int = 5


@dataclass(frozen=True, slots=True)
class _Loaded:
    lanes: GenerationLanes
    model: LoadedModel


class Generators:
    """on_change: called with (whole, reason) whenever the lanes of one of them died or are back."""

    def __init__(self, observer: Observer, on_change: Callable[[bool, str], None]) -> None:
        self._observer = observer
        self._on_change = on_change
        self._loaded: dict[ModelKey, _Loaded] = {}
        self._closed = False

    def __contains__(self, key: ModelKey) -> bool:
        return key in self._loaded

    @property
    def whole(self) -> bool:
        """Whether all lanes of all generators take work."""
        return all(loaded.lanes.whole for loaded in self._loaded.values())

    def models(self) -> list[LoadedModel]:
        return [loaded.model for loaded in self._loaded.values()]

    async def add(self, generator: Generator, model: LoadedModel, options: LaneOptions) -> None:
        """Start the lanes of a generator. UnavailableError."""
        lanes = GenerationLanes(
            generator,
            options,
            observer=self._observer,
            on_change=self._changed,
            versions=lambda: self._versions(generator.key.name),
        )
        await lanes.start()
        if self._closed:
            await lanes.close()
            raise UnavailableError("the engine is closed")
        self._loaded[generator.key] = _Loaded(lanes, model)

    async def remove(self, key: ModelKey) -> None:
        """End the lanes of one; what still runs on it fails with UnavailableError. ModelNotLoadedError."""
        loaded = self._loaded.pop(key, None)
        if loaded is None:
            raise ModelNotLoadedError(key.name, key.version)
        await loaded.lanes.close()

    def generate(self, key: ModelKey, request: GenerationRequest) -> AsyncGenerator[Delta | Finished, None]:
        """See Engine.generate; ModelNotLoadedError comes at once."""
        return self._lanes(key).generate(request)

    def backlog(self, key: ModelKey, priority: Priority) -> Backlog:
        return self._lanes(key).backlog(priority)

    def leftovers(self) -> int:
        """What is kept of requests; 0 when none is under way."""
        return sum(loaded.lanes.leftovers() for loaded in self._loaded.values())

    async def close(self) -> None:
        """End all lanes; see GenerationLanes.close."""
        self._closed = True
        await asyncio.gather(*(loaded.lanes.close() for loaded in self._loaded.values()))

    def _lanes(self, key: ModelKey) -> GenerationLanes:
        if key not in self._loaded:
            raise ModelNotLoadedError(key.name, key.version)
        return self._loaded[key].lanes

    def _versions(self, name: str) -> list[GenerationLanes]:
        return [loaded.lanes for key, loaded in self._loaded.items() if key.name == name]

    def _changed(self, whole: bool, reason: str) -> None:
        self._on_change(whole and self.whole, reason)
