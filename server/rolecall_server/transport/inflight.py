"""The one owner of the number of RPCs under way, so that a stop can wait until each has its answer.

grpc.aio's own `Server.stop(grace)` does not wait for all of them (grpc/grpc#37239), and RPCs that arrive just then are
cancelled, which clients do not retry.
"""

import asyncio
import time

from rolecall_server.errors import UnavailableError


class InflightCalls:
    """Enter it as a context for each RPC. Owned by the event loop it was made on."""

    def __init__(self) -> None:
        self.count = 0
        self.draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once draining began; streams wait on it beside their next message."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_answer = 0.0

    def __enter__(self) -> None:
        """UnavailableError once draining."""
        self.check()
        self.count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        self._last_answer = time.monotonic()
        if self.count == 0:
            self._idle.set()

    def check(self) -> None:
        """UnavailableError once draining."""
        if self.draining.done():
            self._last_answer = time.monotonic()
            raise UnavailableError("the server is shutting down")

    def drain(self) -> None:
        """Refuse new RPCs from now on. Streams read no further and end once they have answered what they took."""
        if not self.draining.done():
            self._last_answer = time.monotonic()
            self.draining.set_result(None)

    async def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no RPC is under way; False when some still are after so many seconds."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def wait_quiet(self, quiet_seconds: float, *, at_most_seconds: float) -> None:
        """Wait until for so long there was no answer or refusal, after which the next RPC could be on its way."""
        give_up = time.monotonic() + at_most_seconds
        # No event tells that nothing happened, hence the sleep.
        while (wait := min(self._last_answer + quiet_seconds, give_up) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)
