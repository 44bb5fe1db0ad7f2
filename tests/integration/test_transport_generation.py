"""GenerationService on a real server, before tasks that do as the test says: streams, errors, those who leave."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from rolecall_server.errors import EngineError, OverloadedError
from rolecall_server.tasks.generate import GenerateInput, GenerateOutput

from tests.integration.transport_server import FakeGenerate, details_of, generate_request, running, written


class Held:
    """Writes "a", then nothing until it is released; `started` once it has."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, _: GenerateInput) -> AsyncIterator[str | GenerateOutput]:
        yield "a"
        self.started.set()
        await self.release.wait()
        yield written("a")


async def test_a_text_comes_in_pieces_and_then_what_is_to_be_said_of_it() -> None:
    async with running() as it:
        answers = [
            answer
            async for answer in GenerationServiceStub(it.channel).GenerateStream(
                generate_request("写 一 个", request_id="r-1")
            )
        ]
        assert await it.done() == [("GenerateStream", "OK", "r-1")]
    assert "".join(answer.delta for answer in answers) == "写一个"
    assert {answer.request_id for answer in answers} == {"r-1"}
    *deltas, last = answers
    assert not any(answer.HasField("usage") or answer.finish_reason for answer in deltas)
    assert (last.delta, last.finish_reason, last.model.name) == ("", pb.FINISH_REASON_EOS, "generator")
    assert last.usage == pb.GenerateUsage(prompt_tokens=3, generated_tokens=3)
    assert last.timing.total_seconds > 0


async def test_generate_answers_with_the_whole_of_it() -> None:
    async with running() as it:
        request = pb.GenerateRequest(prompt=pb.FreeText(text="a b"), request_id="r-2")
        answer = await GenerationServiceStub(it.channel).Generate(request)
        assert await it.done() == [("Generate", "OK", "r-2")]
    assert [candidate.text for candidate in answer.candidates] == ["ab"]
    assert answer.request_id == "r-2"


async def test_each_piece_goes_out_as_soon_as_it_is_there() -> None:
    async with running() as it:
        held = it.generate.behave = Held()
        call = GenerationServiceStub(it.channel).GenerateStream(generate_request())
        assert (await call.read()).delta == "a"
        assert not call.done()
        held.release.set()
        assert (await call.read()).finish_reason == pb.FINISH_REASON_EOS
        assert await call.read() is grpc.aio.EOF


async def test_a_client_that_leaves_ends_the_work() -> None:
    async with running() as it:
        it.generate.behave = Held()
        call = GenerationServiceStub(it.channel).GenerateStream(generate_request())
        assert (await call.read()).delta == "a"
        call.cancel()
        await asyncio.wait_for(it.generate.closed.acquire(), 10)
        assert [code for _, code, _ in await it.done()] == ["CANCELLED"]
        assert it.gate.inflight == 0


async def test_a_deadline_ends_the_work_and_the_stream() -> None:
    async with running() as it:
        it.generate.behave = Held()
        call = GenerationServiceStub(it.channel).GenerateStream(generate_request(), timeout=0.3)
        assert (await call.read()).delta == "a"
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(it.generate.closed.acquire(), 10)
        assert [code for _, code, _ in await it.done()] == ["DEADLINE_EXCEEDED"]


async def read_to_the_error(call: Any) -> tuple[str, grpc.aio.AioRpcError]:
    """The text that came, and the error after it."""
    seen = ""
    try:
        async for answer in call:
            seen += answer.delta
    except grpc.aio.AioRpcError as error:
        return seen, error
    raise AssertionError("no error came")


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (OverloadedError("full", reason="tokens", retry_after=2.0), grpc.StatusCode.RESOURCE_EXHAUSTED, "RetryInfo"),
        (EngineError("it broke"), grpc.StatusCode.INTERNAL, "ErrorInfo"),
    ],
)
@pytest.mark.parametrize("before", [(), ("some ", "text")])
async def test_an_error_ends_the_stream_with_its_status_whatever_came_before(
    error: Exception, code: grpc.StatusCode, detail: str, before: tuple[str, ...]
) -> None:
    async def fail(_: GenerateInput) -> AsyncIterator[str | GenerateOutput]:
        for text in before:
            yield text
        raise error

    async with running() as it:
        it.generate.behave = fail
        call = GenerationServiceStub(it.channel).GenerateStream(generate_request())
        seen, caught = await read_to_the_error(call)
        assert (caught.code(), seen) == (code, "".join(before))
        assert detail in details_of(caught)
        assert [done for _, done, _ in await it.done()] == [code.name]


async def test_both_are_behind_the_gate_and_hold_one_place_each() -> None:
    async with running() as it:
        held = it.generate.behave = Held()
        stub = GenerationServiceStub(it.channel)
        streams = [stub.GenerateStream(generate_request()) for _ in range(4)]
        for stream in streams:
            await stream.read()
        for refused in (stub.Generate(pb.GenerateRequest()), stub.GenerateStream(generate_request())):
            assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.release.set()
        for stream in streams:
            assert (await stream.read()).finish_reason == pb.FINISH_REASON_EOS
        assert await streams[0].code() is grpc.StatusCode.OK


async def test_a_stream_that_was_accepted_ends_before_the_server_does() -> None:
    async with running() as it:
        held = it.generate.behave = Held()
        stub = GenerationServiceStub(it.channel)
        stream = stub.GenerateStream(generate_request())
        await stream.read()
        stopping = asyncio.create_task(it.server.stop(30.0))
        await asyncio.sleep(0)
        late = stub.GenerateStream(generate_request())
        assert await late.code() is grpc.StatusCode.UNAVAILABLE
        held.release.set()
        assert (await stream.read()).finish_reason == pb.FINISH_REASON_EOS
        assert await asyncio.wait_for(stopping, 30)


async def test_a_bad_request_never_reaches_the_task() -> None:
    async with running() as it:
        stub = GenerationServiceStub(it.channel)
        calls: list[Any] = [stub.Generate(pb.GenerateRequest()), stub.GenerateStream(pb.GenerateStreamRequest())]
        for call in calls:
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert it.generate.requests == FakeGenerate().requests
