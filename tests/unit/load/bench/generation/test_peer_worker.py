"""The batcher around a peer: every request once, batches of what waits, as many at a time as the peer runs."""

import threading

import pytest
from rolecall_load.bench.generation.peer_worker import Server

SOURCES = [[number] * (number + 1) for number in range(20)]


class Library:
    """Writes a source's number; notes its batches, and how many ran at a time."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.limits: list[int] = []
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, sources: list[list[int]], limit: int) -> list[list[int]]:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.batches.append([source[0] for source in sources])
            self.limits.append(limit)
        threading.Event().wait(0.005)
        with self._lock:
            self.running -= 1
        return [[source[0], 1] for source in sources]


def job(count: int, *, clients: int = 1, offsets: tuple[float, ...] = ()) -> dict[str, object]:
    limits = [10 + number for number in range(count)]
    return {"numbers": list(range(count)), "limits": limits, "clients": clients, "offsets": list(offsets)}


@pytest.mark.parametrize(("clients", "batch", "parallel"), [(1, 8, 1), (7, 4, 2), (20, 16, 2), (3, 16, 1)])
def test_each_request_is_answered_once(clients: int, batch: int, parallel: int) -> None:
    library = Library()

    found = Server(library, SOURCES, job(20, clients=clients), batch).run(parallel)

    assert found["outputs"] == [[number, 1] for number in range(20)]
    assert sorted(number for each in library.batches for number in each) == list(range(20))
    assert max(map(len, library.batches)) <= min(batch, clients)
    assert library.most <= parallel
    assert all(latency > 0 for latency in found["latencies"])


def test_requests_that_arrive_by_schedule_share_batches_when_they_have_to_wait() -> None:
    library = Library()

    found = Server(library, SOURCES, job(6, offsets=(0.0, 0.001, 0.001, 0.001, 0.001, 0.001)), 8).run(1)

    assert found["outputs"] == [[number, 1] for number in range(6)]
    assert len(library.batches) < 6
    assert library.limits[-1] == 15
