"""What is there for the caller of one generation and has not been fetched yet. Lives on the event loop."""

import asyncio

from rolecall_server.generation.types import Delta, Event, Failed, Finished


class Mailbox:
    """Text that nobody fetches is joined, so a slow reader costs no more than its own text."""

    def __init__(self) -> None:
        self.end: Finished | Failed | None = None
        self._delta: Delta | None = None
        self._filled = asyncio.Event()

    def put(self, event: Event) -> None:
        """What comes after the end is dropped."""
        if self.end is not None:
            return
        if isinstance(event, Delta):
            before = self._delta
            self._delta = event if before is None else _joined(before, event)
        else:
            self.end = event
        self._filled.set()

    async def get(self) -> Event:
        """The next event. After the end, that again."""
        await self._filled.wait()
        if self._delta is not None:
            event, self._delta = self._delta, None
            if self.end is None:
                self._filled.clear()
            return event
        assert self.end is not None
        return self.end


def _joined(first: Delta, second: Delta) -> Delta:
    return Delta(first.request_id, first.text + second.text, first.tokens + second.tokens)
