"""Long loops on the event loop that let others run in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

_SLICE_SECONDS = 0.002
"""How long a loop holds the event loop at a time."""


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; whenever the work on them has taken a slice of time, other tasks have their turn."""
    pause_at = time.perf_counter() + _SLICE_SECONDS
    for item in items:
        yield item
        if time.perf_counter() > pause_at:
            await asyncio.sleep(0)
            pause_at = time.perf_counter() + _SLICE_SECONDS
