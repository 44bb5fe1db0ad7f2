"""Worker threads under supervision: work goes in from the event loop, one outcome comes back for each piece."""

import asyncio
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from rolecall_server.engine.supervision import Backoff, WatchedThread
from rolecall_server.errors import UnavailableError

T = TypeVar("T")


class _Job:
    """A piece of work and the future that waits for it."""

    __slots__ = ("done", "work")

    def __init__(self, work: Callable[[], Any], done: "asyncio.Future[Any]") -> None:
        self.work = work
        self.done = done

    def settle(self, result: object, error: Exception | None) -> None:
        if self.done.done():  # the caller went away
            return
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(result)


class _Worker:
    """One thread. All fields belong to the event loop; the thread sees its inbox only.

    job: what it works on. The loop notes it before the thread gets it, so that a thread may die at any instruction
    and no work is lost. ready: takes work (a replacement does not until its probe has run).
    """

    def __init__(
        self,
        name: str,
        report: Callable[["_Worker", object, Exception | None], None],
        on_end: Callable[["_Worker"], None],
    ) -> None:
        self.inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.job: _Job | None = None
        self.ready = False
        self.thread = WatchedThread(name, self._run, lambda: on_end(self))
        self._report = report

    def give(self, job: _Job) -> None:
        self.job = job
        self.inbox.put(job.work)

    def _run(self) -> None:
        while (work := self.inbox.get()) is not None:
            self._report(self, *_outcome(work))
            del work  # while it waits, it must not hold what it last worked on, an unloaded model perhaps


def _outcome(work: Callable[[], object]) -> tuple[object, Exception | None]:
    """Any Exception, MemoryError too, is the work's own failure; what is beyond Exception ends the thread."""
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return None, error


class WorkerPool:
    """A fixed number of threads. Each takes one piece of work at a time; the event loop owns the queue.

    A thread that dies fails the work that it had with UnavailableError and is replaced. Work that waits goes to the
    threads that live; where none does, it fails with UnavailableError at once, as does new work until a replacement
    has passed its probe. Each thread has a watcher that waits for its end, so no way to die goes unseen.
    """

    def __init__(
        self, size: int, *, name: str, probe: Callable[[], object], on_change: Callable[[bool, str], None]
    ) -> None:
        """probe: run on each replacement thread before it gets work; while it fails it is tried again, ever later.

        on_change: called on the event loop with (whole, reason) when a thread died, and when all work again.
        """
        self.size = size
        self._name = name
        self._probe = probe
        self._on_change = on_change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: list[_Worker] = []
        self._pending: deque[_Job] = deque()
        self._backoff = Backoff()
        self._started = 0
        self._closed = False
        self._all_ended = asyncio.Event()

    @property
    def whole(self) -> bool:
        """Whether every thread takes work (true before they are started)."""
        if self._closed or self._loop is None:
            return not self._closed
        return sum(worker.ready for worker in self._workers) == self.size

    def start(self) -> None:
        """Start the threads, on the running event loop; needed once, later calls do nothing."""
        if self._loop is None and not self._closed:
            self._loop = asyncio.get_running_loop()
            for _ in range(self.size):
                self._add_worker().ready = True

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread, after what was given before. Its exception is raised; UnavailableError."""
        if self._closed:
            raise UnavailableError("the engine is closed")
        self.start()
        if not any(worker.ready for worker in self._workers):
            raise UnavailableError("the engine's workers are being replaced")
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._pending.append(job)
        self._dispatch()
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Let running work finish, fail what waits, end the threads. May be called again."""
        if not self._closed:
            self._closed = True
            self._fail_pending("the engine is closed")
            for worker in self._workers:
                worker.inbox.put(None)
            if not self._workers:
                self._all_ended.set()
        await self._all_ended.wait()

    def _add_worker(self) -> _Worker:
        """Start a thread through its watcher; RuntimeError when the system gives no thread."""
        self._started += 1
        worker = _Worker(f"{self._name}-{self._started}", self._report, lambda ended: self._post(self._ended, ended))
        worker.thread.start()
        self._workers.append(worker)
        return worker

    def _report(self, worker: _Worker, result: object, error: Exception | None) -> None:
        self._post(self._finished, worker, result, error)

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        """The one crossing from the threads to the event loop."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop is closed: nobody waits for anything any more.
            return

    def _dispatch(self) -> None:
        for worker in self._workers:
            while worker.ready and worker.job is None and self._pending:
                job = self._pending.popleft()
                if not job.done.done():
                    worker.give(job)

    def _finished(self, worker: _Worker, result: object, error: Exception | None) -> None:
        job, worker.job = worker.job, None
        if job is not None:
            job.settle(result, error)
        self._dispatch()

    def _ended(self, worker: _Worker) -> None:
        """The thread is over; whatever it reported has been handled before."""
        self._workers.remove(worker)
        job, worker.job = worker.job, None
        if job is not None:
            job.settle(None, UnavailableError("the worker died while it ran this batch"))
        if self._closed:
            if not self._workers:
                self._all_ended.set()
            return
        if not any(other.ready for other in self._workers):
            self._fail_pending("the engine's workers died")
        self._on_change(False, f"a worker died of {worker.thread.cause}")
        if worker.ready:
            self._replace()
        else:  # in its probe: no tight circle of deaths
            self._later(self._replace)

    def _fail_pending(self, reason: str) -> None:
        while self._pending:
            self._pending.popleft().settle(None, UnavailableError(reason))

    def _replace(self) -> None:
        if self._closed:
            return
        try:
            worker = self._add_worker()
        except RuntimeError as error:
            self._on_change(False, f"no replacement for a worker: {error}")
            self._later(self._replace)
            return
        self._start_probe(worker)

    def _start_probe(self, worker: _Worker) -> None:
        if self._closed:
            return
        probed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        probed.add_done_callback(lambda done: self._probed(worker, done.exception()))
        worker.give(_Job(self._probe, probed))

    def _probed(self, worker: _Worker, error: BaseException | None) -> None:
        if self._closed or isinstance(error, UnavailableError):  # it died, and `_ended` has seen to that
            return
        if error is not None:
            self._on_change(False, f"a new worker fails its probe with {type(error).__name__}")
            self._later(lambda: self._start_probe(worker))
            return
        self._backoff.succeeded()
        worker.ready = True
        if self.whole:
            self._on_change(True, "all workers run")
        self._dispatch()

    def _later(self, step: Callable[[], None]) -> None:
        """Try `step` after a wait that doubles with each failure since the last success."""
        asyncio.get_running_loop().call_later(self._backoff.failed(), step)
