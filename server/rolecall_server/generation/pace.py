"""How fast requests leave their rows, learnt from those that did. Pure: time is an argument."""

from rolecall_server.generation.queue import Queued

TRUSTED_REQUESTS = 4
"""Requests to have ended before an estimate counts: the first ones warm up."""

STALE_SECONDS = 30.0
"""An estimate is forgotten when nothing ended for so long. Refusals rest on estimates, and only requests that run renew
these: one bad sample could otherwise shut an idle server for good."""

SAFETY = 1.1
"""Waits are taken this much longer than estimated: an answer just too late costs as much as one in time."""

_MEMORY = 0.95
"""What a request's weight becomes with each one after it."""


class Pace:
    """Seconds that one row is taken for each token of `Queued.tokens`, and seconds to the first token: recent requests
    count most. Measured while fewer rows ran, it is too good rather than too bad."""

    def __init__(self) -> None:
        self._tokens = self._row_seconds = self._first = self._weight = 0.0
        self._ended = 0
        self._last = 0.0

    def note(self, queued: Queued, now: float, *, first_token_seconds: float) -> None:
        """A request ended, and gave its first token so long after its start."""
        if now - self._last > STALE_SECONDS:
            self._forget()
        self._tokens = _MEMORY * self._tokens + queued.tokens
        self._row_seconds = _MEMORY * self._row_seconds + queued.request.decoding.rows * (now - queued.started)
        self._first = _MEMORY * self._first + first_token_seconds
        self._weight = _MEMORY * self._weight + 1.0
        self._ended += 1
        self._last = now

    def seconds(self, tokens: float, *, rows: int, now: float) -> float:
        """How long so many rows need for requests of so many tokens; 0 where nothing is known that counts."""
        return SAFETY * tokens * self._row_seconds / (self._tokens * rows) if self._known(now) else 0.0

    def first_token(self, *, now: float) -> float:
        """From a request's start to its first token."""
        return SAFETY * self._first / self._weight if self._known(now) else 0.0

    def _known(self, now: float) -> bool:
        return self._ended >= TRUSTED_REQUESTS and now - self._last <= STALE_SECONDS

    def _forget(self) -> None:
        self._tokens = self._row_seconds = self._first = self._weight = 0.0
        self._ended = 0
