"""Deadlines, cancellation and limits in a whole server: what can't be answered in time is never run."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub
from rolecall_server.engine.base import EmbedOutput
from rolecall_server.engine.fake import FakeBehaviour, FakeEngine
from rolecall_server.types import ModelKey, TokenIds

from tests.servers import Held, InProcess, details_of, serve_here

INFLIGHT = "rolecall_inflight_requests"
SHED = "rolecall_shed_total"
QUEUED = "rolecall_queue_tokens"


def embed(it: InProcess, *texts: str, timeout: float | None = 60.0, **options: Any) -> Any:
    request = pb.EmbedRequest(inputs=[types_pb2.Profile(text=text) for text in texts], **options)
    return MatchingServiceStub(it.channel).Embed(request, timeout=timeout)


async def refusal(call: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, details_of(caught.value)


async def test_what_cannot_be_met_is_refused_at_once_and_never_run() -> None:
    async with serve_here(fake=FakeBehaviour(seconds_per_token=0.0001)) as it:
        await embed(it, "w" * 3000)  # from here on the server knows its speed: 10,000 tokens a second
        before = (await it.metrics()).value("rolecall_batches_total")
        code, details = await refusal(embed(it, "x" * 200_000, timeout=10))
        assert code == "DEADLINE_EXCEEDED"
        assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == ("SHED_BEFORE_DEADLINE", "rolecall")
        assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        metrics = await it.metrics()
        assert metrics.value(SHED, reason="deadline") == 1
        assert metrics.value("rolecall_batches_total") == before
        assert len((await embed(it, "short", timeout=10)).embeddings) == 1


async def test_what_gets_late_in_the_queue_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(default_deadline_ms=300) as it:
        running = embed(it, "first")
        await held.started.acquire()
        late = embed(it, "second", "third", timeout=None)  # the server's own deadline, so that its answer is seen
        await it.metrics_when(QUEUED, len("second") + len("third") + 4)
        code, details = await refusal(late)
        assert code == "DEADLINE_EXCEEDED"
        assert details["ErrorInfo"].reason == "SHED_BEFORE_DEADLINE"
        await it.metrics_when(INFLIGHT, 1)
        held.release.set()
        await running
        metrics = await it.metrics()
        assert metrics.value("rolecall_batch_size_sum") == 1
        assert metrics.value(SHED, reason="deadline") == 1
        assert metrics.value("rolecall_cancelled_total") == 0
        assert metrics.value(QUEUED) == 0


async def test_requests_without_a_deadline_get_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(default_deadline_ms=200) as it:
        request = pb.EmbedRequest(inputs=[types_pb2.Profile(text="a")])
        assert (await refusal(MatchingServiceStub(it.channel).Embed(request)))[0] == "DEADLINE_EXCEEDED"
        held.release.set()
        await it.metrics_when("rolecall_batches_total", 1)
        assert len((await embed(it, "b")).embeddings) == 1


async def test_interactive_requests_pass_a_backlog_of_bulk_work(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    run = FakeEngine.embed

    async def noted(own: FakeEngine, model: ModelKey, sequences: Sequence[TokenIds]) -> EmbedOutput:
        order.extend(len(ids) for ids in sequences)
        return await run(own, model, sequences)

    monkeypatch.setattr(FakeEngine, "embed", noted)
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(max_batch_requests=1) as it:
        running = embed(it, "first")
        await held.started.acquire()
        backlog = embed(it, *(f"bulk {number:3}" for number in range(20)), priority=types_pb2.PRIORITY_BULK)
        await it.metrics_when(QUEUED, 20 * 10)
        urgent = embed(it, "an urgent one of another length")
        await it.metrics_when(QUEUED, 20 * 10 + 33)
        held.release.set()
        for call in (urgent, running, backlog):
            await call
        assert order == [len("first") + 2, 33, *[10] * 20]


async def test_who_goes_away_takes_the_queued_work_along(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here() as it:
        running = embed(it, "first")
        await held.started.acquire()
        leaving = embed(it, "second", "third")
        await it.metrics_when(QUEUED, len("second") + len("third") + 4)
        leaving.cancel()
        await it.metrics_when(QUEUED, 0)
        held.release.set()
        await running
        metrics = await it.metrics_when(INFLIGHT, 0)
        assert metrics.value("rolecall_batch_size_sum") == 1
        assert metrics.value("rolecall_cancelled_total", stage="queue") == 1


async def test_more_requests_than_allowed_are_refused_and_told_when_to_return(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(max_concurrent_requests=2) as it:
        taken = [embed(it, "a"), embed(it, "b")]
        await it.metrics_when(INFLIGHT, 2)
        for _ in range(3):
            code, details = await refusal(embed(it, "c"))
            assert code == "RESOURCE_EXHAUSTED"
            assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        info = await ModelServiceStub(it.channel).GetServerInfo(model_pb2.GetServerInfoRequest())
        assert info.limits.max_concurrent_requests == 2
        stream = MatchingServiceStub(it.channel).MatchStream(timeout=60)
        one = types_pb2.Profile(text="a")
        await stream.write(pb.MatchStreamRequest(request=pb.MatchRequest(query=one, documents=[one])))
        await stream.done_writing()
        (answer,) = [answer async for answer in stream]
        assert answer.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        held.release.set()
        for call in taken:
            assert len((await call).embeddings) == 1
        assert len((await embed(it, "c")).embeddings) == 1
        assert (await it.metrics()).value(SHED, reason="requests") == 4


async def test_the_queue_is_bounded_by_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(max_queue_tokens=1000) as it:
        running = embed(it, "r" * 598)
        await held.started.acquire()
        queued = embed(it, "q" * 598)
        await it.metrics_when(QUEUED, 600)
        code, details = await refusal(embed(it, "x" * 400))
        assert code == "RESOURCE_EXHAUSTED"
        assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        fits = embed(it, "f" * 398)
        await it.metrics_when(QUEUED, 1000)
        held.release.set()
        for call in (running, queued, fits):
            assert len((await call).embeddings) == 1
        assert (await refusal(embed(it, "l" * 600, "m" * 600)))[0] == "INVALID_ARGUMENT"
        metrics = await it.metrics()
        assert metrics.value(SHED, reason="tokens") == 1
        assert metrics.value(QUEUED) == 0


async def test_interactive_requests_pass_bulk_ones_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    embed_batch = FakeEngine.embed

    async def noting(own: Any, model: Any, sequences: Any) -> Any:
        order.extend(len(ids) - 2 for ids in sequences)
        return await embed_batch(own, model, sequences)

    monkeypatch.setattr(FakeEngine, "embed", noting)
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(max_batch_requests=1) as it:
        calls = [embed(it, "x")]
        await held.started.acquire()
        for length, priority in ((20, types_pb2.PRIORITY_BULK), (10, types_pb2.PRIORITY_INTERACTIVE)):
            calls.append(embed(it, "x" * length, priority=priority))
            await it.metrics_when(INFLIGHT, len(calls))
        await it.metrics_when("rolecall_queue_size", 1, priority="bulk")
        await it.metrics_when("rolecall_queue_size", 1, priority="interactive")
        held.release.set()
        for call in calls:
            await call
        assert order == [1, 10, 20]
