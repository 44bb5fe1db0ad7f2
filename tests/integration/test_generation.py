"""Generation on the whole server over the fake engine: those who leave, read slowly or come late, draining, models that
come and go, faults."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import matching_pb2, model_pb2, types_pb2
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub
from rolecall_server.engine.fake import FakeBehaviour
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.engine.fake_tokenizer import byte_tokenizer

from tests.generators import beside
from tests.servers import InProcess, Served, details_of, serve_here, serve_process

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SLOW = FakeGeneration(seconds_per_step=0.01)
PROMPT = "A nurse for a small ward, with two years of experience. " * 6


def request(kind: Any = pb.GenerateStreamRequest, text: str = PROMPT, **fields: Any) -> Any:
    fields = {"decoding": pb.Decoding(max_new_tokens=400), **fields}
    return kind(prompt=pb.FreeText(text=text), **fields)


@asynccontextmanager
async def serving(generation: FakeGeneration = SLOW, *, rows: int = 4, **settings: Any) -> AsyncIterator[InProcess]:
    behaviour = FakeBehaviour(generation=generation, generation_rows=rows, generation_lanes=1)
    async with serve_here(fake=behaviour, **settings) as it:
        yield it


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def idle(it: InProcess) -> None:
    """Wait until no row is held any more."""
    await it.metrics_when("rolecall_running_sequences", 0.0)
    await it.metrics_when("rolecall_inflight_requests", 0.0)


@pytest.mark.parametrize("kind", ["stream", "unary"])
async def test_a_client_that_leaves_frees_its_rows(kind: str) -> None:
    async with serving() as it:
        stub = GenerationServiceStub(it.channel)
        if kind == "stream":
            call: Any = stub.GenerateStream(request())
            await call.read()
        else:
            call = stub.Generate(request(pb.GenerateRequest))
        await it.metrics_when("rolecall_running_sequences", 1.0)
        call.cancel()
        await idle(it)
        metrics = await it.metrics()
        assert metrics.value("rolecall_cancelled_total", stage="running") == 1
        assert metrics.value("rolecall_requests_total", code="CANCELLED") == 1
        assert metrics.value("rolecall_generated_tokens_total") < 300


async def test_one_that_waits_and_leaves_never_runs() -> None:
    async with serving(rows=1) as it:
        stub = GenerationServiceStub(it.channel)
        first = stub.GenerateStream(request())
        await first.read()
        second = stub.GenerateStream(request())
        await it.metrics_when("rolecall_queue_size", 1.0, model="generator")
        second.cancel()
        await it.metrics_when("rolecall_queue_size", 0.0, model="generator")
        assert (await it.metrics()).value("rolecall_cancelled_total", stage="queue") == 1
        first.cancel()
        await idle(it)


async def test_the_work_does_not_wait_for_a_client_that_does_not_read() -> None:
    window = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    generation = FakeGeneration(max_source_tokens=4096, max_new_tokens=4096)
    text = "0123456789abcdef" * 250
    async with serving(generation) as it:
        address = f"127.0.0.1:{it.running.grpc_port}"
        async with grpc.aio.insecure_channel(address, window) as channel:
            long = {"request_id": "i" * 256, "decoding": pb.Decoding(max_new_tokens=4096)}
            call = GenerationServiceStub(channel).GenerateStream(request(text=text, **long))
            await it.metrics_when("rolecall_generated_tokens_total", len(text) + 1.0)
            await it.metrics_when("rolecall_running_sequences", 0.0)
            assert (await it.metrics()).value("rolecall_inflight_requests") == 1  # it has not all gone out
            answers = [answer async for answer in call]
    assert "".join(answer.delta for answer in answers) == text
    assert max(len(answer.delta) for answer in answers) > 100  # what could not go out went as one
    assert answers[-1].finish_reason == pb.FINISH_REASON_EOS


@pytest.mark.parametrize("kind", ["stream", "unary"])
async def test_a_deadline_ends_what_runs(kind: str) -> None:
    async with serving() as it:
        stub = GenerationServiceStub(it.channel)
        if kind == "stream":
            call: Any = stub.GenerateStream(request(), timeout=0.4)
            assert (await call.read()).delta
        else:
            call = stub.Generate(request(pb.GenerateRequest), timeout=0.4)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await idle(it)
        assert (await it.metrics()).value("rolecall_generated_tokens_total") < 300


async def test_one_that_can_not_be_in_time_behind_others_is_shed_before_it_runs() -> None:
    async with serving(replace(SLOW, seconds_per_step=0.02), rows=1) as it:
        stub = GenerationServiceStub(it.channel)
        for _ in range(4):  # from here on its speed is known
            await stub.Generate(request(pb.GenerateRequest, text="x" * 40))
        others = [stub.GenerateStream(request()) for _ in range(4)]
        await it.metrics_when("rolecall_queue_size", 3.0, model="generator")
        error = await failure(stub.Generate(request(pb.GenerateRequest), timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert details_of(error)["ErrorInfo"].reason == "SHED_BEFORE_DEADLINE"
        assert (await it.metrics()).value("rolecall_shed_total", reason="deadline") == 1
        for other in others:
            other.cancel()
        await idle(it)


async def test_more_tokens_than_the_queue_takes_are_refused() -> None:
    async with serving(rows=1, max_queue_tokens=1200) as it:
        stub = GenerationServiceStub(it.channel)
        running = stub.GenerateStream(request())
        await running.read()
        waiting = stub.GenerateStream(request())
        await it.metrics_when("rolecall_queue_size", 1.0, model="generator")
        refused = await failure(stub.GenerateStream(request()).read())
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "RetryInfo" in details_of(refused)
        running.cancel()
        waiting.cancel()
        await idle(it)
        decoding = pb.Decoding(max_new_tokens=400, num_beams=4, num_return_sequences=4)
        error = await failure(stub.Generate(request(pb.GenerateRequest, decoding=decoding)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_on_sigterm_accepted_streams_come_to_their_end() -> None:
    async with serving() as it:
        stub = GenerationServiceStub(it.channel)
        calls = [stub.GenerateStream(request()) for _ in range(3)]
        seen = [(await call.read()).delta for call in calls]
        stopping = asyncio.create_task(it.stop())
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest())
        while (await watch.read()).status == SERVING:
            pass
        late = await failure(stub.Generate(request(pb.GenerateRequest)))
        assert late.code() is grpc.StatusCode.UNAVAILABLE
        for place, call in enumerate(calls):
            while (answer := await call.read()).delta:
                seen[place] += answer.delta
            assert answer.finish_reason == pb.FINISH_REASON_EOS
        assert seen == [PROMPT] * 3
        await stopping


async def test_a_text_that_does_not_end_is_cut_at_the_exit_timeout() -> None:
    async with serving(FakeGeneration(seconds_per_step=0.2), exit_timeout_secs=0.1) as it:
        call = GenerationServiceStub(it.channel).GenerateStream(request())
        await call.read()
        await it.stop()
        assert await call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def health(it: InProcess, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(it.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


GENERATION = "rolecall.v1.GenerationService"


async def test_a_generator_comes_and_goes_without_dropping_a_request() -> None:
    async with serving(allow_model_control=True) as it:
        stub, models = GenerationServiceStub(it.channel), ModelServiceStub(it.channel)
        call = stub.GenerateStream(request())
        text = (await call.read()).delta
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest(service=GENERATION))
        assert await watch.read() == health_pb2.HealthCheckResponse(status=SERVING)
        unloading = asyncio.ensure_future(models.UnloadModel(model_pb2.UnloadModelRequest(name="generator")))
        assert await watch.read() == health_pb2.HealthCheckResponse(status=NOT_SERVING)
        assert await health(it, "") == SERVING
        refused = await failure(stub.Generate(request(pb.GenerateRequest)))
        assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert details_of(refused)["ResourceInfo"].resource_name == "generator"
        assert not unloading.done()
        while (answer := await call.read()).delta:
            text += answer.delta
        assert (text, answer.finish_reason) == (PROMPT, pb.FINISH_REASON_EOS)
        await unloading
        info = await models.GetServerInfo(model_pb2.GetServerInfoRequest())
        assert info.limits.max_new_tokens == 0
        await models.LoadModel(model_pb2.LoadModelRequest(name="generator"))
        assert await health(it, GENERATION) == SERVING
        quick = pb.Decoding(max_new_tokens=2)
        assert (await stub.Generate(request(pb.GenerateRequest, decoding=quick))).candidates


def test_without_a_generator_a_server_matches_and_says_that_there_is_none(tiny_server: Served) -> None:
    with grpc.insecure_channel(tiny_server.address) as channel:
        stub = GenerationServiceStub(channel)
        calls = (
            lambda: stub.Generate(request(pb.GenerateRequest), timeout=30),
            lambda: list(stub.GenerateStream(request(), timeout=30)),
        )
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
            assert details_of(caught.value)["ResourceInfo"].resource_name == "generator"
        checks = health_pb2_grpc.HealthStub(channel)
        assert checks.Check(health_pb2.HealthCheckRequest(service=GENERATION)).status == NOT_SERVING
        assert checks.Check(health_pb2.HealthCheckRequest()).status == SERVING
        one = types_pb2.Profile(text="nurse")
        matched = MatchingServiceStub(channel).Match(matching_pb2.MatchRequest(query=one, documents=[one]), timeout=30)
        assert len(matched.results) == 1


def test_a_generator_that_is_asked_for_and_missing_stops_the_start(tiny_models: Path) -> None:
    flags = ("--model-repository", str(tiny_models), "--generator-version", "7")
    with pytest.raises(AssertionError, match="generator/7"), serve_process(*flags):
        raise AssertionError("it started")


async def test_a_real_generator_comes_and_goes_and_can_be_the_second_of_its_name(
    tiny_models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "models"
    shutil.copytree(beside(tiny_models), path)
    shutil.copytree(path / "generator" / "1", path / "generator" / "2")
    flags = {"backend": "embedded", "model_repository": path, "allow_model_control": True}
    async with serve_here(**flags, generator_version="1") as it:
        stub, models = GenerationServiceStub(it.channel), ModelServiceStub(it.channel)
        first = await stub.Generate(request(pb.GenerateRequest, decoding=None))
        loaded = await models.LoadModel(model_pb2.LoadModelRequest(name="generator"))
        second = await stub.Generate(request(pb.GenerateRequest, decoding=None))
        assert (first.model.version, loaded.model.version, second.model.version) == ("1", "2", "2")
        assert first.candidates == second.candidates
        for version in ("2", "1"):
            await models.UnloadModel(model_pb2.UnloadModelRequest(name="generator", version=version))
        assert await health(it, GENERATION) == NOT_SERVING
        assert await health(it, "") == SERVING
        listed = (await models.ListModels(model_pb2.ListModelsRequest())).models
        states = {(model.name, model.version): model.state for model in listed}
        assert states == {
            ("encoder", "1"): model_pb2.MODEL_STATE_READY,
            ("generator", "1"): model_pb2.MODEL_STATE_AVAILABLE,
            ("generator", "2"): model_pb2.MODEL_STATE_AVAILABLE,
        }
        assert (await failure(stub.Generate(request(pb.GenerateRequest)))).code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_our_own_faults_harm_one_request_and_tell_nothing_of_it() -> None:
    token = byte_tokenizer().encode("~", add_special_tokens=False).ids[0]
    async with serving(FakeGeneration(fail_on_token=token)) as it:
        stub = GenerationServiceStub(it.channel)
        good, bad = stub.GenerateStream(request()), stub.GenerateStream(request(text="secret ~"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bad.read()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in (caught.value.details() or "")
        assert "".join([answer.delta async for answer in good]) == PROMPT
        await idle(it)


async def test_matching_and_generation_work_beside_each_other() -> None:
    async with serving() as it:
        streams = [GenerationServiceStub(it.channel).GenerateStream(request()) for _ in range(8)]
        one = types_pb2.Profile(text="nurse")
        match = matching_pb2.MatchRequest(query=one, documents=[one])
        for _ in range(20):
            assert len((await MatchingServiceStub(it.channel).Match(match, timeout=30)).results) == 1
        texts = ["".join([answer.delta async for answer in stream]) for stream in streams]
        assert texts == [PROMPT] * 8
        await idle(it)


async def test_bulk_texts_yield_to_interactive_ones() -> None:
    async with serving(rows=1) as it:
        stub = GenerationServiceStub(it.channel)
        first = stub.GenerateStream(request())
        await first.read()
        ended: list[str] = []

        async def run(name: str, priority: types_pb2.Priority) -> None:
            await stub.Generate(request(pb.GenerateRequest, text="x" * 20, priority=priority))
            ended.append(name)

        bulk = asyncio.create_task(run("bulk", types_pb2.PRIORITY_BULK))
        await it.metrics_when("rolecall_queue_size", 1.0, model="generator")
        other = asyncio.create_task(run("interactive", types_pb2.PRIORITY_INTERACTIVE))
        await it.metrics_when("rolecall_queue_size", 2.0, model="generator")
        first.cancel()
        await asyncio.gather(bulk, other)
        assert ended == ["interactive", "bulk"]


async def test_a_request_that_gives_no_deadline_has_the_default_one() -> None:
    async with serving(replace(SLOW, seconds_per_step=0.05), default_deadline_ms=400) as it:
        error = await failure(GenerationServiceStub(it.channel).Generate(request(pb.GenerateRequest)))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await idle(it)


async def test_the_metrics_tell_of_generations() -> None:
    async with serving(FakeGeneration()) as it:
        stub = GenerationServiceStub(it.channel)
        answer = await stub.Generate(request(pb.GenerateRequest, text="y" * 3000))
        await stub.GenerateStream(request()).read()
        await idle(it)
        metrics = await it.metrics()
    assert answer.usage.truncated_tokens > 0
    assert metrics.value("rolecall_truncated_inputs_total") == 1
    assert metrics.value("rolecall_time_to_first_token_seconds_count") >= 1
    assert metrics.value("rolecall_tokenize_duration_seconds_count") == 2
    assert {"name": "generator", "version": "1", "precision": "fake", "provider": "none"} in metrics.labels(
        "rolecall_model_info"
    )
