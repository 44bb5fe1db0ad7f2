"""Health and reflection on a real server, seen with the clients that others use."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.integration.transport_server import running

SERVICES = [
    "rolecall.v1.FeedbackService",
    "rolecall.v1.GenerationService",
    "rolecall.v1.MatchingService",
    "rolecall.v1.ModelService",
]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def asked(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_each_service_follows_the_server(service: str) -> None:
    async with running() as it:
        stub = health_pb2_grpc.HealthStub(it.channel)
        assert (await stub.Check(asked(service))).status == NOT_SERVING
        it.server.health.set_serving(True)
        assert (await stub.Check(asked(service))).status == SERVING
        it.server.health.set_serving(False)
        assert (await stub.Check(asked(service))).status == NOT_SERVING


async def test_a_single_service_can_be_down_while_the_server_serves() -> None:
    async with running() as it:
        stub = health_pb2_grpc.HealthStub(it.channel)
        down = "rolecall.v1.GenerationService"
        watch = stub.Watch(asked(down))
        assert (await watch.read()).status == NOT_SERVING
        it.server.health.set_serving(True, [down])
        found = {service: (await stub.Check(asked(service))).status for service in ["", *SERVICES]}
        assert found == {"": SERVING} | {name: NOT_SERVING if name == down else SERVING for name in SERVICES}
        it.server.health.set_serving(True)
        assert (await watch.read()).status == SERVING


async def test_an_unknown_service_is_not_found() -> None:
    async with running() as it:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(it.channel).Check(asked("nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(asked("nobody"))
        assert (await watch.read()).status == SERVICE_UNKNOWN


async def test_a_watch_hears_of_every_lasting_change_and_ends_with_the_server() -> None:
    async with running() as it:
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(asked())
        assert (await watch.read()).status == NOT_SERVING
        it.server.health.set_serving(True)
        assert (await watch.read()).status == SERVING
        it.server.health.set_serving(True)
        it.server.health.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        it.server.health.set_serving(True)
        assert (await watch.read()).status == SERVING
        assert await it.server.stop(30)
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        assert it.rpcs.started == []


async def test_a_watcher_that_leaves_takes_nobody_with_it() -> None:
    async with running() as it:
        stub = health_pb2_grpc.HealthStub(it.channel)
        leaving, staying = stub.Watch(asked()), stub.Watch(asked())
        assert (await leaving.read()).status == (await staying.read()).status == NOT_SERVING
        leaving.cancel()
        assert await leaving.code() is grpc.StatusCode.CANCELLED
        await stub.Check(asked())
        it.server.health.set_serving(True)
        async with asyncio.timeout(10):
            assert (await staying.read()).status == SERVING


async def test_health_answers_while_requests_are_refused() -> None:
    async with running() as it:
        it.server.inflight.drain()
        assert (await health_pb2_grpc.HealthStub(it.channel).Check(asked())).status == NOT_SERVING


def ask_without_stubs(port: int) -> tuple[list[str], Any, str]:
    """What a client learns and does with nothing but the port: the services, an answer to a Match, its error."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        method = pool.FindServiceByName("rolecall.v1.MatchingService").FindMethodByName("Match")
        request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            "/rolecall.v1.MatchingService/Match",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        request = request_type(request_id="r")
        request.query.text = "python"
        request.documents.add(id="a").text = "snake"
        answer = call(request)
        with pytest.raises(grpc.RpcError) as caught:
            call(request_type())
        services = list(database.get_services())
        return services, answer, caught.value.code().name


async def test_a_client_without_our_stubs_finds_its_way() -> None:
    async with running() as it:
        services, answer, code = await asyncio.to_thread(ask_without_stubs, it.server.port)
        assert sorted(services) == sorted(
            [*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
        )
        assert (answer.request_id, answer.results[0].document_id) == ("r", "a")
        assert code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "request_",
    [
        reflection_pb2.ServerReflectionRequest(),
        reflection_pb2.ServerReflectionRequest(file_by_filename="\x00"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="a" * 10_000),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="..."),
        reflection_pb2.ServerReflectionRequest(
            file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="rolecall.v1.Profile", extension_number=-1
            )
        ),
    ],
    ids=["nothing", "file", "symbol", "type", "extension"],
)
async def test_reflection_survives_odd_questions(request_: reflection_pb2.ServerReflectionRequest) -> None:
    async with running() as it:
        call = reflection_pb2_grpc.ServerReflectionStub(it.channel).ServerReflectionInfo(iter([request_]))
        answers = [answer async for answer in call]
        assert [answer.WhichOneof("message_response") for answer in answers] == ["error_response"]
        assert await call.code() is grpc.StatusCode.OK
