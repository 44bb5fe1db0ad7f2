"""Versions come and go while requests run: nothing that was accepted fails."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub
from rolecall_server.engine.embedded import EmbeddedEngine

from tests.fixtures_models import tiny_repository
from tests.servers import Held, InProcess, details_of, serve_here, serve_process

AVAILABLE, READY, UNLOADING = (
    model_pb2.MODEL_STATE_AVAILABLE,
    model_pb2.MODEL_STATE_READY,
    model_pb2.MODEL_STATE_UNLOADING,
)
SECONDS = 60


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Versions 1 and 2, of different weights."""
    tiny_repository(tmp_path, "1")
    return tiny_repository(tmp_path, "2", seed=1)


def load(version: str) -> model_pb2.LoadModelRequest:
    return model_pb2.LoadModelRequest(name="encoder", version=version)


def unload(version: str) -> model_pb2.UnloadModelRequest:
    return model_pb2.UnloadModelRequest(name="encoder", version=version)


def request(version: str = "", text: str = "a nurse") -> pb.EmbedRequest:
    return pb.EmbedRequest(inputs=[types_pb2.Profile(text=text)], model_version=version)


async def code_of(call: Any) -> str:
    return str((await call.code()).name)


async def states(channel: grpc.aio.Channel) -> dict[str, int]:
    listed = await ModelServiceStub(channel).ListModels(model_pb2.ListModelsRequest(), timeout=SECONDS)
    return {model.version: model.state for model in listed.models}


class Clients:
    """Ask one after the other for a version until told to stop; what they were answered, by code and version."""

    def __init__(self, channel: grpc.aio.Channel, version: str) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self._stub = MatchingServiceStub(channel)
        self._version = version
        self._stop = False
        self._answered = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(4)]

    async def _ask(self, number: int) -> None:
        while not self._stop:
            asked = request(self._version, f"text {number} {self.answers.total()}")
            try:
                answer = ("OK", (await self._stub.Embed(asked, timeout=SECONDS)).model.version)
            except grpc.aio.AioRpcError as error:
                answer = (error.code().name, "")
            async with self._answered:
                self.answers[answer] += 1
                self._answered.notify_all()

    async def more(self, count: int, answer: tuple[str, str]) -> None:
        """Wait for so many more of these answers."""
        wanted = self.answers[answer] + count
        async with asyncio.timeout(SECONDS), self._answered:
            await self._answered.wait_for(lambda: self.answers[answer] >= wanted)

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)


async def test_a_version_switches_under_load_without_a_failed_request(models: Path) -> None:
    flags = ("--model-repository", str(models), "--model-version", "1", "--allow-model-control")
    with serve_process(*flags, "--embedding-cache-mb", "0") as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            stub = ModelServiceStub(channel)
            newest, pinned = Clients(channel, ""), Clients(channel, "1")
            await newest.more(50, ("OK", "1"))
            assert await states(channel) == {"1": READY, "2": AVAILABLE}
            loaded = (await stub.LoadModel(load("2"), timeout=SECONDS)).model
            assert (loaded.version, loaded.state) == ("2", READY)
            await newest.more(50, ("OK", "2"))
            await pinned.more(50, ("OK", "1"))
            await stub.UnloadModel(unload("1"), timeout=SECONDS)
            assert await states(channel) == {"1": AVAILABLE, "2": READY}
            await pinned.more(10, ("FAILED_PRECONDITION", ""))
            await newest.more(50, ("OK", "2"))
            await asyncio.gather(newest.stop(), pinned.stop())
            assert newest.answers.keys() == {("OK", "1"), ("OK", "2")}
            assert pinned.answers.keys() == {("OK", "1"), ("FAILED_PRECONDITION", "")}
            infos = served.metrics().labels("rolecall_model_info")
            assert [info["version"] for info in infos] == ["2"]
        assert served.stop() == 0


async def test_without_leave_nobody_changes_models(models: Path) -> None:
    async with serve_here(backend="embedded", model_repository=models) as it:
        stub = ModelServiceStub(it.channel)
        for call in (stub.LoadModel(load("1")), stub.UnloadModel(unload("2")), stub.LoadModel(load("99"))):
            assert await code_of(call) == "PERMISSION_DENIED"
        assert await states(it.channel) == {"1": AVAILABLE, "2": READY}


def controlled(models: Path, **settings: Any) -> Any:
    return serve_here(backend="embedded", model_repository=models, allow_model_control=True, **settings)


async def unloading(it: InProcess, held: Held) -> tuple[Any, Any]:
    """A request that runs on version 1, and an UnloadModel of it that waits for the request."""
    running = MatchingServiceStub(it.channel).Embed(request("1"), timeout=SECONDS)
    await held.started.acquire()
    leaving = ModelServiceStub(it.channel).UnloadModel(unload("1"), timeout=SECONDS)
    async with asyncio.timeout(SECONDS):
        while (await states(it.channel))["1"] != UNLOADING:
            pass
    return running, leaving


async def test_an_unload_waits_for_the_requests_on_the_version(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, EmbeddedEngine)
    async with controlled(models) as it:
        await ModelServiceStub(it.channel).LoadModel(load("1"))
        running, leaving = await unloading(it, held)
        matching = MatchingServiceStub(it.channel)
        refused = matching.Embed(request("1"))
        assert await code_of(refused) == "FAILED_PRECONDITION"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused
        assert details_of(caught.value)["ResourceInfo"].resource_name == "encoder/1"
        assert await code_of(ModelServiceStub(it.channel).UnloadModel(unload("1"))) == "FAILED_PRECONDITION"
        assert not leaving.done()
        held.release.set()
        assert (await running).model.version == "1"
        await leaving
        assert await states(it.channel) == {"1": AVAILABLE, "2": READY}
        assert (await matching.Embed(request())).model.version == "2"


async def test_an_unload_that_is_given_up_leaves_the_version_serving(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held().patch(monkeypatch, EmbeddedEngine)
    async with controlled(models) as it:
        await ModelServiceStub(it.channel).LoadModel(load("1"))
        running, leaving = await unloading(it, held)
        leaving.cancel()
        async with asyncio.timeout(SECONDS):
            while (await states(it.channel))["1"] != READY:
                pass
        held.release.set()
        await running
        assert (await MatchingServiceStub(it.channel).Embed(request("1"))).model.version == "1"
        await ModelServiceStub(it.channel).UnloadModel(unload("1"))
        assert await states(it.channel) == {"1": AVAILABLE, "2": READY}


async def test_a_load_that_comes_while_the_version_leaves_has_the_last_word(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held().patch(monkeypatch, EmbeddedEngine)
    async with controlled(models) as it:
        await ModelServiceStub(it.channel).LoadModel(load("1"))
        running, leaving = await unloading(it, held)
        coming = ModelServiceStub(it.channel).LoadModel(load("1"), timeout=SECONDS)
        await it.metrics_when("rolecall_inflight_requests", 3)
        held.release.set()
        await asyncio.gather(running, leaving, coming)
        assert await states(it.channel) == {"1": READY, "2": READY}
        assert (await MatchingServiceStub(it.channel).Embed(request("1"))).model.version == "1"


async def test_loads_of_one_version_that_meet_load_it_once(models: Path) -> None:
    async with controlled(models, model_version="1") as it:
        stub = ModelServiceStub(it.channel)
        loaded = await asyncio.gather(*(stub.LoadModel(load("2"), timeout=SECONDS) for _ in range(5)))
        assert {answer.model.version for answer in loaded} == {"2"}
        await stub.UnloadModel(unload("2"))
        assert await states(it.channel) == {"1": READY, "2": AVAILABLE}


async def test_the_newest_is_loaded_where_no_version_is_named(models: Path) -> None:
    async with controlled(models, model_version="1") as it:
        stub = ModelServiceStub(it.channel)
        assert (await stub.LoadModel(load(""))).model.version == "2"
        assert (await MatchingServiceStub(it.channel).Embed(request())).model.version == "2"


async def test_a_new_version_does_not_answer_from_the_old_ones_cache(models: Path) -> None:
    async with controlled(models, model_version="1") as it:
        matching = MatchingServiceStub(it.channel)
        (old,) = (await matching.Embed(request())).embeddings
        await ModelServiceStub(it.channel).LoadModel(load("2"))
        (new,) = (await matching.Embed(request())).embeddings
        (again,) = (await matching.Embed(request("1"))).embeddings
        assert (new.cache_hit, again.cache_hit) == (False, True)
        assert new.vector != old.vector == again.vector


async def test_a_damaged_version_is_not_loaded_and_hides_no_other(models: Path) -> None:
    tiny_repository(models, "3", seed=3)
    tiny_repository(models, "4", seed=4)
    (models / "encoder" / "3" / "manifest.json").write_text("{")
    (models / "encoder" / "4" / "tokenizer.json").write_text("{}")
    async with controlled(models, model_version="1") as it:
        stub = ModelServiceStub(it.channel)
        for version in ("3", "4"):
            assert await code_of(stub.LoadModel(load(version))) == "INTERNAL"
        assert await code_of(stub.LoadModel(load("5"))) == "NOT_FOUND"
        assert await states(it.channel) == {"1": READY, "2": AVAILABLE, "4": AVAILABLE}
        assert len((await stub.GetServerInfo(model_pb2.GetServerInfoRequest())).models) == 1
        assert (await MatchingServiceStub(it.channel).Embed(request())).model.version == "1"


async def test_after_the_last_version_is_gone_requests_are_told_to_come_back(models: Path) -> None:
    async with controlled(models) as it:
        stub = ModelServiceStub(it.channel)
        await stub.UnloadModel(unload("2"))
        assert await code_of(MatchingServiceStub(it.channel).Embed(request())) == "UNAVAILABLE"
        await stub.LoadModel(load("1"))
        assert (await MatchingServiceStub(it.channel).Embed(request())).model.version == "1"
