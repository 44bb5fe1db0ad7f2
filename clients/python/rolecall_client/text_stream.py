"""A text as it grows, for the synchronous client and for the asyncio one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc

from rolecall_client.errors import RolecallError, from_rpc
from rolecall_client.generation import Generation, TextBook, cut_short

Open: TypeAlias = Callable[[], Any]
"""Starts the RPC."""

Delay: TypeAlias = Callable[[RolecallError, int], float | None]
"""From a refusal and the tries before it: seconds until the next one, None for no more."""


class TextStream(Iterator[str]):
    """The pieces of one text as they come, in whole characters.

    Close it, or leave its `with` block, to end the work on the server early. The RPC starts with the first piece asked
    for. One that was refused goes again as the client was told; one whose text has begun never does.
    """

    def __init__(self, open_call: Open, delay: Delay) -> None:
        self._open = open_call
        self._delay = delay
        self._book = TextBook()
        self._call: Any = None
        self._closed = False
        self._pieces = self._read()

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """May be called from another thread; the iteration then ends."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    @property
    def result(self) -> Generation:
        """All about the text, once it has come to its end; RuntimeError before."""
        return self._book.result

    def _read(self) -> Generator[str, None, None]:
        attempt = 0
        while not self._closed:
            self._call = self._open()
            if self._closed:  # meanwhile, by another thread
                self._call.cancel()
            try:
                for message in self._call:
                    if piece := self._book.take(message):
                        yield piece
                if not (self._book.ended or self._closed):
                    raise cut_short()
                return
            except grpc.RpcError as error:
                if self._closed:
                    return
                delay = _next_try(error, self._book, self._delay, attempt)
            finally:
                self._call.cancel()
            time.sleep(delay)
            attempt += 1


class AsyncTextStream(AsyncIterator[str]):
    """As TextStream, for one event loop."""

    def __init__(self, open_call: Open, delay: Delay) -> None:
        self._open = open_call
        self._delay = delay
        self._book = TextBook()
        self._pieces = self._read()

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._pieces.aclose()

    @property
    def result(self) -> Generation:
        """All about the text, once it has come to its end; RuntimeError before."""
        return self._book.result

    async def _read(self) -> AsyncGenerator[str, None]:
        attempt = 0
        while True:
            call = self._open()
            try:
                async for message in call:
                    if piece := self._book.take(message):
                        yield piece
                if not self._book.ended:
                    raise cut_short()
                return
            except grpc.RpcError as error:
                delay = _next_try(error, self._book, self._delay, attempt)
            finally:
                call.cancel()
            await asyncio.sleep(delay)
            attempt += 1


def _next_try(error: grpc.RpcError, book: TextBook, delay: Delay, attempt: int) -> float:
    """Seconds until it makes sense to ask again; raises the failure where it does not."""
    failure = from_rpc(error)
    seconds = None if book.begun else delay(failure, attempt)
    if seconds is None:
        raise failure from error
    return seconds
