"""Runs a load test: starts the client processes together, watches the server meanwhile, adds up what they found."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from rolecall_load import worker
from rolecall_load.errors import LoadError
from rolecall_load.observe import Observation, Observer
from rolecall_load.recorder import Recorder
from rolecall_load.spec import LoadSpec
from rolecall_load.summary import Summary

_LEAD_SECONDS = 0.3
_LOOK_SECONDS = 0.25
_JOIN_SECONDS = 5.0

Watch = Callable[[float, int, int], None]
"""Called now and then: seconds since the start, answers and refusals so far."""


@dataclass(frozen=True, slots=True)
class Result:
    """One load test and what came of it."""

    spec: LoadSpec
    summary: Summary
    observation: Observation


def run_load(spec: LoadSpec, *, observer: Observer | None = None, watch: Watch | None = None) -> Result:
    """Run the test to its end. LoadError when the server is not there or a client process fails.

    Clients run in processes of their own even when there is one only: watching the server must not delay sending.
    """
    observer = observer or Observer()
    with _processes(spec) as pipes:
        for pipe in pipes:
            _receive(pipe)  # Ready
        observer.look()
        start = time.monotonic() + _LEAD_SECONDS
        for pipe in pipes:
            pipe.send(start)
        recorders = _collect(pipes, observer, start=start, watch=watch)
        observer.look()
    total = Recorder(deadline=spec.deadline)
    for recorder in recorders:
        total.add(recorder)
    return Result(spec, total.summary(seconds=spec.duration), observer.observation())


@contextmanager
def _processes(spec: LoadSpec) -> Iterator[list[Connection]]:
    # Not forked: a forked gRPC runtime hangs.
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    pipes: list[Connection] = []
    try:
        for part in range(spec.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker.main, args=(spec, part, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield pipes
        for process in processes:
            process.join(_JOIN_SECONDS)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            process.join()
        for pipe in pipes:
            pipe.close()


def _collect(pipes: list[Connection], observer: Observer, *, start: float, watch: Watch | None) -> list[Recorder]:
    progress = [(0, 0)] * len(pipes)
    recorders: dict[int, Recorder] = {}
    while len(recorders) < len(pipes):
        open_pipes = [pipe for index, pipe in enumerate(pipes) if index not in recorders]
        for ready in wait(open_pipes, timeout=_LOOK_SECONDS):
            index = next(i for i, pipe in enumerate(pipes) if pipe is ready)
            report = _receive(pipes[index])
            if isinstance(report, Recorder):
                recorders[index] = report
            elif isinstance(report, worker.Progress):
                progress[index] = (report.ok, report.refused)
        observer.look()
        if watch is not None:
            watch(time.monotonic() - start, sum(ok for ok, _ in progress), sum(bad for _, bad in progress))
    return [recorders[index] for index in range(len(pipes))]


def _receive(pipe: Connection) -> worker.Report:
    """The next report of a process. LoadError when it failed or died."""
    try:
        report: worker.Report = pipe.recv()
    except EOFError:
        raise LoadError("a client process died; see its output above") from None
    if isinstance(report, worker.Failed):
        raise LoadError(report.message)
    return report
