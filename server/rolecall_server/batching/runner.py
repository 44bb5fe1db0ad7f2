"""Run one batch on the engine and settle each of its sequences, whatever happens."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from rolecall_server.batching.jobs import SequenceResult
from rolecall_server.batching.queue import QueuedSequence
from rolecall_server.batching.scheduler import Batch, Scheduler
from rolecall_server.engine.base import EmbedOutput, Engine
from rolecall_server.errors import EngineError, NonFiniteOutputError, RolecallError
from rolecall_server.types import BatchReport, BatchTrigger, ModelKey, Observer

log = logging.getLogger(__name__)


class BatchRunner:
    def __init__(
        self,
        engine: Engine,
        *,
        scheduler: Scheduler,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._observer = observer
        self._clock = clock

    async def run(self, batch: Batch) -> None:
        """Never raises: an error becomes the outcome of the sequences it belongs to."""
        wanted = [sequence for sequence in batch.sequences if sequence.ticket.wanted]
        await self._run(batch.model, wanted, started=self._clock(), trigger=batch.trigger)

    async def _run(
        self, model: ModelKey, sequences: Sequence[QueuedSequence], *, started: float, trigger: BatchTrigger
    ) -> None:
        """Run sequences together; where the engine fails on them, halve until the bad one is alone."""
        if not sequences:
            return
        try:
            output = await self._engine.embed(model, [sequence.ids for sequence in sequences])
            self._report(model, sequences, output, started=started, trigger=trigger)
        except EngineError as error:
            if len(sequences) == 1:
                log.error("the engine failed on a sequence", extra={"model": str(model), "error": error.message})
                sequences[0].ticket.settle(error)
                return
            middle = len(sequences) // 2
            await self._run(model, sequences[:middle], started=started, trigger=trigger)
            await self._run(model, sequences[middle:], started=started, trigger=trigger)
        except RolecallError as error:  # the engine is gone, or the model: nothing of these requests can go on
            for sequence in sequences:
                sequence.ticket.job.fail(error)
        except Exception as error:  # whatever an engine throws, its requests get an answer
            log.exception("the engine broke its contract", extra={"model": str(model)})
            for sequence in sequences:
                sequence.ticket.settle(EngineError(type(error).__name__))

    def _report(
        self,
        model: ModelKey,
        sequences: Sequence[QueuedSequence],
        output: EmbedOutput,
        *,
        started: float,
        trigger: BatchTrigger,
    ) -> None:
        waits = tuple(started - sequence.enqueued for sequence in sequences)
        self._scheduler.note(model, output.padded_tokens, output.inference_seconds, now=self._clock())
        self._observer.on_batch(
            BatchReport(
                model=model,
                size=len(sequences),
                tokens=sum(len(sequence.ids) for sequence in sequences),
                padded_tokens=output.padded_tokens,
                trigger=trigger,
                inference_seconds=output.inference_seconds,
                queue_seconds=waits,
            )
        )
        finite = np.asarray(np.isfinite(output.embeddings).all(axis=1))
        if not finite.all():
            self._observer.on_nonfinite(int((~finite).sum()))
        for row, sequence in enumerate(sequences):
            if finite[row]:
                sequence.ticket.settle(
                    SequenceResult(
                        vector=output.embeddings[row],
                        queue_seconds=waits[row],
                        inference_seconds=output.inference_seconds,
                        batch_size=len(sequences),
                        padded_tokens=output.padded_tokens,
                    )
                )
            else:
                sequence.ticket.settle(NonFiniteOutputError("the model gave a number that is not finite"))
