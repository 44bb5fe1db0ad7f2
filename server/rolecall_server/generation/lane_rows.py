"""Which rows of the lanes are taken, and where a request would best go. Pure."""

from collections.abc import Mapping

from rolecall_server.generation.queue import Queued
from rolecall_server.types import Priority

BULK_ROWS_SHARE = 0.75
"""Bulk work takes at most this part of a lane, or one request where that is more, so that interactive requests find
room without waiting for the end of a long text."""

ROW_TOKENS = 256
"""What a row costs a step beside its source, in tokens of attention over the longest source of the lane."""


class LaneRows:
    """The requests of one lane."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.taken = 0
        self.running: dict[int, Queued] = {}

    @property
    def free(self) -> int:
        return self.rows - self.taken

    def add(self, queued: Queued) -> None:
        self.running[queued.request.id] = queued
        self.taken += queued.request.decoding.rows

    def remove(self, request_id: int) -> Queued | None:
        queued = self.running.pop(request_id, None)
        if queued is not None:
            self.taken -= queued.request.decoding.rows
        return queued


class _Room:
    """What a lane would have left, were all placed so far in it."""

    def __init__(self, lane: LaneRows) -> None:
        self.rows = lane.rows
        self.free = lane.free
        self.longest = max((len(queued.request.source) for queued in lane.running.values()), default=0)
        bulk = (queued for queued in lane.running.values() if queued.request.priority is Priority.BULK)
        self.bulk = sum(queued.request.decoding.rows for queued in bulk)

    def may_hold(self, queued: Queued) -> bool:
        """Whether the share of bulk work allows it, however many rows are free."""
        after = self.bulk + queued.request.decoding.rows
        bulk = queued.request.priority is Priority.BULK
        return not bulk or not self.bulk or after <= BULK_ROWS_SHARE * self.rows

    def load_with(self, queued: Queued) -> int:
        """A step's cost with one more request: each row pays for the longest source of the lane, to which cross
        attention is padded. So requests go to the emptier lane, and rather to sources of like length."""
        rows = self.rows - self.free + queued.request.decoding.rows
        return rows * (ROW_TOKENS + max(self.longest, len(queued.request.source)))

    def add(self, queued: Queued) -> None:
        self.free -= queued.request.decoding.rows
        self.longest = max(self.longest, len(queued.request.source))
        if queued.request.priority is Priority.BULK:
            self.bulk += queued.request.decoding.rows


class Plan:
    """Places requests in lanes one after the other without changing these."""

    def __init__(self, lanes: Mapping[int, LaneRows]) -> None:
        self._rooms = {lane: _Room(rows) for lane, rows in lanes.items()}
        self.bulk_room = True

    @property
    def any_room(self) -> bool:
        return any(room.free > 0 for room in self._rooms.values())

    def full(self, lane: int) -> bool:
        return self._rooms[lane].free <= 0

    def place(self, queued: Queued) -> int | None:
        """The lane that is to take the request; None where none can now.

        Where rows are wanting, the lane with the most free ones is held for the request: those behind it can't keep
        it waiting for ever. Where bulk work has its share, it waits without holding anything.
        """
        allowed = {lane: room for lane, room in self._rooms.items() if room.may_hold(queued)}
        if not allowed:
            self.bulk_room = False
            return None
        rows = queued.request.decoding.rows
        fitting = [(room.load_with(queued), lane) for lane, room in allowed.items() if room.free >= rows]
        if not fitting:
            max(allowed.values(), key=lambda room: room.free).free = 0
            return None
        lane = min(fitting)[1]
        self._rooms[lane].add(queued)
        return lane
