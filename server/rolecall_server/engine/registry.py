"""Backends by name. Each is imported only when it is asked for: `fake` needs no runtime."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rolecall_server.engine.base import Engine, HealthListener, ModelControl
from rolecall_server.engine.fake import FakeBehaviour, FakeEngine
from rolecall_server.engine.generators import GenerationOptions
from rolecall_server.errors import EngineError, ModelNotFoundError, NotImplementedYetError
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey, Observer


class ControlledEngine(Engine, ModelControl, Protocol):
    """An engine that loads and unloads models itself."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the backends need to know; each takes what concerns it.

    first: the version that will be loaded first, by which to choose between CPU and GPU; None for the CPU.
    providers: `auto` or names with commas between. workers, intra_op_threads: 0 for a choice by the cores.
    gpu_memory_bytes: None for no limit. cuda_graphs: see SessionSettings.
    """

    repository: Path
    first: ModelKey | None = None
    providers: str = "auto"
    workers: int = 0
    intra_op_threads: int = 0
    gpu_memory_bytes: int | None = None
    cuda_graphs: bool = False
    generation: GenerationOptions = GenerationOptions()
    fake: FakeBehaviour = FakeBehaviour()


def create_engine(
    backend: str, options: EngineOptions, *, on_health: HealthListener, observer: Observer
) -> ControlledEngine:
    """An engine with nothing loaded yet. ValueError for a name that is no backend."""
    if backend not in _BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; known are {', '.join(_BACKENDS)}")
    return _BACKENDS[backend](options, on_health, observer)


def _embedded(options: EngineOptions, on_health: HealthListener, observer: Observer) -> ControlledEngine:
    from rolecall_server.engine.embedded import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, EmbeddedEngine
    from rolecall_server.engine.ort.create import SessionSettings
    from rolecall_server.engine.ort.providers import CPU, parse_providers, wants_gpu
    from rolecall_server.engine.threads import split_cores
    from rolecall_server.hardware import usable_cores

    providers = parse_providers(options.providers)
    made_for = CPU
    if options.first is not None:
        with contextlib.suppress(EngineError, ModelNotFoundError):  # told when it is loaded
            made_for = ModelRepository(options.repository).artifact(options.first).provider
    on_gpu = wants_gpu(providers, made_for)
    split = split_cores(
        usable_cores(), workers=options.workers, intra_op_threads=options.intra_op_threads, on_gpu=on_gpu
    )
    settings = SessionSettings(
        providers=providers,
        intra_op_threads=split.intra_op_threads,
        gpu_memory_bytes=options.gpu_memory_bytes,
        cuda_graphs=options.cuda_graphs,
    )
    return EmbeddedEngine(
        options.repository,
        settings,
        workers=split.workers,
        preferred_batch_tokens=GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS,
        on_health=on_health,
        observer=observer,
        generation=options.generation,
    )


def _fake(options: EngineOptions, on_health: HealthListener, observer: Observer) -> ControlledEngine:
    return FakeEngine(options.fake, on_health, observer=observer, generation=options.generation)


def _triton(options: EngineOptions, on_health: HealthListener, observer: Observer) -> ControlledEngine:
    raise NotImplementedYetError("the triton backend is not built yet; use --backend embedded")


_BACKENDS: dict[str, Callable[[EngineOptions, HealthListener, Observer], ControlledEngine]] = {
    "embedded": _embedded,
    "fake": _fake,
    "triton": _triton,
}
