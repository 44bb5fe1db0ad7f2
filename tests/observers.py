"""An Observer that keeps what it hears."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rolecall_server.types import BatchReport, GenerationReport, ModelInfo, Priority


@dataclass
class ListObserver:
    queue: list[tuple[str, Priority, int, int]] = field(default_factory=list)
    batches: list[BatchReport] = field(default_factory=list)
    tokenized: list[float] = field(default_factory=list)
    shed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    cache: list[tuple[int, int]] = field(default_factory=list)
    evicted: int = 0
    scores: list[float] = field(default_factory=list)
    nonfinite: int = 0
    generation: list[GenerationReport] = field(default_factory=list)
    running: int = 0
    models: list[tuple[str, bool]] = field(default_factory=list)

    def on_queue(self, model: str, priority: Priority, *, size: int, tokens: int) -> None:
        self.queue.append((model, priority, size, tokens))

    def on_batch(self, report: BatchReport) -> None:
        self.batches.append(report)

    def on_tokenized(self, seconds: float, *, truncated_inputs: int) -> None:
        self.tokenized.append(seconds)

    def on_shed(self, reason: str) -> None:
        self.shed.append(reason)

    def on_cancelled(self, stage: str) -> None:
        self.cancelled.append(stage)

    def on_cache(self, *, hits: int, misses: int) -> None:
        self.cache.append((hits, misses))

    def on_evicted(self, count: int) -> None:
        self.evicted += count

    def on_scores(self, scores: NDArray[np.float32]) -> None:
        self.scores.extend(scores.tolist())

    def on_nonfinite(self, count: int) -> None:
        self.nonfinite += count

    def on_generation(self, report: GenerationReport) -> None:
        self.generation.append(report)

    def on_running(self, change: int) -> None:
        self.running += change

    def on_model(self, info: ModelInfo, *, provider: str, fallback_nodes: int, loaded: bool) -> None:
        self.models.append((str(info.key), loaded))
