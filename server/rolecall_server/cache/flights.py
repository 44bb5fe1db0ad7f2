"""Which keys are being computed right now, so that the same text in two requests runs once."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """A computation under way for each key. Owned by the event loop."""

    def __init__(self) -> None:
        self._landing: dict[bytes, asyncio.Future[T | None]] = {}

    def under_way(self, key: bytes) -> asyncio.Future[T | None] | None:
        """Ends with the result, or with None where the one who computed gave up: then compute it yourself."""
        return self._landing.get(key)

    @contextmanager
    def lead(self, keys: Iterable[bytes]) -> Iterator[dict[bytes, T]]:
        """Compute `keys`, none of which is under way; put results into the mapping as they are known."""
        loop = asyncio.get_running_loop()
        results: dict[bytes, T] = {}
        led = {key: loop.create_future() for key in keys}
        self._landing.update(led)
        try:
            yield results
        finally:
            for key, future in led.items():
                del self._landing[key]
                future.set_result(results.get(key))
