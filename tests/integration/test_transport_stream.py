"""MatchStream on a real server: pipelining, its bound, failures of one and of all, and every way that it ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall_server.errors import EngineError
from rolecall_server.tasks.match import MatchInput, MatchOutput
from rolecall_server.types import RequestContext

from tests.integration.transport_server import (
    LIMITS,
    Blocker,
    Running,
    details_of,
    match_request,
    running,
    score,
    unpacked,
)


def message(request_id: str, **fields: Any) -> pb.MatchStreamRequest:
    return pb.MatchStreamRequest(request=match_request(request_id=request_id, **fields))


def open_stream(it: Running, **options: Any) -> Any:
    return MatchingServiceStub(it.channel).MatchStream(**options)


async def ids_until_the_end(call: Any) -> list[str]:
    return [response.request_id async for response in call]


async def test_all_that_was_sent_before_the_half_close_is_answered() -> None:
    async with running() as it:
        call = open_stream(it)
        for number in range(20):
            await call.write(message(f"r{number}"))
        await call.done_writing()
        answers = [answer async for answer in call]
        assert sorted(answer.request_id for answer in answers) == sorted(f"r{number}" for number in range(20))
        assert {answer.WhichOneof("outcome") for answer in answers} == {"response"}
        assert all(answer.response.request_id == answer.request_id for answer in answers)
        assert await call.code() is grpc.StatusCode.OK
        assert sorted(await it.done(20)) == sorted(("MatchStream", "OK", f"r{number}") for number in range(20))
        assert len(it.rpcs.started) == 20
        assert it.rpcs.failed_streams == []
        assert it.gate.inflight == 0


async def test_answers_come_in_the_order_of_completion() -> None:
    async with running() as it:
        blocker = Blocker()

        async def hold_the_first(request: MatchInput, context: RequestContext) -> MatchOutput:
            return await (blocker if context.request_id == "first" else score)(request, context)

        it.match.behave = hold_the_first
        call = open_stream(it)
        await call.write(message("first"))
        await call.write(message("second"))
        assert (await call.read()).request_id == "second"
        blocker.release.set()
        assert (await call.read()).request_id == "first"


async def test_no_more_is_read_than_may_be_under_way() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = open_stream(it)
        for number in range(6):
            await call.write(message(f"r{number}"))
        await call.done_writing()
        for _ in range(LIMITS.max_stream_inflight):
            await blocker.started.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await blocker.started.acquire()
        assert blocker.running == it.gate.inflight == LIMITS.max_stream_inflight
        blocker.release.set()
        assert len(await ids_until_the_end(call)) == 6


async def test_a_failing_match_has_its_status_and_ends_nothing() -> None:
    async with running() as it:
        call = open_stream(it)
        await call.write(message("bad", documents=[]))
        await call.write(pb.MatchStreamRequest())
        await call.write(message("x" * 257))
        await call.write(message("good"))
        await call.done_writing()
        answers = {answer.request_id: answer async for answer in call}
        assert {answer.status.code for answer in answers.values() if answer.HasField("status")} == {
            code_pb2.INVALID_ARGUMENT
        }
        fields = {
            key: unpacked(answer.status)["BadRequest"].field_violations[0].field
            for key, answer in answers.items()
            if answer.HasField("status")
        }
        assert fields == {"bad": "documents", "": "request", "x" * 256: "request_id"}
        assert answers["good"].HasField("response")
        assert await call.code() is grpc.StatusCode.OK
        assert sorted(it.rpcs.done) == [
            ("MatchStream", "INVALID_ARGUMENT", ""),
            ("MatchStream", "INVALID_ARGUMENT", ""),
            ("MatchStream", "INVALID_ARGUMENT", "bad"),
            ("MatchStream", "OK", "good"),
        ]


@pytest.mark.parametrize("error", [EngineError("batch"), ZeroDivisionError("a user's text"), asyncio.CancelledError()])
async def test_our_own_fault_in_one_match_is_that_ones_status(error: BaseException) -> None:
    async with running() as it:

        async def fail_once(request: MatchInput, context: RequestContext) -> MatchOutput:
            if context.request_id == "bad":
                raise error
            return await score(request, context)

        it.match.behave = fail_once
        call = open_stream(it)
        for request_id in ("bad", "good", "good too"):
            await call.write(message(request_id))
        await call.done_writing()
        answers = {answer.request_id: answer async for answer in call}
        assert answers["bad"].status.code == code_pb2.INTERNAL
        assert answers["bad"].status.message.startswith("internal error ")
        assert {key for key, answer in answers.items() if answer.HasField("response")} == {"good", "good too"}
        assert ("MatchStream", "INTERNAL", "bad") in it.rpcs.done


async def test_each_match_enters_the_gate_and_may_be_refused_there() -> None:
    async with running() as it:
        it.gate.close("the engine is gone")
        call = open_stream(it)
        await call.write(message("r"))
        answer = await call.read()
        assert (answer.request_id, answer.status.code) == ("r", code_pb2.UNAVAILABLE)
        assert unpacked(answer.status).keys() == {"RetryInfo"}
        it.gate.open()
        await call.write(message("r"))
        assert (await call.read()).HasField("response")


async def test_a_malformed_message_ends_the_stream_after_what_came_before_it() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = it.channel.stream_stream(
            "/rolecall.v1.MatchingService/MatchStream", response_deserializer=pb.MatchStreamResponse.FromString
        )()
        await call.write(message("r").SerializeToString())
        await blocker.started.acquire()
        await call.write(b"\xff\xff\xff")
        blocker.release.set()
        assert (await call.read()).request_id == "r"
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await it.failed_streams() == [("MatchStream", "INVALID_ARGUMENT")]
        assert it.rpcs.done == [("MatchStream", "OK", "r")]
        assert await call.details() == "the bytes received are not a message of this method"


async def test_cancelling_the_stream_cancels_all_its_work() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = open_stream(it)
        for number in range(2):
            await call.write(message(f"r{number}"))
            await blocker.started.acquire()
        call.cancel()
        async with asyncio.timeout(10):
            for _ in range(2):
                await blocker.cancelled.acquire()
        assert await it.failed_streams() == [("MatchStream", "CANCELLED")]
        assert sorted(it.rpcs.done) == [("MatchStream", "CANCELLED", f"r{number}") for number in range(2)]
        assert it.gate.inflight == it.server.inflight.count == 0


async def test_the_deadline_of_the_stream_cancels_its_work() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = open_stream(it, timeout=0.2)
        await call.write(message("r"))
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(10):
            await blocker.cancelled.acquire()
        assert await it.failed_streams() == [("MatchStream", "DEADLINE_EXCEEDED")]
        assert it.rpcs.done == [("MatchStream", "DEADLINE_EXCEEDED", "r")]


async def test_a_stop_answers_what_was_read_and_ends_the_stream_so_that_the_rest_is_sent_elsewhere() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = open_stream(it)
        await call.write(message("accepted"))
        await blocker.started.acquire()
        stopping = asyncio.create_task(it.server.stop(30))
        await asyncio.sleep(0)
        blocker.release.set()
        assert (await call.read()).request_id == "accepted"
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await stopping


async def test_a_stop_ends_an_idle_stream_at_once() -> None:
    async with running() as it:
        call = open_stream(it)
        await call.write(message("r"))
        await call.read()
        assert await it.server.stop(30)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(caught.value).keys() == {"RetryInfo"}


async def test_a_client_that_does_not_read_holds_back_only_itself() -> None:
    """Answers that nobody reads fill the connection's window; the server then stops reading that stream."""
    many = 2000

    async with running() as it:
        call = open_stream(it)
        stub = MatchingServiceStub(it.channel)

        async def write_all() -> None:
            for number in range(many):
                await call.write(message(f"{number:0256d}"))
            await call.done_writing()

        writing = asyncio.create_task(write_all())
        assert (await stub.Match(match_request(request_id="other"), timeout=30)).request_id == "other"
        assert len(await ids_until_the_end(call)) == many
        await writing


async def requests(count: int) -> AsyncIterator[pb.MatchStreamRequest]:
    for number in range(count):
        yield message(f"r{number}")


async def test_two_streams_do_not_mix() -> None:
    async with running() as it:
        first, second = (open_stream(it, request_iterator=requests(count)) for count in (5, 7))
        assert [len(set(await ids_until_the_end(call))) for call in (first, second)] == [5, 7]
