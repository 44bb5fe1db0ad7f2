"""The one place that says no: by count when a request arrives, by tokens once its texts are tokenised."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rolecall_server.errors import DeadlineError, InvalidInputError, OverloadedError, UnavailableError
from rolecall_server.types import Backlog, Observer, Priority

BULK_QUEUE_SHARE = 0.75
"""Bulk work fills at most this part of the queue, so that there is always room for interactive requests."""

CHARS_A_TOKEN = 16
"""Texts under way to the tokenizer may have so many characters for each token of the queue: no text has more."""

SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.05, 30.0


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    max_requests: int
    max_queue_tokens: int


class Admission:
    """Counts the requests under way and judges whether a request's tokens may queue. Owned by the event loop."""

    def __init__(self, limits: AdmissionLimits, observer: Observer) -> None:
        self.limits = limits
        self.inflight = 0
        self._characters = 0
        self._observer = observer
        self._closed: str | None = "the server is starting"

    def open(self) -> None:
        self._closed = None

    def close(self, reason: str) -> None:
        """Refuse new requests from now on; those admitted go on."""
        self._closed = reason

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place while a request is under way. UnavailableError, OverloadedError."""
        if self._closed is not None:
            self._observer.on_shed("unavailable")
            raise UnavailableError(self._closed)
        if self.inflight >= self.limits.max_requests:
            self._observer.on_shed("requests")
            raise OverloadedError(
                f"{self.inflight} requests are under way, as many as this server takes",
                reason="requests",
                retry_after=1.0,
            )
        self.inflight += 1
        try:
            yield
        finally:
            self.inflight -= 1

    @contextmanager
    def characters(self, count: int) -> Iterator[None]:
        """Hold room for texts while they are tokenised. InvalidInputError, OverloadedError."""
        limit = CHARS_A_TOKEN * self.limits.max_queue_tokens
        if count > limit:
            raise InvalidInputError("", f"{count} characters in one request; at most {limit} are taken")
        if self._characters + count > limit:
            self._observer.on_shed("tokens")
            raise OverloadedError("too much text is being tokenised", reason="tokens", retry_after=1.0)
        self._characters += count
        try:
            yield
        finally:
            self._characters -= count

    def queue_limit(self, priority: Priority) -> int:
        """The most tokens that may wait for this request to join them, and that it may have itself."""
        share = BULK_QUEUE_SHARE if priority is Priority.BULK else 1.0
        return int(self.limits.max_queue_tokens * share)

    def check_tokens(self, tokens: int, backlog: Backlog, *, priority: Priority, now: float, deadline: float) -> None:
        """Whether `tokens` more may join the backlog. InvalidInputError, OverloadedError, DeadlineError."""
        limit = self.queue_limit(priority)
        if tokens > limit:
            raise InvalidInputError("", f"{tokens} tokens in one request; at most {limit} are taken")
        queued = backlog.queued_tokens
        if queued + tokens > limit:
            self._observer.on_shed("tokens")
            excess = (queued + tokens - limit) / (queued + tokens)
            raise OverloadedError(
                f"{queued} tokens are queued; {tokens} more would pass the limit of {limit}",
                reason="tokens",
                retry_after=_bounded(backlog.wait_seconds * excess),
            )
        done = now + backlog.wait_seconds + backlog.batch_seconds
        if done > deadline:
            self._observer.on_shed("deadline")
            raise DeadlineError(
                "the deadline can't be met behind what is queued; not run",
                retry_after=_bounded(done - deadline),
            )


def _bounded(seconds: float) -> float:
    return min(max(seconds, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
