"""The embedding cache and single flight in a whole server: what is computed, and what is not computed again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall_server.engine.fake import FakeEngine

from tests.fixtures_models import tiny_repository
from tests.servers import Held, InProcess, serve_here

INFLIGHT = "rolecall_inflight_requests"


def embed(it: InProcess, *texts: str, timeout: float = 60.0, **options: Any) -> Any:
    request = pb.EmbedRequest(inputs=[types_pb2.Profile(text=text) for text in texts], **options)
    return MatchingServiceStub(it.channel).Embed(request, timeout=timeout)


async def hits(call: Any) -> list[bool]:
    response = await call
    assert not any(embedding.HasField("status") for embedding in response.embeddings)
    return [embedding.cache_hit for embedding in response.embeddings]


async def batches(it: InProcess) -> float:
    return (await it.metrics()).value("rolecall_batches_total")


async def test_two_identical_texts_in_flight_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(embedding_cache_mb=0) as it:
        first = embed(it, "same")
        await held.started.acquire()
        second = embed(it, "same", "other")
        third = embed(it, "same")
        await it.metrics_when(INFLIGHT, 3)
        held.release.set()
        assert [await hits(call) for call in (first, second, third)] == [[False], [True, False], [True]]
        metrics = await it.metrics()
        assert metrics.value("rolecall_batch_size_sum") == 2
        assert metrics.value("rolecall_cache_hits_total") == 2
        assert metrics.value("rolecall_cache_misses_total") == 2
        vectors = {(await call).embeddings[0].vector for call in (first, second, third)}
        assert len(vectors) == 1


@pytest.mark.parametrize("ends", ["cancelled", "late"])
async def test_who_waits_for_anothers_computation_survives_it(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here() as it:
        leader = embed(it, "same", timeout=60.0 if ends == "cancelled" else 0.5)
        await held.started.acquire()
        followers = [embed(it, "same") for _ in range(3)]
        if ends == "cancelled":
            await it.metrics_when(INFLIGHT, 4)
            leader.cancel()
        await it.metrics_when(INFLIGHT, 3)
        assert await leader.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
        held.release.set()
        assert sorted([await hits(follower) for follower in followers]) == [[False], [True], [True]]
        metrics = await it.metrics()
        assert metrics.value("rolecall_batches_total") == 2
        gone = metrics.value("rolecall_cancelled_total", stage="running")
        assert gone == (1 if ends == "cancelled" else 0), "a deadline that passed is no client that went away"


async def test_a_follower_that_leaves_takes_nobody_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here() as it:
        leader = embed(it, "same")
        await held.started.acquire()
        leaving, staying = embed(it, "same"), embed(it, "same")
        await it.metrics_when(INFLIGHT, 3)
        leaving.cancel()
        await it.metrics_when(INFLIGHT, 2)
        held.release.set()
        assert [await hits(call) for call in (leader, staying)] == [[False], [True]]
        assert await batches(it) == 1


async def test_a_text_twice_in_one_request_is_computed_once() -> None:
    async with serve_here(embedding_cache_mb=0) as it:
        response = await embed(it, "same", "other", "same")
        assert response.embeddings[0].vector == response.embeddings[2].vector
        assert (await it.metrics()).value("rolecall_batch_size_sum") == 2


@pytest.mark.parametrize(("megabytes", "second", "computed"), [(256, [True, True], 1), (0, [False, False], 2)])
async def test_the_cache_can_be_off(megabytes: int, second: list[bool], computed: int) -> None:
    async with serve_here(embedding_cache_mb=megabytes) as it:
        assert await hits(embed(it, "a", "b")) == [False, False]
        assert await hits(embed(it, "a", "b")) == second
        assert await batches(it) == computed


async def test_a_full_cache_drops_what_was_used_least_recently() -> None:
    async with serve_here(embedding_cache_mb=1) as it:  # some 540 entries of 384 numbers
        texts = [f"text {number}" for number in range(1000)]
        await hits(embed(it, texts[0]))
        await hits(embed(it, *texts[1:300]))
        assert await hits(embed(it, texts[0])) == [True]
        await hits(embed(it, *texts[300:600]))
        assert await hits(embed(it, texts[0], texts[1], texts[599])) == [True, False, True]
        metrics = await it.metrics()
        assert 50 < metrics.value("rolecall_cache_evictions_total") < 100


@pytest.mark.parametrize(
    ("prefixes", "shared"),
    [({"query": "query: ", "document": "passage: "}, False), ({"query": "", "document": ""}, True)],
    ids=["different", "same"],
)
async def test_kinds_share_only_where_their_prefixes_are_the_same(
    tmp_path: Path, prefixes: Mapping[str, str], shared: bool
) -> None:
    models = tiny_repository(tmp_path, manifest={"prefixes": prefixes})
    async with serve_here(backend="embedded", model_repository=models) as it:
        assert await hits(embed(it, "a nurse", kind=pb.EMBED_KIND_QUERY)) == [False]
        assert await hits(embed(it, "a nurse", kind=pb.EMBED_KIND_DOCUMENT)) == [shared]
        query, document = [
            (await embed(it, "a nurse", kind=kind)).embeddings[0].vector
            for kind in (pb.EMBED_KIND_QUERY, pb.EMBED_KIND_DOCUMENT)
        ]
        assert (query == document) == shared


async def test_a_failure_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve_here() as it:
        await embed(it, "warm")
        working = FakeEngine.embed

        async def broken(*_: Any) -> None:
            raise OSError

        monkeypatch.setattr(FakeEngine, "embed", broken)
        response = await embed(it, "a")
        assert response.embeddings[0].status.code == grpc.StatusCode.INTERNAL.value[0]
        monkeypatch.setattr(FakeEngine, "embed", working)
        assert await hits(embed(it, "a")) == [False]
        assert await asyncio.gather(hits(embed(it, "a")), hits(embed(it, "warm"))) == [[True], [True]]
