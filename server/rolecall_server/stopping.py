"""How the process ends: on the first signal in order and within a deadline, on the second at once."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)

REST_SECONDS = 5.0
"""For what is left to stop once the accepted requests have ended or been cut."""

LEAST_SECONDS = 0.2
"""What each part has even after the deadline, so that one that is late doesn't leave the others half stopped."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class UnfinishedError(Exception):
    """The server stopped, but parts of it are still at work, on a batch that does not end perhaps."""


class Teardown:
    """One deadline over all that stops. What misses it is left behind, and the next part has its turn."""

    def __init__(self) -> None:
        self._left: list[str] = []
        self._deadline: float | None = None

    def begin(self, seconds: float) -> None:
        """The deadline is in so many seconds, whatever it was."""
        self._deadline = asyncio.get_running_loop().time() + seconds

    async def stop(self, part: str, close: Callable[[], Awaitable[object]]) -> None:
        """Wait for `close` until the deadline, which is REST_SECONDS from now where none was set."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + REST_SECONDS
        try:
            async with asyncio.timeout_at(max(self._deadline, now + LEAST_SECONDS)) as scope:
                await close()
        except TimeoutError:
            if not scope.expired():
                raise
            log.error("a part of the server did not stop in time", extra={"part": part})
            self._left.append(part)

    def check(self) -> None:
        """UnfinishedError when something was left behind."""
        if self._left:
            raise UnfinishedError(f"stopped, with {' and '.join(self._left)} still at work")


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set. Whichever comes next ends the process at once, with status 143 or 130."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def first() -> None:
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, _exit_at_once)

    for number in _SIGNALS:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _exit_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Not by the default handler: the kernel ignores that one for the first process of a container."""
    os._exit(128 + number)


def exit_at_the_latest(seconds: float) -> None:
    """End the process after so many seconds if it has not ended by itself: the interpreter waits without limit for
    threads that tokenise or load a model."""

    def give_up() -> None:
        log.error("threads did not end in time")
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
