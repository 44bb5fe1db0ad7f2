"""What the batcher hands out: one job for each request, one outcome for each of its sequences."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rolecall_server.batching.policy import QueuedSequence
from rolecall_server.errors import RolecallError
from rolecall_server.types import RequestContext, TokenIds, Vector


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """vector: float32 [dimensions]. The rest describes the batch that the sequence ran in; seconds."""

    vector: Vector
    queue_seconds: float
    inference_seconds: float
    batch_size: int
    padded_tokens: int


Outcome = SequenceResult | RolecallError


class Job:
    """All sequences of one request: done when each has its outcome, or when one error ended them all."""

    def __init__(self, sequences: Sequence[TokenIds], context: RequestContext, *, now: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sequences = [
            QueuedSequence(ids, context.priority, now, context.deadline, Ticket(self, position))
            for position, ids in enumerate(sequences)
        ]
        self._outcomes: dict[int, Outcome] = {}

    def outcomes(self) -> list[Outcome]:
        """In the order of the sequences; complete once `done` has a result."""
        return [self._outcomes[position] for position in range(len(self.sequences))]

    def settle(self, position: int, outcome: Outcome) -> None:
        self._outcomes[position] = outcome
        if len(self._outcomes) == len(self.sequences) and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: RolecallError) -> None:
        """End the whole job; its other sequences are no longer wanted."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a queued sequence's outcome goes."""

    job: Job
    position: int

    @property
    def wanted(self) -> bool:
        return not self.job.done.done()

    def settle(self, outcome: Outcome) -> None:
        self.job.settle(self.position, outcome)
