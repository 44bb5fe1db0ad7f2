"""The loops that send: open (at given times, whatever the server does) and closed (so many at a time)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from rolecall_load.outcomes import Answer, Outcome, Refusal, read_refusal
from rolecall_load.recorder import Recorder
from rolecall_load.scenarios import Scenario, Send

_LEAST_TIMEOUT = 0.001
_PAUSE_AFTER_REFUSAL = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of time.monotonic: sending begins at `start`, what is meant for `begin` <= t < `end` is recorded."""

    start: float
    begin: float
    end: float

    @classmethod
    def after(cls, start: float, *, warmup: float, duration: float) -> Window:
        return cls(start, start + warmup, start + warmup + duration)


@dataclass
class Runner:
    """Sends one scenario and records what is meant for the window.

    `part` of `parts` processes sends the requests part, part + parts, ...: no two processes send the same texts.
    """

    scenario: Scenario
    recorder: Recorder
    window: Window
    part: int = 0
    parts: int = 1
    _cpu_at_begin: float | None = field(default=None, init=False)

    async def open_loop(self, arrivals: Iterator[float]) -> None:
        """Send at window.start + each of the arrivals (seconds, ascending). Returns when all are answered.

        A request that is late is sent at once, its latency still counted from its own time: no answer that was slow
        to come keeps later ones from being asked for.
        """
        self._account_cpu_from_begin()
        async with asyncio.TaskGroup() as group:
            for number, offset in zip(self._numbers(), arrivals, strict=False):
                intended = self.window.start + offset
                send = self.scenario.prepare(number)
                # A sleep even when late: without it a backlog would keep the loop from reading answers.
                await asyncio.sleep(max(0.0, intended - time.monotonic()))
                group.create_task(self._send(send, intended))
        self._account_cpu()

    async def closed_loop(self, concurrency: int) -> None:
        """Keep `concurrency` requests in flight until the window ends; the intended time is that of sending."""
        self._account_cpu_from_begin()
        numbers = self._numbers()
        await asyncio.sleep(max(0.0, self.window.start - time.monotonic()))
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._keep_sending(numbers))
        self._account_cpu()

    async def _keep_sending(self, numbers: Iterator[int]) -> None:
        while True:
            send = self.scenario.prepare(next(numbers))
            now = time.monotonic()
            if now >= self.window.end:
                return
            if not await self._send(send, now):
                # A server that refuses at once would otherwise be asked as fast as this process can.
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL)

    async def _send(self, send: Send, intended: float) -> bool:
        """Whether it was answered."""
        sent = time.monotonic()
        # The deadline runs from the intended time, as it would for a user behind this client.
        timeout = max(intended + self.recorder.deadline - sent, _LEAST_TIMEOUT)
        answer: Answer | None = None
        refusal: Refusal | None = None
        try:
            answer = await send(timeout)
        except grpc.aio.AioRpcError as error:
            refusal = read_refusal(error)
        if intended >= self.window.begin:
            self.recorder.record(Outcome(intended, sent, time.monotonic(), answer=answer, refusal=refusal))
        return answer is not None

    def _account_cpu_from_begin(self) -> None:
        def note() -> None:
            self._cpu_at_begin = time.process_time()

        asyncio.get_running_loop().call_at(self.window.begin, note)

    def _account_cpu(self) -> None:
        if self._cpu_at_begin is not None:
            self.recorder.cpu_seconds += time.process_time() - self._cpu_at_begin

    def _numbers(self) -> Iterator[int]:
        return itertools.count(self.part, self.parts)
