"""The one owner of the number of RPCs under way, so that a stop can wait until each has its answer.

grpc.aio's own `Server.stop(grace)` does not wait for all of them (grpc/grpc#37239).
"""

import asyncio

from rolecall_server.errors import UnavailableError


class InflightCalls:
    """Enter it as a context for each RPC. Owned by the event loop it was made on."""

    def __init__(self) -> None:
        self.count = 0
        self.draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once draining began; streams wait on it beside their next message."""
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        """UnavailableError once draining."""
        self.check()
        self.count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if self.count == 0:
            self._idle.set()

    def check(self) -> None:
        """UnavailableError once draining."""
        if self.draining.done():
            raise UnavailableError("the server is shutting down")

    def drain(self) -> None:
        """Refuse new RPCs from now on. Streams read no further and end once they have answered what they took."""
        if not self.draining.done():
            self.draining.set_result(None)

    async def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no RPC is under way; False when some still are after so many seconds."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
