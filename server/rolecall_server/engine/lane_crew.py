"""The threads of a generator's lanes under supervision. Lives on the event loop."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from rolecall_server.engine.crossing import Crossing
from rolecall_server.engine.supervision import Backoff, WatchedThread
from rolecall_server.errors import UnavailableError


@dataclass(slots=True)
class _Member:
    """ready: it takes work."""

    thread: WatchedThread
    ready: bool = False


class LaneCrew:
    """A fixed number of lanes, by number. One that dies is told of in `on_lost` and replaced by one of a new number."""

    def __init__(
        self,
        size: int,
        *,
        name: str,
        body: Callable[[int], None],
        on_lost: Callable[[int], None],
        on_change: Callable[[bool, str], None],
    ) -> None:
        """body: run on a lane's thread, with its number. on_change: told (whole, reason) once all have started: when
        a lane died, and when all are back."""
        self.closed = False
        self._size = size
        self._name = name
        self._body = body
        self._on_lost = on_lost
        self._on_change = on_change
        self._members: dict[int, _Member] = {}
        self._numbers = itertools.count()
        self._backoff = Backoff()
        self._crossing: Crossing | None = None
        self._started: asyncio.Future[None] | None = None
        self._all_ended = asyncio.Event()

    @property
    def whole(self) -> bool:
        """Whether every lane takes work."""
        return not self.closed and sum(member.ready for member in self._members.values()) == self._size

    @property
    def takes_work(self) -> bool:
        """Whether any lane does."""
        return not self.closed and any(member.ready for member in self._members.values())

    async def start(self) -> None:
        """Start the lanes and wait until all take work. UnavailableError when one could not be made."""
        loop = asyncio.get_running_loop()
        self._crossing = Crossing(loop)
        self._started = loop.create_future()
        try:
            for _ in range(self._size):
                self._add()
        except RuntimeError as error:
            raise UnavailableError(f"no thread for a lane of the generator: {error}") from error
        await self._started

    def call(self, function: Callable[[], None]) -> None:
        """Have the event loop call this; from any lane."""
        assert self._crossing is not None
        self._crossing.call(function)

    def ready(self, number: int) -> None:
        """A lane takes work now."""
        self._members[number].ready = True
        if not self.whole or self._start_failed:
            return
        self._backoff.succeeded()
        if self._starting is None:
            self._on_change(True, "all lanes of the generator run")
        else:
            self._starting.set_result(None)

    def close(self) -> None:
        """Replace none any more."""
        self.closed = True
        if not self._members:
            self._all_ended.set()

    async def ended(self) -> None:
        """Wait for the end of all threads, which have to be told by who closes."""
        await self._all_ended.wait()

    @property
    def _start_failed(self) -> bool:
        """Whether the start was given up; its waiter closes the crew, which may be a moment from now."""
        started = self._started
        return started is not None and started.done() and (started.cancelled() or started.exception() is not None)

    @property
    def _starting(self) -> "asyncio.Future[None] | None":
        return None if self._started is None or self._started.done() else self._started

    def _add(self) -> None:
        """Start a thread; RuntimeError when the system gives none."""
        number = next(self._numbers)
        thread = WatchedThread(
            f"{self._name}-{number}", lambda: self._body(number), lambda: self.call(lambda: self._lost(number))
        )
        thread.start()
        self._members[number] = _Member(thread)

    def _lost(self, number: int) -> None:
        """A lane's thread is over; whatever it had the loop call has been called before."""
        member = self._members.pop(number)
        self._on_lost(number)
        if self.closed:
            if not self._members:
                self._all_ended.set()
            return
        if self._starting is not None:
            cause = member.thread.cause
            self._starting.set_exception(UnavailableError(f"a lane of the generator could not start: {cause}"))
            return
        if self._start_failed:
            return
        self._on_change(False, f"a lane of the generator died of {member.thread.cause}")
        if member.ready:
            self._replace()
        else:  # before it took any work: no tight circle of deaths
            self._replace_later()

    def _replace(self) -> None:
        if self.closed:
            return
        try:
            self._add()
        except RuntimeError as error:
            self._on_change(False, f"no replacement for a lane: {error}")
            self._replace_later()

    def _replace_later(self) -> None:
        asyncio.get_running_loop().call_later(self._backoff.failed(), self._replace)
