"""The thin shell around the scheduler: takes texts, starts batches on the engine, hands out outcomes."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from rolecall_server.batching.jobs import Job, TextListener
from rolecall_server.batching.queue import BatchLimits
from rolecall_server.batching.runner import BatchRunner
from rolecall_server.batching.scheduler import Batch, Scheduler
from rolecall_server.engine.base import Engine
from rolecall_server.errors import DeadlineError, UnavailableError
from rolecall_server.types import Backlog, ModelKey, Observer, Priority, RequestContext, TokenIds

log = logging.getLogger(__name__)

RETRY_AFTER_EXPIRY = 1.0
"""Seconds; a request that expired in the queue was admitted on an estimate that has turned out too good."""


class Batcher:
    """Owns the scheduler and the engine's free places. Lives on the event loop.

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
        self._scheduler = Scheduler(limits, parallelism=engine.info.parallelism)
        self._runner = BatchRunner(engine, scheduler=self._scheduler, observer=observer, clock=clock)
        self._observer = observer
        self._on_failure = on_failure
        self._clock = clock
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

    def backlog(self, model: ModelKey, tokens: int, priority: Priority) -> Backlog:
        """What a request of so many tokens would find now."""
        return self._scheduler.backlog(model, tokens, priority=priority, now=self._clock())

    async def run(
        self, model: ModelKey, texts: Sequence[Sequence[TokenIds]], context: RequestContext, *, on_text: TextListener
    ) -> None:
        """Queue one request's texts, each of one or more sequences, and wait until `on_text` has heard of each.

        DeadlineError and UnavailableError end the whole request; errors of single sequences are outcomes. When the
        caller is cancelled, what is still queued leaves the queue.
        """
        if self._refusal is not None:
            raise UnavailableError(self._refusal)
        job = Job(texts, on_text)
        sequences = self._scheduler.push(
            model,
            [ids for text in texts for ids in text],
            priority=context.priority,
            now=self._clock(),
            deadline=context.deadline,
        )
        for sequence, ticket in zip(sequences, job.tickets(), strict=True):
            sequence.ticket = ticket
        self._report(model.name)
        self._wake.set()
        try:
            await job.done
        except BaseException:
            left = sum([self._scheduler.remove(sequence) for sequence in sequences])
            self._report(model.name)
            if job.done.cancelled() and self._clock() < context.deadline:  # a deadline is no client that went away
                self._observer.on_cancelled("queue" if left else "running")
            raise

    def forget(self, model: ModelKey) -> None:
        """Drop the queue of a version that was unloaded; nothing may be waiting in it."""
        self._scheduler.forget(model)

    async def _dispatch_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._dispatch()
            if self._timer is not None:
                self._timer.cancel()
            if math.isfinite(wake_at := self._scheduler.wake_at(free=self._free > 0)):
                self._timer = loop.call_later(max(0.0, wake_at - self._clock()), self._wake.set)

    def _dispatch(self) -> None:
        """Answer what can't be met any more, then start batches while places are free."""
        for late in self._scheduler.expire(self._clock()):
            self._observer.on_shed("deadline")
            error = DeadlineError("the deadline can't be met any more; not finished", retry_after=RETRY_AFTER_EXPIRY)
            late.ticket.job.fail(error)
            self._report(late.model.name)
        while self._free and (batch := self._scheduler.next_batch(self._clock())):
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            self._report(batch.model.name)

    async def _run(self, batch: Batch) -> None:
        try:
            await self._runner.run(batch)
        finally:
            self._scheduler.ended(batch)
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
        for sequence in self._scheduler.drain():
            sequence.ticket.job.fail(UnavailableError(reason))

    def _report(self, name: str) -> None:
        tokens = self._scheduler.queued_tokens(name)
        for priority in Priority:
            size = self._scheduler.queue_size(name, priority)
            self._observer.on_queue(name, priority, size=size, tokens=tokens)
