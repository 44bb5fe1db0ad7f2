"""Text on its way to a client that may read more slowly than the text grows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

from rolecall_server.errors import EngineError

OutputT = TypeVar("OutputT")

MAX_PIECE_CHARS = 65_536
"""Of one piece, so that it always goes into a message."""


class Deltas(Generic[OutputT]):
    """Reads a text as it grows and hands it on as it is wanted: what came in between becomes one piece. So the work
    never waits for the client, and what is kept is never more than the text."""

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._changed = asyncio.Event()
        self._ended = False
        self._output: OutputT | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """The text so far, then what has been added since, until its end."""
        while self._pending or not self._ended:
            if self._pending:
                text = "".join(self._pending)
                self._pending.clear()
                for start in range(0, len(text), MAX_PIECE_CHARS):
                    yield text[start : start + MAX_PIECE_CHARS]
            else:
                self._changed.clear()
                await self._changed.wait()

    def output(self) -> OutputT:
        """What came after the text."""
        if self._output is None:
            raise EngineError("a text ended without its output")
        return self._output

    async def read(self, source: AsyncGenerator[str | OutputT, None]) -> None:
        try:
            async with aclosing(source):
                async for event in source:
                    if isinstance(event, str):
                        self._pending.append(event)
                    else:
                        self._output = event
                    self._changed.set()
        finally:
            self._ended = True
            self._changed.set()


@asynccontextmanager
async def reading(source: AsyncGenerator[str | OutputT, None]) -> AsyncIterator[Deltas[OutputT]]:
    """Read `source` beside the block, which ends with the error of `source` if there was one. When the block is left
    early, `source` is closed before this returns."""
    deltas: Deltas[OutputT] = Deltas()
    reader = asyncio.create_task(deltas.read(source))
    try:
        yield deltas
        await reader
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()  # looked at, or asyncio would complain of it
