"""The one place that says no: by count when a request arrives, by tokens once its texts are tokenised."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rolecall_server.errors import DeadlineError, InvalidInputError, OverloadedError, UnavailableError
from rolecall_server.types import Observer

SAFETY = 1.1
"""Estimated waits are taken this much longer: an answer just too late has cost the machine as much as one in time."""

LONGEST_RETRY_SECONDS = 30.0


class Throughput:
    """A moving average of padded tokens a second of one worker, and what waits follow from it."""

    def __init__(self, parallelism: int) -> None:
        self._parallelism = parallelism
        self._tokens_per_second = math.inf

    def note(self, padded_tokens: int, seconds: float) -> None:
        rate = padded_tokens / max(seconds, 1e-6)
        known = self._tokens_per_second
        self._tokens_per_second = rate if math.isinf(known) else 0.9 * known + 0.1 * rate

    def batch_seconds(self, tokens: int) -> float:
        """How long a batch of so many tokens runs."""
        return tokens / self._tokens_per_second

    def wait_seconds(self, queued_tokens: int) -> float:
        """How long until all workers together have done so many tokens."""
        return SAFETY * queued_tokens / (self._tokens_per_second * self._parallelism)


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    max_requests: int
    max_queue_tokens: int


class Admission:
    """Counts the requests under way and judges whether a request's tokens may queue. Owned by the event loop."""

    def __init__(self, limits: AdmissionLimits, observer: Observer) -> None:
        self.limits = limits
        self.inflight = 0
        self._observer = observer
        self._closed: str | None = "the server is starting"
        self._request_seconds = 1.0

    def open(self) -> None:
        self._closed = None

    def close(self, reason: str) -> None:
        """Refuse new requests from now on; those admitted go on."""
        self._closed = reason

    @contextmanager
    def enter(self, method: str) -> Iterator[None]:
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

    def check_tokens(self, tokens: int, *, queued: int, throughput: Throughput, now: float, deadline: float) -> None:
        """Whether `tokens` more may join `queued` ones. InvalidInputError, OverloadedError, DeadlineError."""
        limit = self.limits.max_queue_tokens
        if tokens > limit:
            raise InvalidInputError("", f"{tokens} tokens in one request; at most {limit} are taken")
        wait = throughput.wait_seconds(queued + tokens)
        if queued + tokens > limit:
            self._observer.on_shed("tokens")
            excess = throughput.wait_seconds(queued + tokens - limit)
            raise OverloadedError(
                f"{queued} tokens are queued; {tokens} more would pass the limit of {limit}",
                reason="tokens",
                retry_after=min(max(excess, 0.05), LONGEST_RETRY_SECONDS),
            )
        if now + wait > deadline:
            self._observer.on_shed("deadline")
            late = now + wait - deadline
            raise DeadlineError(
                "the deadline can't be met behind what is queued; not run",
                retry_after=min(max(late, 0.05), LONGEST_RETRY_SECONDS),
            )
