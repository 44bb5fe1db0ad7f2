"""Deadlines, cancellations and counting of calls, without a server."""

import asyncio
import math
import time

import pytest
from rolecall.v1 import matching_pb2 as pb
from rolecall_server.errors import DeadlinePassedError, EngineError, InvalidInputError, UnavailableError
from rolecall_server.transport.calls import MALFORMED, Call, MessageParser, checked, settle
from rolecall_server.transport.inflight import InflightCalls
from rolecall_server.transport.pacing import paced
from rolecall_server.types import Priority


async def test_work_past_its_deadline_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(DeadlinePassedError):
        await settle(work(), time.monotonic())
    assert cancelled.is_set()


async def test_a_timeout_of_the_works_own_is_not_our_deadline() -> None:
    async def work() -> None:
        raise TimeoutError("a socket's")

    with pytest.raises(TimeoutError, match="a socket's"):
        await settle(work(), time.monotonic() + 60)


async def test_a_cancellation_that_nobody_asked_for_becomes_an_error() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    with pytest.raises(EngineError):
        await settle(future, math.inf)


async def test_a_cancellation_from_outside_stays_one() -> None:
    task = asyncio.create_task(settle(asyncio.sleep(60), math.inf))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_bytes_that_are_no_message_are_told_apart() -> None:
    parse = MessageParser(pb.MatchRequest)
    assert parse(pb.MatchRequest(top_k=3).SerializeToString()) == pb.MatchRequest(top_k=3)
    assert parse(b"\xff\xff\xff") is MALFORMED
    with pytest.raises(InvalidInputError) as caught:
        checked(MALFORMED)
    assert caught.value.field == ""


def test_a_request_has_the_clients_deadline_or_else_the_default() -> None:
    before = time.monotonic()
    given = Call("m", time.monotonic() + 5, 60.0).context_for(pb.MatchRequest(request_id="a", priority="PRIORITY_BULK"))
    assert before + 5 <= given.deadline <= time.monotonic() + 5
    assert (given.request_id, given.priority) == ("a", Priority.BULK)
    default = Call("m", None, 60.0).context_for(pb.MatchRequest())
    assert before + 60 <= default.deadline <= time.monotonic() + 60
    assert len(default.request_id) == 32


async def test_a_drain_waits_for_what_is_under_way_and_refuses_the_rest() -> None:
    calls = InflightCalls()
    assert await calls.wait_idle(0)
    with calls:
        calls.drain()
        with pytest.raises(UnavailableError), calls:
            pass
        assert calls.count == 1
        assert not await calls.wait_idle(0)
    assert await calls.wait_idle(0)
    calls.drain()
    assert calls.draining.done()


async def test_a_stop_goes_on_refusing_while_refused_clients_may_try_again() -> None:
    calls = InflightCalls()
    calls.drain()
    refused_again = False

    async def client() -> None:
        nonlocal refused_again
        await asyncio.sleep(0.02)
        with pytest.raises(UnavailableError):
            calls.check()
        refused_again = True

    task = asyncio.create_task(client())
    await calls.wait_quiet(0.5, at_most_seconds=60)
    assert refused_again
    await calls.wait_quiet(3600, at_most_seconds=0.01)
    await task


async def test_a_long_loop_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _ in paced(range(5)):
        time.sleep(0.003)  # noqa: ASYNC251  the work that would hold the loop
    task.cancel()
    assert turns == 5
