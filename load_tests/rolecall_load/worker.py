"""What one client process does: connect, say so, wait for the common start, send, hand back what it recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import grpc
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub

from rolecall_load.arrivals import schedule
from rolecall_load.errors import LoadError
from rolecall_load.recorder import Recorder
from rolecall_load.runner import Runner, Window
from rolecall_load.scenarios import EmbedScenario, MatchScenario, Scenario
from rolecall_load.spec import LoadSpec
from rolecall_load.texts.lengths import Side
from rolecall_load.texts.source import TextSource

if TYPE_CHECKING:
    from rolecall.v1.matching_pb2_grpc import MatchingServiceAsyncStub

_PROGRESS_SECONDS = 0.5
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Ready:
    """Connected; waits for the start (a float, seconds of time.monotonic)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts so far, in the window."""

    ok: int
    refused: int


@dataclass(frozen=True, slots=True)
class Failed:
    message: str


Report = Ready | Progress | Failed | Recorder


def main(spec: LoadSpec, part: int, pipe: Connection) -> None:
    """Entry of the process. Whatever stops the run is told to the parent in a sentence."""
    try:
        pipe.send(asyncio.run(_run(spec, part, pipe)))
    except LoadError as error:
        pipe.send(Failed(str(error)))
    except KeyboardInterrupt:
        pass  # the terminal interrupts the whole group; the parent reports it
    finally:
        pipe.close()


async def _run(spec: LoadSpec, part: int, pipe: Connection) -> Recorder:
    async with grpc.aio.insecure_channel(spec.address, options=_UNLIMITED) as channel:
        await connected(channel, spec.address, seconds=spec.connect)
        scenario = build_scenario(spec, MatchingServiceStub(channel))
        scenario.prepare(part)  # texts are written on first use
        pipe.send(Ready())
        start: float = await asyncio.to_thread(pipe.recv)
        recorder = Recorder(deadline=spec.deadline)
        window = Window.after(start, warmup=spec.warmup, duration=spec.duration)
        runner = Runner(scenario, recorder, window, part=part, parts=spec.processes)
        reports = asyncio.create_task(_report(recorder, pipe))
        try:
            await drive(runner, spec, part)
        finally:
            reports.cancel()
        return recorder


def drive(runner: Runner, spec: LoadSpec, part: int = 0) -> Awaitable[None]:
    """The loop that the specification asks for."""
    if spec.mode == "closed":
        return runner.closed_loop(spec.concurrency_of(part))
    times = schedule(
        spec.arrivals,
        spec.rate,
        duration=spec.warmup + spec.duration,
        seed=spec.seed,
        part=part,
        parts=spec.processes,
    )
    return runner.open_loop(times)


def build_scenario(spec: LoadSpec, stub: MatchingServiceAsyncStub) -> Scenario:
    def source(side: Side) -> TextSource:
        return TextSource(
            side,
            spec.languages,
            tokens=spec.length,
            repeat=spec.repeat,
            seed=spec.seed,
            tag=spec.tag,
        )

    if spec.scenario == "embed":
        return EmbedScenario(stub, source("job"), inputs=spec.documents)
    return MatchScenario(stub, source("resume"), source("job"), documents=spec.documents)


async def connected(channel: grpc.aio.Channel, address: str, *, seconds: float) -> None:
    """LoadError when nobody answers at the address."""
    try:
        await asyncio.wait_for(channel.channel_ready(), seconds)
    except TimeoutError as error:
        raise LoadError(f"no server answers at {address} within {seconds:g} seconds") from error


async def _report(recorder: Recorder, pipe: Connection) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        pipe.send(Progress(recorder.counts.ok, recorder.refusals.total()))
