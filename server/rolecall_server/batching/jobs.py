"""What the batcher hands out: one job for each request, one outcome for each of its texts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolecall_server.errors import RolecallError
from rolecall_server.types import TokenIds, Vector


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """vector: float32 [dimensions]. The rest describes the batch that the sequence ran in; seconds."""

    vector: Vector
    queue_seconds: float
    inference_seconds: float
    batch_size: int
    padded_tokens: int


Outcome = SequenceResult | RolecallError

TextListener = Callable[[int, list[Outcome]], None]
"""Told the number of a text and the outcomes of its sequences, in their order, as soon as the last of them is there."""


class Job:
    """The texts of one request, each of one or more sequences: done when each text has its outcomes, or when one error
    ended them all."""

    def __init__(self, texts: Sequence[Sequence[TokenIds]], on_text: TextListener) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_text = on_text
        self._outcomes: list[dict[int, Outcome]] = [{} for _ in texts]
        self._sizes = [len(sequences) for sequences in texts]
        self._missing = len(texts)

    def tickets(self) -> list["Ticket"]:
        """One for each sequence, text by text."""
        return [Ticket(self, text, position) for text, size in enumerate(self._sizes) for position in range(size)]

    def settle(self, text: int, position: int, outcome: Outcome) -> None:
        outcomes = self._outcomes[text]
        outcomes[position] = outcome
        if self.done.done() or len(outcomes) < self._sizes[text]:
            return
        self._on_text(text, [outcomes[place] for place in range(self._sizes[text])])
        self._missing -= 1
        if self._missing == 0:
            self.done.set_result(None)

    def fail(self, error: RolecallError) -> None:
        """End the whole job; its other sequences are no longer wanted."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a queued sequence's outcome goes."""

    job: Job
    text: int
    position: int

    @property
    def wanted(self) -> bool:
        return not self.job.done.done()

    def settle(self, outcome: Outcome) -> None:
        self.job.settle(self.text, self.position, outcome)
