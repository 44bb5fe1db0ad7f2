"""The one way from a generator's threads to the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable


class Crossing:
    """Calls on the event loop what threads ask for, in their order.

    Waking the loop costs a system call, at which a thread gives up the interpreter's lock and may wait milliseconds to
    get it back. So calls that come before the loop has seen the last ones share their wake-up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def call(self, function: Callable[[], None]) -> None:
        """From any thread. Nothing happens once the loop is closed: nobody waits for anything any more."""
        self._calls.append(function)
        if self._woken:
            return
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            return

    def _run(self) -> None:
        # First, so that what is added from here on wakes the loop anew.
        self._woken = False
        while self._calls:
            # Each on its own: one that raises must not keep back the others.
            self._loop.call_soon(self._calls.popleft())
