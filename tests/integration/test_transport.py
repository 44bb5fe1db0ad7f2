"""Unary RPCs on a real server: the status table, malformed bytes, deadlines, cancellation, start and stop."""

import asyncio
import socket
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from rolecall.v1 import feedback_pb2, generation_pb2, matching_pb2, model_pb2, types_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1.feedback_pb2_grpc import FeedbackServiceStub
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub
from rolecall_server.errors import (
    DeadlineError,
    EngineError,
    InvalidInputError,
    ModelNotFoundError,
    ModelNotLoadedError,
    NotPermittedError,
    OverloadedError,
    UnavailableError,
)
from rolecall_server.transport.server import BindError, GrpcServer, ServerOptions
from rolecall_server.types import Priority

from tests.integration.transport_server import (
    LIMITS,
    TEXT,
    Blocker,
    RpcList,
    Running,
    details_of,
    generate_request,
    match_request,
    running,
)

METHODS = [
    method
    for module in (matching_pb2, generation_pb2, feedback_pb2, model_pb2, health_pb2, reflection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_match_is_answered_and_counted_once() -> None:
    async with running() as it:
        request = match_request(
            request_id="r1", documents=[TEXT, types_pb2.Profile(id="bad")], priority=types_pb2.PRIORITY_BULK
        )
        response = await MatchingServiceStub(it.channel).Match(request, timeout=30)
        assert response.request_id == "r1"
        assert [(result.index, result.status.code) for result in response.results] == [
            (0, code_pb2.OK),
            (1, code_pb2.INVALID_ARGUMENT),
        ]
        assert response.results[1].document_id == "bad"
        assert response.timing.total_seconds > 0
        (context,) = it.match.contexts
        assert (context.request_id, context.priority) == ("r1", Priority.BULK)
        assert await it.done() == [("Match", "OK", "r1")]
        assert it.rpcs.started == ["rolecall.v1.MatchingService/Match"]
        assert it.server.inflight.count == it.gate.inflight == 0


async def test_a_request_without_an_id_gets_one() -> None:
    async with running() as it:
        stub = MatchingServiceStub(it.channel)
        first, second = [(await stub.Match(match_request())).request_id for _ in range(2)]
        assert len(first) == 32
        assert first != second


async def test_an_embedding_arrives_number_by_number() -> None:
    async with running() as it:
        response = await MatchingServiceStub(it.channel).Embed(pb.EmbedRequest(inputs=[TEXT]))
        (embedding,) = response.embeddings
        assert np.frombuffer(embedding.vector, "<f4").tolist() == np.array([0.6, 0.8], np.float32).tolist()


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (InvalidInputError("query", "is empty"), grpc.StatusCode.INVALID_ARGUMENT, {"BadRequest"}),
        (NotPermittedError("no"), grpc.StatusCode.PERMISSION_DENIED, set()),
        (OverloadedError("full", reason="tokens", retry_after=1), grpc.StatusCode.RESOURCE_EXHAUSTED, {"RetryInfo"}),
        (
            OverloadedError("over", reason="quota", retry_after=1),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            {"RetryInfo", "QuotaFailure"},
        ),
        (DeadlineError("late"), grpc.StatusCode.DEADLINE_EXCEEDED, {"ErrorInfo"}),
        (DeadlineError("late", retry_after=1), grpc.StatusCode.DEADLINE_EXCEEDED, {"ErrorInfo", "RetryInfo"}),
        (UnavailableError("gone"), grpc.StatusCode.UNAVAILABLE, {"RetryInfo"}),
        (ModelNotFoundError("m", "1"), grpc.StatusCode.NOT_FOUND, {"ResourceInfo"}),
        (ModelNotLoadedError("m", "1"), grpc.StatusCode.FAILED_PRECONDITION, {"ResourceInfo"}),
        (EngineError("row 3"), grpc.StatusCode.INTERNAL, {"ErrorInfo"}),
        (ZeroDivisionError("a user's text"), grpc.StatusCode.INTERNAL, {"ErrorInfo"}),
        # Cancelled from inside, by nobody's wish: grpc.aio would leave the client without an answer.
        (asyncio.CancelledError(), grpc.StatusCode.INTERNAL, {"ErrorInfo"}),
    ],
)
async def test_each_row_of_the_status_table(error: BaseException, code: grpc.StatusCode, details: set[str]) -> None:
    async with running() as it:
        it.match.fails(error)
        caught = await failure(MatchingServiceStub(it.channel).Match(match_request(request_id="r"), timeout=30))
        assert caught.code() is code
        assert details_of(caught).keys() == details
        if code is grpc.StatusCode.INTERNAL:
            info = details_of(caught)["ErrorInfo"]
            assert caught.details() == f"internal error {info.metadata['error_id']}"
        assert await it.done() == [("Match", code.name, "r")]
        assert it.server.inflight.count == it.gate.inflight == 0


async def test_the_details_hold_the_field_the_wait_and_the_resource() -> None:
    async with running() as it:
        stub = MatchingServiceStub(it.channel)
        bad = details_of(await failure(stub.Match(match_request(documents=[]))))["BadRequest"]
        assert [violation.field for violation in bad.field_violations] == ["documents"]
        it.match.fails(OverloadedError("full", reason="tokens", retry_after=1.25))
        retry = details_of(await failure(stub.Match(match_request())))["RetryInfo"]
        assert retry.retry_delay.ToMilliseconds() == 1250
        it.match.fails(DeadlineError("late"))
        info = details_of(await failure(stub.Match(match_request())))["ErrorInfo"]
        assert (info.reason, info.domain) == ("SHED_BEFORE_DEADLINE", "rolecall")
        it.match.fails(ModelNotFoundError("模型" * 40, "1"))
        resource = details_of(await failure(stub.Match(match_request())))["ResourceInfo"]
        assert resource.resource_name == f"{'模型' * 40}/1"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
async def test_bytes_that_are_no_message_are_invalid_on_every_rpc(method: MethodDescriptor) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    async with running() as it:
        if method.client_streaming:
            call = it.channel.stream_stream(path)(iter([b"\xff\xff\xff"]))
        elif method.server_streaming:
            call = it.channel.unary_stream(path)(b"\xff\xff\xff")
        else:
            call = it.channel.unary_unary(path)(b"\xff\xff\xff")
        code, text = await call.code(), await call.details()
        assert (code, text) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the bytes received are not a message of this method",
        )


async def test_what_is_declared_and_not_built_says_so_in_words() -> None:
    async with running() as it:
        generation = GenerationServiceStub(it.channel)
        calls = [
            MatchingServiceStub(it.channel).AnalyzeProfile(pb.AnalyzeProfileRequest()),
            generation.Generate(generation_pb2.GenerateRequest(chat=generation_pb2.Chat())),
            generation.GenerateStream(generate_request(redact=True)).read(),
            FeedbackServiceStub(it.channel).RecordFeedback(feedback_pb2.RecordFeedbackRequest()),
            MatchingServiceStub(it.channel).Match(match_request(redact=True)),
        ]
        for call in calls:
            caught = await failure(call)
            assert caught.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "not built in this version of the server" in (caught.details() or "")
        assert [code for _, code, _ in await it.done(5)] == ["UNIMPLEMENTED"] * 5


async def test_the_model_service_answers_and_is_not_behind_the_gate() -> None:
    async with running() as it:
        it.gate.close("the server is starting")
        stub = ModelServiceStub(it.channel)
        info = await stub.GetServerInfo(model_pb2.GetServerInfoRequest())
        assert (info.version, info.limits.max_documents) == ("1.2.3", 8)
        assert [model.version for model in info.models] == ["1"]
        listed = await stub.ListModels(model_pb2.ListModelsRequest())
        assert [model.state for model in listed.models] == [
            model_pb2.MODEL_STATE_READY,
            model_pb2.MODEL_STATE_AVAILABLE,
        ]
        assert (await stub.GetModel(model_pb2.GetModelRequest(name="encoder"))).model.version == "1"
        await stub.UnloadModel(model_pb2.UnloadModelRequest(name="encoder"))
        for call, code in (
            (stub.GetModel(model_pb2.GetModelRequest(name="x")), grpc.StatusCode.NOT_FOUND),
            (stub.GetModel(model_pb2.GetModelRequest()), grpc.StatusCode.INVALID_ARGUMENT),
            (stub.LoadModel(model_pb2.LoadModelRequest(name="x")), grpc.StatusCode.PERMISSION_DENIED),
        ):
            assert (await failure(call)).code() is code


async def test_the_gate_refuses_what_is_one_too_many() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        stub = MatchingServiceStub(it.channel)
        held = [stub.Match(match_request()) for _ in range(4)]
        for _ in held:
            await blocker.started.acquire()
        caught = await failure(stub.Embed(pb.EmbedRequest(inputs=[TEXT])))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(caught).keys() == {"RetryInfo"}
        blocker.release.set()
        await asyncio.gather(*held)
        await stub.Embed(pb.EmbedRequest(inputs=[TEXT]))


async def test_a_client_that_goes_away_cancels_the_work() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = MatchingServiceStub(it.channel).Match(match_request(request_id="r"))
        await blocker.started.acquire()
        call.cancel()
        async with asyncio.timeout(10):
            await blocker.cancelled.acquire()
        assert await it.done() == [("Match", "CANCELLED", "r")]
        assert it.server.inflight.count == it.gate.inflight == 0


async def test_the_clients_deadline_reaches_the_task_and_cancels_the_work() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        caught = await failure(MatchingServiceStub(it.channel).Match(match_request(request_id="r"), timeout=0.2))
        assert caught.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(10):
            await blocker.cancelled.acquire()
        assert await it.done() == [("Match", "DEADLINE_EXCEEDED", "r")]


async def test_the_default_deadline_holds_where_the_client_has_none() -> None:
    async with running(limits=replace(LIMITS, default_deadline_seconds=0.1)) as it:
        it.match.behave = blocker = Blocker()
        caught = await failure(MatchingServiceStub(it.channel).Match(match_request()))
        assert caught.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert details_of(caught) == {}
        async with asyncio.timeout(10):
            await blocker.cancelled.acquire()


async def test_messages_beyond_the_limit_are_refused() -> None:
    async with running() as it:
        big = match_request(query=types_pb2.Profile(text="x" * (LIMITS.max_message_bytes + 1)))
        caught = await failure(MatchingServiceStub(it.channel).Match(big))
        assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert it.match.contexts == []


async def test_a_stop_answers_what_was_accepted_and_refuses_the_rest() -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        stub = MatchingServiceStub(it.channel)
        accepted = stub.Match(match_request(request_id="accepted"))
        await blocker.started.acquire()
        stopping = asyncio.create_task(it.server.stop(30))
        await asyncio.sleep(0)
        refused = await failure(stub.Match(match_request()))
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(refused).keys() == {"RetryInfo"}
        assert not stopping.done()
        blocker.release.set()
        assert (await accepted).request_id == "accepted"
        assert await stopping


async def test_a_stop_does_not_wait_forever(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as it:
        it.match.behave = blocker = Blocker()
        call = MatchingServiceStub(it.channel).Match(match_request())
        await blocker.started.acquire()
        assert not await it.server.stop(0.05)
        assert (await failure(call)).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert "cutting 1 RPCs" in caplog.text
        await blocker.cancelled.acquire()


async def test_a_stop_under_load_loses_nothing() -> None:
    async with running(limits=replace(LIMITS, max_concurrent_requests=64)) as it:
        it.match.behave = answer_slowly(it)
        stub = MatchingServiceStub(it.channel)
        codes: list[grpc.StatusCode] = []

        async def client() -> None:
            while True:
                call = stub.Match(match_request())
                codes.append(await call.code())
                if codes[-1] is grpc.StatusCode.UNAVAILABLE:
                    return

        clients = [asyncio.create_task(client()) for _ in range(32)]
        await it.done(100)
        assert await it.server.stop(30)
        await asyncio.gather(*clients)
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        answered = sum(code == "OK" for _, code, _ in it.rpcs.done)
        assert codes.count(grpc.StatusCode.OK) == answered


def answer_slowly(it: Running) -> Any:
    quick = it.match.behave

    async def slow(*arguments: Any) -> Any:
        await asyncio.sleep(0.002)
        return await quick(*arguments)

    return slow


async def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = GrpcServer([], ServerOptions("127.0.0.1", port, LIMITS), observer=RpcList())
        with pytest.raises(BindError, match=f"can't listen on 127.0.0.1:{port}"):
            await server.start()
        await server.stop(0.0)
