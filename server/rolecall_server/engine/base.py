"""The seam between the gateway and whatever runs the models."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rolecall_server.generation.stepper import StepperInfo
from rolecall_server.generation.types import Delta, Finished, GenerationRequest
from rolecall_server.types import Backlog, ModelInfo, ModelKey, Priority, TokenIds


@dataclass(frozen=True, slots=True)
class EmbedOutput:
    """embeddings: float32 [batch, dimensions], row i for sequence i. padded_tokens: batch x padded length."""

    embeddings: NDArray[np.float32]
    padded_tokens: int
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version that the engine serves, and how it runs it.

    provider: the execution provider of most of its nodes. fallback_nodes: nodes that another one had to take.
    generation: how it decodes; None for an encoder.
    """

    info: ModelInfo
    provider: str
    fallback_nodes: int = 0
    generation: StepperInfo | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself; the gateway asks for facts, never for its class.

    parallelism: batches it works on at a time. preferred_batch_tokens: padded tokens of a batch beyond which
    throughput no longer grows; the batcher aims at it and never passes its own maximum.
    """

    backend: str
    parallelism: int
    preferred_batch_tokens: int


HealthListener = Callable[[bool, str], None]
"""Called on the event loop with (serving, reason) whenever an engine's own view of its health changes."""


class Engine(Protocol):
    """Runs batches and generations. Raises UnavailableError when it is gone, EngineError when a batch failed."""

    @property
    def info(self) -> EngineInfo: ...

    async def embed(self, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        """Embed 1 to N sequences of token ids, each of at most the model's max_tokens."""

    def generate(self, model: ModelKey, request: GenerationRequest) -> AsyncGenerator[Delta | Finished, None]:
        """Deltas if the request streams, as many as were fetched in time, then exactly one Finished. Or it raises:
        DeadlineError (in the queue or while it ran), UnavailableError, EngineError, ModelNotLoadedError.

        Closing the generator, or cancelling who waits for it, ends the work at its next step. The engine gives the
        request an id of its own.
        """

    def generation_backlog(self, model: ModelKey, priority: Priority = Priority.INTERACTIVE) -> Backlog:
        """What a request to a generator would find. Its tokens are those of the source and, for each row of its
        decoding, max_new_tokens. ModelNotLoadedError."""

    async def health(self) -> bool:
        """Whether it can take a batch now."""

    async def close(self) -> None:
        """Stop after the batches that run; later calls raise UnavailableError."""


class ModelControl(Protocol):
    """Loading and unloading, by engines that can."""

    def loaded(self) -> Sequence[LoadedModel]: ...

    async def load(self, key: ModelKey) -> LoadedModel:
        """Load a version and run it once. ModelNotFoundError, EngineError (bad artifact)."""

    async def unload(self, key: ModelKey) -> None:
        """Forget a version; nothing may be running on it any more. ModelNotLoadedError."""
