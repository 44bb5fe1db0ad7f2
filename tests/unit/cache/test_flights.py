"""Single flight: who follows whom, and what happens when the one who computes gives up."""

import asyncio

from rolecall_server.cache.flights import Flights
from rolecall_server.types import Priority

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


async def test_a_result_lands_before_the_rest_of_its_request() -> None:
    flights: Flights[str] = Flights()
    with flights.lead([b"a", b"b"], INTERACTIVE) as land:
        follower = flights.under_way(b"a", INTERACTIVE)
        assert follower is not None
        land(b"a", "result")
        assert follower.result() == "result"
        assert flights.under_way(b"a", INTERACTIVE) is None
        assert flights.under_way(b"b", INTERACTIVE) is not None


async def test_those_who_wait_are_told_when_the_leader_gives_up() -> None:
    flights: Flights[str] = Flights()
    leading = flights.lead([b"a"], INTERACTIVE)
    leading.__enter__()
    follower = flights.under_way(b"a", INTERACTIVE)
    assert follower is not None
    assert not leading.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    assert follower.result() is None
    assert flights.under_way(b"a", INTERACTIVE) is None


async def test_interactive_requests_do_not_wait_for_bulk_ones_but_bulk_ones_for_any() -> None:
    flights: Flights[str] = Flights()
    with flights.lead([b"a"], BULK):
        assert flights.under_way(b"a", INTERACTIVE) is None
        with flights.lead([b"a"], INTERACTIVE) as land:
            assert flights.under_way(b"a", INTERACTIVE) is flights.under_way(b"a", BULK)
            land(b"a", "sooner")
        assert flights.under_way(b"a", BULK) is not None
