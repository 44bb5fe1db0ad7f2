"""The thin shell around the batching policy: takes sequences, starts batches on the engine, hands out outcomes."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rolecall_server.batching.admission import Throughput
from rolecall_server.batching.jobs import Job, Outcome
from rolecall_server.batching.policy import Batch, BatchLimits, BatchQueue
from rolecall_server.batching.runner import BatchRunner
from rolecall_server.engine.base import Engine
from rolecall_server.errors import DeadlineError, UnavailableError
from rolecall_server.types import ModelKey, Observer, Priority, RequestContext, TokenIds

log = logging.getLogger(__name__)


class Batcher:
    """Owns the queues of all models and the engine's free places. Lives on the event loop.

    on_failure: told a reason when the dispatcher itself dies; all that is queued has been failed by then.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        limits: BatchLimits,
        observer: Observer,
        on_failure: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.throughput = Throughput(engine.info.parallelism)
        self._runner = BatchRunner(engine, throughput=self.throughput, observer=observer, clock=clock)
        self._engine = engine
        self._limits = limits
        self._observer = observer
        self._on_failure = on_failure
        self._clock = clock
        self._queues: dict[ModelKey, BatchQueue] = {}
        self._free = engine.info.parallelism
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._dispatcher: asyncio.Task[None] | None = None
        self._refusal: str | None = "the batcher has not started"

    def start(self) -> None:
        self._refusal = None
        self._dispatcher = asyncio.create_task(self._dispatch_forever(), name="batcher")
        self._dispatcher.add_done_callback(self._dispatcher_ended)

    async def close(self) -> None:
        """Fail what is queued, let running batches finish, end."""
        self._fail_queued("the server is stopping")
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.wait([self._dispatcher])
        if self._running:
            await asyncio.wait(self._running)

    def queued_tokens(self) -> int:
        return sum(queue.tokens for queue in self._queues.values())

    async def run(self, model: ModelKey, sequences: Sequence[TokenIds], context: RequestContext) -> list[Outcome]:
        """Queue one request's sequences and wait for all; an outcome for each, in their order.

        DeadlineError and UnavailableError end the whole request; errors of single sequences are outcomes. When the
        caller is cancelled, what is still queued leaves the queue.
        """
        if self._refusal is not None:
            raise UnavailableError(self._refusal)
        now = self._clock()
        job = Job(sequences, context, now=now)
        queue = self._queue(model)
        queue.note_arrival(now)
        for sequence in job.sequences:
            queue.push(sequence)
        self._report(model.name)
        self._wake.set()
        try:
            await job.done
        except BaseException:
            left = sum([queue.remove(sequence) for sequence in job.sequences])
            self._report(model.name)
            if job.done.cancelled():
                self._observer.on_cancelled("queue" if left else "running")
            raise
        return job.outcomes()

    def forget(self, model: ModelKey) -> None:
        """Drop the queue of a version that was unloaded; nothing may be waiting in it."""
        self._queues.pop(model, None)

    def _queue(self, model: ModelKey) -> BatchQueue:
        if model not in self._queues:
            multiple = self._engine.info.length_multiple
            self._queues[model] = BatchQueue(replace(self._limits, length_multiple=multiple))
        return self._queues[model]

    async def _dispatch_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
            ready_at = self._dispatch()
            if math.isfinite(ready_at):
                self._timer = loop.call_later(max(0.0, ready_at - self._clock()), self._wake.set)

    def _dispatch(self) -> float:
        """Start batches while places are free, the longest-waiting model first; when to look again by itself."""
        ready_at = math.inf
        for model, queue in sorted(self._queues.items(), key=lambda item: item[1].turn()):
            while self._free and len(queue):
                now = self._clock()
                finish = now + self.throughput.batch_seconds(min(queue.tokens, self._limits.max_tokens))
                for late in queue.shed(finish):
                    if late.ticket.wanted:  # requests are counted, not their sequences
                        self._observer.on_shed("deadline")
                        late.ticket.job.fail(DeadlineError("the deadline passed in the queue; not run"))
                batch = queue.next_batch(now, finish=finish)
                if batch is None:
                    ready_at = min(ready_at, queue.ready_at())
                    break
                self._start(model, batch)
                self._report(model.name)
        return ready_at

    def _start(self, model: ModelKey, batch: Batch) -> None:
        self._free -= 1
        task = asyncio.create_task(self._runner.run(model, batch))
        self._running.add(task)
        task.add_done_callback(self._batch_ended)

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        self._wake.set()

    def _dispatcher_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        log.critical("the batcher died", exc_info=task.exception())
        self._fail_queued("the batcher has died")
        self._on_failure("the batcher has died")

    def _fail_queued(self, reason: str) -> None:
        self._refusal = reason
        for queue in self._queues.values():
            for sequence in queue.drain():
                sequence.ticket.job.fail(UnavailableError(reason))

    def _report(self, name: str) -> None:
        queues = [queue for model, queue in self._queues.items() if model.name == name]
        tokens = sum(queue.tokens for queue in queues)
        for priority in Priority:
            size = sum(queue.sizes[priority] for queue in queues)
            self._observer.on_queue(name, priority, size=size, tokens=tokens)
