"""ModelService and health on every backend."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2

from tests.servers import details_of

SERVICES = ("", *(f"rolecall.v1.{name}Service" for name in ("Matching", "Generation", "Feedback", "Model")))


def code_of(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code().name


def test_the_server_tells_its_limits_and_keeps_them(server):
    info = server.models.GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=30)

    assert info.backend == server.backend.name
    assert info.version
    names = ["encoder", "generator"] if server.backend.generates else ["encoder"]
    assert [(model.name, model.state) for model in info.models] == [(n, model_pb2.MODEL_STATE_READY) for n in names]
    of_generators = {"max_source_tokens", "max_new_tokens", "max_running_sequences"}
    told = {field.name for field, value in info.limits.ListFields() if value > 0}
    every = {field.name for field in info.limits.DESCRIPTOR.fields}
    assert told == (every if server.backend.generates else every - of_generators)
    one = types_pb2.Profile(text="a")
    most = info.limits.max_documents
    taken = server.matching.Match(pb.MatchRequest(query=one, documents=[one] * most, top_k=1), timeout=60)
    assert len(taken.results) == 1
    assert code_of(server.matching.Match, pb.MatchRequest(query=one, documents=[one] * (most + 1))) == (
        "INVALID_ARGUMENT"
    )


def test_models_are_listed_with_what_their_manifest_says(server):
    listed, *others = server.models.ListModels(model_pb2.ListModelsRequest(), timeout=30).models

    assert [model.name for model in others] == (["generator"] if server.backend.generates else [])
    assert (listed.family, listed.max_new_tokens) == ("encoder", 0)
    assert listed == server.model
    assert listed.version.isdigit()
    assert len(listed.weights_hash) == 64
    assert listed.max_tokens > 2
    assert listed.dimensions > 0
    assert {"en", "zh"} <= set(listed.languages)
    assert listed.source
    assert listed.licence
    by_version = model_pb2.GetModelRequest(name="encoder", version=listed.version)
    assert server.models.GetModel(by_version, timeout=30).model == listed


@pytest.mark.parametrize(
    ("name", "version"), [("nobody", ""), ("nobody", "1"), ("encoder", "999"), ("../encoder", "1")]
)
def test_an_unknown_model_is_not_found(server, name, version):
    with pytest.raises(grpc.RpcError) as caught:
        server.models.GetModel(model_pb2.GetModelRequest(name=name, version=version), timeout=30)

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    resource = details_of(caught.value)["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("model", f"{name}/{version}" if version else name)
    match = pb.MatchRequest(
        query=types_pb2.Profile(text="a"), documents=[types_pb2.Profile(text="b")], model=name, model_version=version
    )
    assert code_of(server.matching.Match, match) == "NOT_FOUND"


def test_models_are_not_changed_by_just_anyone(server):
    version = server.model.version
    load = model_pb2.LoadModelRequest(name="encoder", version=version)
    unload = model_pb2.UnloadModelRequest(name="encoder", version=version)

    assert code_of(server.models.LoadModel, load) == "PERMISSION_DENIED"
    assert code_of(server.models.UnloadModel, unload) == "PERMISSION_DENIED"
    assert server.match("a", ["b"]).model.version == version


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_told_for_each_service(server, service):
    stub = health_pb2_grpc.HealthStub(server.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    watch = stub.Watch(request, timeout=30)

    down = service == "rolecall.v1.GenerationService" and not server.backend.generates
    wanted = health_pb2.HealthCheckResponse.NOT_SERVING if down else health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(request, timeout=30).status == wanted
    assert next(watch).status == wanted
    watch.cancel()


def test_health_of_a_service_that_is_not_here_is_not_found(server):
    assert code_of(health_pb2_grpc.HealthStub(server.channel).Check, health_pb2.HealthCheckRequest(service="x")) == (
        "NOT_FOUND"
    )
