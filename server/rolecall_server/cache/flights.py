"""Which texts are being computed right now, so that the same text in two requests runs once."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from rolecall_server.types import Priority

T = TypeVar("T")


class Flights(Generic[T]):
    """A computation under way for each key and priority. Owned by the event loop."""

    def __init__(self) -> None:
        self._landing: dict[tuple[bytes, Priority], asyncio.Future[T | None]] = {}

    def under_way(self, key: bytes, priority: Priority) -> asyncio.Future[T | None] | None:
        """A computation that is as urgent as `priority` or more. It ends with the result as soon as that is there, or
        with None where the one who computed gave up: then compute it yourself."""
        for at_least in sorted(Priority):
            if at_least <= priority and (flight := self._landing.get((key, at_least))):
                return flight
        return None

    @contextmanager
    def lead(self, keys: Iterable[bytes], priority: Priority) -> Iterator[Callable[[bytes, T], None]]:
        """Compute `keys`, none of which is under way at this priority; call what is yielded with each result."""
        loop = asyncio.get_running_loop()
        led: dict[bytes, asyncio.Future[T | None]] = {key: loop.create_future() for key in keys}
        self._landing.update({(key, priority): future for key, future in led.items()})

        def land(key: bytes, result: T) -> None:
            led[key].set_result(result)
            del self._landing[key, priority]

        try:
            yield land
        finally:
            for key, future in led.items():
                if not future.done():
                    del self._landing[key, priority]
                    future.set_result(None)
