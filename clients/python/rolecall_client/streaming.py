"""The bookkeeping of pipelined matching: what is to be sent, what is under way, what is answered. Does no IO."""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import grpc
from rolecall.v1 import matching_pb2

from rolecall_client.errors import RolecallError, UnavailableError, from_status, make_error
from rolecall_client.operations import PlannedMatch
from rolecall_client.requests import MatchQuery
from rolecall_client.results import MatchResult, ServerInfo, StreamedMatch

DEFAULT_STREAM_TIMEOUT = 600.0
"""Seconds for a whole stream."""

_DEFAULT_WINDOW = 16

RetryDelay = Callable[[RolecallError, int], float | None]
"""From the failure of a message and the failures of its kind before: seconds until it goes again, or None for never."""


@dataclass(slots=True)
class _Progress:
    """One query of the stream. answers: by part. tries: those that go again, by part and kind of failure."""

    index: int
    request_id: str
    planned: PlannedMatch
    answers: dict[int, matching_pb2.MatchResponse] = field(default_factory=dict)
    tries: Counter[tuple[int, grpc.StatusCode]] = field(default_factory=Counter)
    failed: bool = False


class StreamBook:
    """Queries in, requests out; answers in, outcomes out.

    Never more requests under way than the server works on at a time (max_stream_inflight), so the server always reads
    what is sent and neither side can block the other. Requests are kept until answered: where a connection is cut, as
    servers do to rebalance, the unanswered go again over the next one. What the server refuses for now goes again as
    `retry_delay` says.
    """

    def __init__(self, info: ServerInfo, max_message_bytes: int, *, retry_delay: RetryDelay) -> None:
        self._info = info
        self._max_message_bytes = max_message_bytes
        self._retry_delay = retry_delay
        self._window = info.limits.max_stream_inflight or _DEFAULT_WINDOW
        self._prefix = uuid.uuid4().hex[:12]
        self._count = 0
        self._waiting: deque[tuple[str, _Progress, int]] = deque()
        self._under_way: dict[str, tuple[_Progress, int]] = {}
        self._outcomes: deque[StreamedMatch] = deque()
        self._answered_since_cut = True
        self._pause = 0.0

    @property
    def has_room(self) -> bool:
        """Whether another query should be added before the next answer is waited for."""
        return len(self._under_way) + len(self._waiting) < self._window and not self._outcomes

    @property
    def is_idle(self) -> bool:
        return not (self._under_way or self._waiting or self._outcomes)

    @property
    def awaits_answer(self) -> bool:
        return bool(self._under_way)

    def add(self, query: MatchQuery) -> None:
        """Plan a query. One that can't be sent becomes an outcome with its error, as if the server had refused it."""
        index, self._count = self._count, self._count + 1
        request_id = query.request_id or f"{self._prefix}-{index}"
        try:
            planned = PlannedMatch(query)
            planned.split(self._info, self._max_message_bytes)
        except RolecallError as error:
            self._outcomes.append(StreamedMatch(index, request_id, error=error))
            return
        progress = _Progress(index, request_id, planned)
        if not planned.parts:
            self._outcomes.append(StreamedMatch(index, request_id, result=planned.merge([])))
        for part in range(planned.parts):
            self._waiting.append((self._wire_id(request_id, index, part), progress, part))

    def next_request(self) -> matching_pb2.MatchStreamRequest | None:
        """What to send now, None where the window is full, nothing waits or a pause is due."""
        while not self._pause and self._waiting and len(self._under_way) < self._window:
            wire_id, progress, part = self._waiting.popleft()
            if progress.failed:
                continue
            self._under_way[wire_id] = (progress, part)
            request = progress.planned.request(part)
            request.request_id = wire_id
            return matching_pb2.MatchStreamRequest(request=request)
        return None

    def take_pause(self) -> float:
        """Seconds to wait before anything more is sent; asking resets it.

        Not while answers are awaited: refusals among them make one pause together, not one after the other.
        """
        if self._under_way:
            return 0.0
        pause, self._pause = self._pause, 0.0
        return pause

    def next_outcome(self) -> StreamedMatch | None:
        return self._outcomes.popleft() if self._outcomes else None

    def receive(self, response: matching_pb2.MatchStreamResponse) -> None:
        """Take in an answer; the last of a query's parts makes its outcome, and so does its first failure."""
        if response.request_id not in self._under_way:
            message = f"the server answered a request that was not made: {response.request_id!r}"
            raise make_error(grpc.StatusCode.INTERNAL, message)
        progress, part = self._under_way.pop(response.request_id)
        self._answered_since_cut = True
        if progress.failed:
            return
        try:
            if response.WhichOneof("outcome") == "status":
                error = from_status(response.status)
                if self._again(error, progress, part, wire_id=response.request_id):
                    return
                raise error
            progress.answers[part] = response.response
            if len(progress.answers) < progress.planned.parts:
                return
            result = progress.planned.merge([progress.answers[part] for part in range(progress.planned.parts)])
        except RolecallError as error:
            progress.failed = True
            self._outcomes.append(StreamedMatch(progress.index, progress.request_id, error=error))
        else:
            self._outcomes.append(StreamedMatch(progress.index, progress.request_id, result=result))

    def _again(self, error: RolecallError, progress: _Progress, part: int, *, wire_id: str) -> bool:
        """Line up a part once more that the server refused for now; not for ever."""
        kind = (part, error.code)
        delay = self._retry_delay(error, progress.tries[kind])
        if delay is None:
            return False
        progress.tries[kind] += 1
        self._pause = max(self._pause, delay)
        self._waiting.appendleft((wire_id, progress, part))
        return True

    def cut(self, error: RolecallError) -> None:
        """The stream broke: line up the unanswered again. Raises `error` where another stream would not help."""
        if not isinstance(error, UnavailableError) or not self._answered_since_cut:
            raise error
        self._answered_since_cut = False
        again = [(wire_id, progress, part) for wire_id, (progress, part) in self._under_way.items()]
        self._waiting.extendleft(reversed(again))
        self._under_way.clear()

    def _wire_id(self, request_id: str, index: int, part: int) -> str:
        """The caller's id where it is unambiguous, so that it stands in the server's log."""
        taken = request_id in self._under_way or any(request_id == waiting for waiting, _, _ in self._waiting)
        return f"{self._prefix}-{index}/{part}" if taken or part else request_id


def ended_early() -> RolecallError:
    """For a stream that the server ended while requests were unanswered."""
    return make_error(grpc.StatusCode.UNAVAILABLE, "the server ended the stream before it had answered everything")


def in_order(outcomes: Sequence[StreamedMatch], errors: Literal["raise", "keep"]) -> list[MatchResult | RolecallError]:
    """The outcomes in the order of the queries. errors: raise the first of that order, or keep each in its place."""
    ordered: list[MatchResult | RolecallError] = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.index):
        if outcome.error is not None and errors == "raise":
            raise outcome.error
        kept = outcome.result if outcome.result is not None else outcome.error
        assert kept is not None, "an outcome holds one of the two"
        ordered.append(kept)
    return ordered
