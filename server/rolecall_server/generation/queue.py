"""The waiting requests of one model, by priority and in the order of their arrival. Pure: time is an argument."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from rolecall_server.generation.types import GenerationRequest
from rolecall_server.types import Priority

_SLACK = 64
"""Deadlines of requests that no longer wait may be kept, up to so many more than there are requests."""


@dataclass(slots=True, eq=False)
class Queued:
    """A request on its way: started is when it joined a lane, failures how often the step it took part in failed."""

    request: GenerationRequest
    started: float = math.nan
    failures: int = 0

    @property
    def tokens(self) -> int:
        """What it may take at most: its source and a whole output for each row. Admission counts with the same."""
        decoding = self.request.decoding
        return len(self.request.source) + decoding.rows * decoding.max_new_tokens


class WaitingRequests:
    """tokens: those waiting, by priority."""

    def __init__(self) -> None:
        self.tokens = dict.fromkeys(Priority, 0)
        self._queues: dict[Priority, OrderedDict[int, Queued]] = {priority: OrderedDict() for priority in Priority}
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def __contains__(self, request_id: int) -> bool:
        return any(request_id in queue for queue in self._queues.values())

    def size(self, priority: Priority) -> int:
        return len(self._queues[priority])

    def of(self, priority: Priority) -> Iterator[Queued]:
        """In the order of their turns. The queue must not change meanwhile."""
        return iter(self._queues[priority].values())

    def push(self, queued: Queued) -> None:
        request = queued.request
        self._queues[request.priority][request.id] = queued
        self.tokens[request.priority] += queued.tokens
        heapq.heappush(self._deadlines, (request.deadline, request.id))

    def push_front(self, queued: Queued) -> None:
        self.push(queued)
        self._queues[queued.request.priority].move_to_end(queued.request.id, last=False)

    def remove(self, request_id: int) -> Queued | None:
        for queue in self._queues.values():
            queued = queue.pop(request_id, None)
            if queued is not None:
                self.tokens[queued.request.priority] -= queued.tokens
                self._forget_deadlines()
                return queued
        return None

    def expire(self, now: float) -> list[Queued]:
        late: list[Queued] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            queued = self.remove(heapq.heappop(self._deadlines)[1])
            if queued is not None:
                late.append(queued)
        return late

    def drain(self) -> list[Queued]:
        left = [queued for queue in self._queues.values() for queued in queue.values()]
        for queued in left:
            self.remove(queued.request.id)
        return left

    def _forget_deadlines(self) -> None:
        if not len(self):
            self._deadlines.clear()
        elif len(self._deadlines) > 2 * len(self) + _SLACK:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self]
            heapq.heapify(self._deadlines)
