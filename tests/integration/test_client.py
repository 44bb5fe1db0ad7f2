"""Both clients against a real gRPC server with hand-written servicers. Each case runs on each client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from rolecall.v1 import types_pb2
from rolecall_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    MatchQuery,
    OverloadedError,
    RolecallError,
    UnavailableError,
)

from tests.client_server import (
    BAD_TEXT,
    DIMENSIONS,
    Asker,
    ClientServer,
    bad_request,
    free_port,
    overloaded,
    scores,
    status,
    vector_of,
    wait_in_thread,
)
from tests.servers import serve_process

DOCUMENTS = [{"id": f"d{number}", "text": f"text number {number}"} for number in range(25)]
UNAVAILABLE = status(grpc.StatusCode.UNAVAILABLE, "starting")


@pytest.fixture
def server() -> Iterator[ClientServer]:
    with ClientServer() as started:
        yield started


@pytest.fixture
def small() -> Iterator[ClientServer]:
    """A server that takes ten documents a request and four requests of a stream at a time."""
    with ClientServer(max_documents=10, max_stream_inflight=4) as started:
        yield started


@pytest.fixture(params=[Client, AsyncClient])
async def ask(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Asker]]:
    made: list[Asker] = []

    def make(address: str, **options: Any) -> Asker:
        made.append(Asker(request.param(address, timeout=options.pop("timeout", 10.0), **options)))
        return made[-1]

    yield make
    for asker in made:
        await asker("close")


async def test_unavailable_is_retried_by_the_service_config(server, ask):
    server.behaviour.failures.extend([UNAVAILABLE, UNAVAILABLE])
    result = await ask(server.address)("match", "q", DOCUMENTS[:2])
    assert len(result) == 2
    assert len(server.behaviour.requests) == 3


async def test_large_requests_are_retried_as_well(server, ask):
    server.behaviour.failures.append(UNAVAILABLE)
    result = await ask(server.address)("match", "q", ["x" * 1_000_000])
    assert len(result) == 1
    assert len(server.behaviour.requests) == 2


async def test_retries_end(server, ask):
    server.behaviour.failures.extend([UNAVAILABLE] * 10)
    with pytest.raises(UnavailableError, match="starting"):
        await ask(server.address)("match", "q", ["d"])
    assert len(server.behaviour.requests) == 4


async def test_overload_is_not_retried_and_says_when_to_come_back(server, ask):
    server.behaviour.failures.append(overloaded(1.25))
    with pytest.raises(OverloadedError) as caught:
        await ask(server.address)("match", "q", ["d"])
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after == 1.25
    assert len(server.behaviour.requests) == 1


async def test_overload_is_retried_for_who_asks(server, ask):
    server.behaviour.failures.extend([overloaded(0.01), overloaded(0.01)])
    result = await ask(server.address, overload_retries=2)("embed", ["a"])
    assert result.shape == (1, DIMENSIONS)
    assert len(server.behaviour.requests) == 3


async def test_overload_is_not_waited_for_beyond_the_deadline(server, ask):
    server.behaviour.failures.append(overloaded(60.0))
    with pytest.raises(OverloadedError):
        await ask(server.address, overload_retries=2)("match", "q", ["d"])
    assert len(server.behaviour.requests) == 1


async def test_every_call_carries_a_deadline(server, ask):
    await ask(server.address, timeout=7.0)("match", "q", ["d"])
    # gRPC rounds a deadline up to three digits on its way, so it may arrive a little longer than it was set.
    assert 0 < server.behaviour.remaining[0] <= 7.1


async def test_deadline(server, ask):
    server.behaviour.delay = 1.0
    with pytest.raises(DeadlineExceededError):
        await ask(server.address)("match", "q", ["d"], timeout=0.2)


async def test_server_down(ask):
    with pytest.raises(UnavailableError, match="Connection refused"):
        await ask(f"127.0.0.1:{free_port()}")("match", "q", ["d"])


async def test_error_details_are_parsed(server, ask):
    server.behaviour.failures.append(bad_request("query.text", "it is empty"))
    with pytest.raises(InvalidArgumentError) as caught:
        await ask(server.address)("match", "", ["d"])
    assert caught.value.field == "query.text"
    assert caught.value.violations[0].description == "it is empty"
    assert caught.value.message == "query.text: it is empty"
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 3}, {"min_score": 0.1}, {"top_k": 2, "min_score": 0.2}, {"top_k": 100}]
)
async def test_split_call_equals_one_large_call(server, small, ask, options):
    documents = [*DOCUMENTS, DOCUMENTS[3], DOCUMENTS[17], {"id": "bad", "text": BAD_TEXT}, DOCUMENTS[3]]
    whole = await ask(server.address)("match", "q", documents, **options)
    split = await ask(small.address)("match", "q", documents, **options)
    assert len(server.behaviour.requests) == 1
    assert len(small.behaviour.requests) == 3
    assert [(m.index, m.document_id, m.score) for m in split if m.error is None] == [
        (m.index, m.document_id, m.score) for m in whole if m.error is None
    ]
    assert [(m.index, m.error.field, m.error.message) for m in split if m.error] == [
        (27, "documents[27].text", "documents[27].text: it is bad")
    ]


async def test_limits_are_asked_once(small, ask):
    asker = ask(small.address)
    await asker("match", "q", DOCUMENTS)
    await asker("embed", ["a", "b"])
    await asker("match_many", [MatchQuery("q", DOCUMENTS)])
    assert small.behaviour.info_calls == 1


async def test_split_by_bytes_under_the_servers_own_limit(ask):
    options = (("grpc.max_receive_message_length", 20_000), ("grpc.max_send_message_length", 20_000))
    with ClientServer(options=options, max_message_bytes=20_000) as server:
        texts = [f"{number} " + "x" * 6_000 for number in range(7)]
        result = await ask(server.address)("match", "q", [*texts, "y" * 30_000])
        vectors = await ask(server.address)("embed", texts)
    assert [m.index for m in result if m.error is None] == sorted(range(7), key=lambda i: -float(scores(texts)[i]))
    assert isinstance(result[-1].error, InvalidArgumentError)
    assert (result[-1].index, result[-1].error.field) == (7, "documents[7]")
    assert vectors.shape == (7, DIMENSIONS)


async def test_answers_are_split_by_bytes(ask):
    options = (("grpc.max_send_message_length", 4_000),)
    with ClientServer(options=options, max_message_bytes=4_000) as server:
        vectors = await ask(server.address)("embed", ["a"] * 300)
    np.testing.assert_array_equal(vectors, np.tile(vector_of("a"), (300, 1)))


async def test_parts_of_different_models_are_refused(small, ask):
    small.behaviour.models.extend(["old", "new"])
    with pytest.raises(RolecallError, match="changed its model") as caught:
        await ask(small.address)("match", "q", DOCUMENTS)
    assert caught.value.code is grpc.StatusCode.ABORTED


async def test_no_documents_are_the_servers_to_refuse(server, ask):
    with pytest.raises(InvalidArgumentError) as caught:
        await ask(server.address)("match", "q", [])
    assert caught.value.field == "documents"


async def test_all_forms_of_a_profile(server, ask):
    documents = ["a", {"text": "a"}, types_pb2.Profile(text="a"), vector_of("a").astype(np.float64)]
    result = await ask(server.address)("match", "a", documents)
    assert [m.score for m in result] == pytest.approx([1.0] * 4, abs=1e-6)


async def test_embed(small, ask):
    texts = [f"t{number}" for number in range(23)]
    vectors = await ask(small.address)("embed", texts, kind="query")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.stack([vector_of(text) for text in texts]))


async def test_embed_raises_or_keeps_item_errors(small, ask):
    texts = [f"t{number}" for number in range(14)]
    texts[12] = BAD_TEXT
    asker = ask(small.address)
    with pytest.raises(InvalidArgumentError) as caught:
        await asker("embed", texts)
    assert (caught.value.index, caught.value.field) == (12, "inputs[12].text")
    kept = await asker("embed", texts, errors="keep")
    assert list(kept.errors) == [12]
    assert np.isnan(kept.vectors[12]).all()
    assert not np.isnan(np.delete(kept.vectors, 12, axis=0)).any()


async def test_stream_sends_ahead_and_relates_answers(small, ask):
    small.behaviour.hold = 4  # answers nothing before four requests came, then in reverse
    queries = [MatchQuery(f"q{number}", DOCUMENTS[:5], request_id=f"mine-{number}") for number in range(8)]
    outcomes = await ask(small.address).stream(queries)
    assert [o.index for o in outcomes] == [3, 2, 1, 0, 7, 6, 5, 4]
    assert [o.request_id for o in outcomes] == [f"mine-{o.index}" for o in outcomes]
    for outcome in outcomes:
        assert outcome.result[0].score == pytest.approx(max(scores(texts(5), f"q{outcome.index}")))


async def test_stream_splits_large_queries(server, small, ask):
    queries = [MatchQuery(f"q{number}", DOCUMENTS, top_k=4) for number in range(3)]
    split = await ask(small.address)("match_many", queries)
    for query, result in zip(queries, split, strict=True):
        whole = await ask(server.address)("match", query.query, query.documents, top_k=4)
        assert [(m.index, m.score) for m in result] == [(m.index, m.score) for m in whole]
    assert len(small.behaviour.requests) == 9


async def test_a_failing_query_ends_nothing(small, ask):
    queries = [MatchQuery(text, ["d"]) for text in ("a", BAD_TEXT, "b", "\ud800", "c")]
    asker = ask(small.address)
    kept = await asker("match_many", queries, errors="keep")
    assert [type(result).__name__ for result in kept] == [
        "MatchResult",
        "InvalidArgumentError",
        "MatchResult",
        "InvalidArgumentError",
        "MatchResult",
    ]
    with pytest.raises(InvalidArgumentError) as caught:
        await asker("match_many", queries)
    assert caught.value.field == "query.text"


async def test_the_same_request_id_twice(small, ask):
    small.behaviour.hold = 2
    outcomes = await ask(small.address).stream([MatchQuery(q, ["d"], request_id="same") for q in ("a", "b")])
    assert {(o.index, o.request_id) for o in outcomes} == {(0, "same"), (1, "same")}


async def test_a_stream_that_is_cut_goes_on(small, ask):
    small.behaviour.cut_after.extend([3, 2])
    results = await ask(small.address)("match_many", [MatchQuery(f"q{n}", [f"d{n}"]) for n in range(12)])
    assert [r[0].score for r in results] == [pytest.approx(float(scores([f"d{n}"], f"q{n}")[0])) for n in range(12)]
    assert small.behaviour.streams == 3


async def test_messages_answered_unavailable_go_again(small, ask):
    small.behaviour.refusals = 3
    results = await ask(small.address)("match_many", [MatchQuery(f"q{n}", ["d"]) for n in range(6)])
    assert [r[0].score for r in results] == [pytest.approx(float(scores(["d"], f"q{n}")[0])) for n in range(6)]
    assert len(small.behaviour.requests) == 9
    assert small.behaviour.streams == 1


async def test_a_message_always_answered_unavailable_fails_alone(small, ask):
    small.behaviour.refusals = 4
    (failed,) = await ask(small.address)("match_many", [MatchQuery("q", ["d"])], errors="keep")
    assert isinstance(failed, UnavailableError)
    assert len(small.behaviour.requests) == 4


async def test_messages_refused_for_overload_go_again_for_who_asks(small, ask):
    small.behaviour.refusal, small.behaviour.refusals = overloaded(0.01), 5
    results = await ask(small.address, overload_retries=2)("match_many", [MatchQuery(f"q{n}", ["d"]) for n in range(6)])
    assert [r[0].score for r in results] == [pytest.approx(float(scores(["d"], f"q{n}")[0])) for n in range(6)]
    assert len(small.behaviour.requests) == 11
    assert small.behaviour.streams == 1


@pytest.mark.parametrize(("retries", "seconds", "tries"), [(0, 0.01, 1), (2, 0.01, 3), (2, 60.0, 1)])
async def test_a_message_always_refused_for_overload_fails_alone(small, ask, retries, seconds, tries):
    """After as many tries as were asked for, and at once where the server names a time beyond the deadline."""
    small.behaviour.refusal, small.behaviour.refusals = overloaded(seconds), tries
    asker = ask(small.address, overload_retries=retries)
    (failed,) = await asker("match_many", [MatchQuery("q", ["d"])], errors="keep", timeout=20.0)
    assert isinstance(failed, OverloadedError)
    assert failed.retry_after == seconds
    assert len(small.behaviour.requests) == tries


async def test_a_stream_that_gets_nowhere_raises(small, ask):
    small.behaviour.cut_after.extend([0] * 50)
    with pytest.raises(UnavailableError, match="moving on"):
        await ask(small.address).stream([MatchQuery("q", ["d"])])


async def test_queries_are_taken_no_further_ahead_than_the_window(small, ask):
    taken = []

    def queries() -> Iterator[MatchQuery]:
        for number in range(20):
            taken.append(number)
            yield MatchQuery("q", ["d"])

    client = ask(small.address).client
    if isinstance(client, AsyncClient):
        stream = client.match_stream(queries())
        await anext(stream)
        await stream.aclose()
    else:
        next(iter(client.match_stream(queries())))
    assert len(taken) == 4


async def test_a_stream_that_is_done_is_no_cancelled_one(ask):
    with serve_process("--backend", "fake", log_level="debug") as served:
        asker = ask(served.address)
        for _ in range(3):
            assert len(await asker("match_many", [MatchQuery("q", ["d"]), MatchQuery("q", ["e"])])) == 2
        metrics = served.metrics()
        assert served.stop() == 0
    assert metrics.value("rolecall_requests_total", code="OK") >= 6
    assert metrics.value("rolecall_requests_total", code="CANCELLED") == 0
    assert not [record for record in served.log.records() if record.get("code") == "CANCELLED"]


async def test_no_queries(small, ask):
    assert await ask(small.address)("match_many", []) == []


async def test_async_queries(small):
    async def queries() -> AsyncIterator[MatchQuery]:
        for number in range(6):
            await asyncio.sleep(0)
            yield MatchQuery(f"q{number}", ["d"])

    async with AsyncClient(small.address) as client:
        assert len(await client.match_many(queries())) == 6


async def test_cancelling_the_caller_cancels_the_call(server):
    server.behaviour.delay = 0.5
    async with AsyncClient(server.address) as client:
        await client.server_info()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.match("q", ["d"])


async def test_info_models_and_health(small, ask):
    asker = ask(small.address)
    info = await asker("server_info")
    assert (info.backend, info.limits.max_documents) == ("fake", 10)
    (model,) = await asker("models")
    assert (model.name, model.state, model.languages) == ("made-up", "ready", ("en", "zh"))
    assert await asker("health") == "serving"
    small.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert await asker("health") == "not_serving"
    with pytest.raises(DeadlineExceededError, match="not_serving"):
        await asker("wait_until_serving", 0.3)


async def test_wait_for_a_server_that_starts_later(ask):
    port = free_port()
    waiting = asyncio.create_task(asyncio.to_thread(wait_in_thread, f"127.0.0.1:{port}"))
    await asyncio.sleep(0.3)
    with ClientServer(port=port) as server:
        await waiting
        await ask(server.address)("wait_until_serving", 5.0)


async def test_wait_for_a_server_that_never_starts(ask):
    with pytest.raises(DeadlineExceededError, match="could not be reached"):
        await ask(f"127.0.0.1:{free_port()}")("wait_until_serving", 0.4)


def texts(count: int) -> list[str]:
    return [document["text"] for document in DOCUMENTS[:count]]
