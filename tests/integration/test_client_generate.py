"""Generation with both clients against a real gRPC server with hand-written servicers."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall_client import (
    AsyncClient,
    Candidate,
    Client,
    DeadlineExceededError,
    GenerateUsage,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)

from tests.client_server import Asker, ClientServer, bad_request, overloaded, status

UNAVAILABLE = status(grpc.StatusCode.UNAVAILABLE, "starting")


@pytest.fixture
def server() -> Iterator[ClientServer]:
    with ClientServer() as started:
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


async def test_a_generation_comes_with_all_there_is_to_say_of_it(server, ask):
    found = await ask(server.address)("generate", "写 a", num_beams=2, num_return_sequences=2, request_id="r")
    assert found.text == "写 A"
    assert found.candidates == (Candidate("写 A", 0.0, "eos", 3), Candidate("写 A", -1.0, "eos", 3))
    assert found.usage == GenerateUsage(prompt_tokens=3, truncated_tokens=2, generated_tokens=3)
    assert (found.request_id, found.model.name, found.seed) == ("r", "made-up", None)


OPTIONS: dict[str, Any] = {
    "max_new_tokens": 99,
    "min_new_tokens": 1,
    "num_beams": 4,
    "length_penalty": 0.5,
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 3,
    "do_sample": True,
    "temperature": 0.25,
    "top_k": 0,
    "top_p": 0.75,
    "seed": 2**64 - 1,
    "num_return_sequences": 1,
    "stop": ["\n"],
}


async def test_what_is_asked_for_arrives_and_what_is_not_is_not_set(server, ask):
    asker = ask(server.address)
    await asker("generate", "a", early_stopping="never", truncation="reject", priority="bulk", model="m", **OPTIONS)
    await asker.text("a", model_version="2", **OPTIONS).rest()
    await asker("generate", "a")
    full, streamed, bare = server.behaviour.requests
    assert full == pb.GenerateRequest(
        prompt=pb.FreeText(text="a"),
        decoding=pb.Decoding(early_stopping=pb.EARLY_STOPPING_NEVER, **OPTIONS),
        truncation=types_pb2.TRUNCATION_REJECT,
        priority=types_pb2.PRIORITY_BULK,
        model="m",
    )
    assert isinstance(streamed, pb.GenerateStreamRequest)
    assert streamed.decoding == pb.Decoding(early_stopping=pb.EARLY_STOPPING_FALSE, **OPTIONS)
    assert streamed.model_version == "2"
    assert [field.name for field, _ in bare.decoding.ListFields()] == ["early_stopping"]


async def test_a_text_streams_in_its_pieces_and_has_its_result_at_the_end(server, ask):
    text = ask(server.address).text("一 text of words", request_id="r")
    first = await text.next()
    with pytest.raises(RuntimeError):
        _ = text.stream.result
    assert [first, *await text.rest()] == ["一", " TEXT", " OF", " WORDS"]
    result = text.stream.result
    assert result.candidates == (Candidate("一 TEXT OF WORDS", -0.5, "length", 15),)
    assert (result.request_id, result.usage.prompt_tokens, result.seed) == ("r", 15, 5)
    assert await text.rest() == []


async def test_closing_a_stream_ends_the_rpc(server, ask):
    text = ask(server.address).text("a wait b")
    assert [await text.next(), await text.next()] == ["A", " WAIT"]
    assert not server.behaviour.stream_ended.is_set()
    await text.close()
    assert server.behaviour.stream_ended.wait(10)
    assert await text.rest() == []


async def test_a_stream_that_nobody_began_asks_nothing(server, ask):
    await ask(server.address).text("a").close()
    assert server.behaviour.requests == []


def test_another_thread_can_close_a_stream_that_is_being_read(server):
    with Client(server.address) as client, client.generate_stream("a wait b") as stream:
        pieces = [next(stream), next(stream)]
        closer = threading.Timer(0.1, stream.close)
        closer.start()
        pieces += stream
        closer.join()
    assert pieces == ["A", " WAIT"]


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_stream_that_did_not_begin_is_tried_again(server, ask, failures):
    server.behaviour.failures.extend([UNAVAILABLE] * failures)
    assert await ask(server.address).text("a b").rest() == ["A", " B"]
    assert len(server.behaviour.requests) == failures + 1


async def test_a_stream_that_began_never_is(server, ask):
    server.behaviour.cut_after.append(1)
    text = ask(server.address, overload_retries=5).text("a b c")
    assert await text.next() == "A"
    with pytest.raises(UnavailableError):
        await text.next()
    assert len(server.behaviour.requests) == 1


async def test_overload_is_retried_for_who_asks_and_before_the_text_begins(server, ask):
    server.behaviour.failures.extend([overloaded(0.01)] * 3)
    with pytest.raises(OverloadedError):
        await ask(server.address).text("a").next()
    text = ask(server.address, overload_retries=2).text("a b")
    assert await text.rest() == ["A", " B"]
    server.behaviour.failures.append(overloaded(0.01))
    assert (await ask(server.address, overload_retries=1)("generate", "x")).text == "X"
    assert len(server.behaviour.requests) == 6


async def test_a_stream_without_its_end_is_no_text(server, ask):
    text = ask(server.address).text("too short")
    assert [await text.next(), await text.next()] == ["TOO", " SHORT"]
    with pytest.raises(UnavailableError, match="complete"):
        await text.next()


async def test_refusals_name_the_field(server, ask):
    server.behaviour.failures.extend([bad_request("decoding.num_beams", "is too many")] * 2)
    with pytest.raises(InvalidArgumentError) as caught:
        await ask(server.address)("generate", "a", num_beams=1000)
    with pytest.raises(InvalidArgumentError) as streamed:
        await ask(server.address).text("a", num_beams=1000).next()
    assert caught.value.field == streamed.value.field == "decoding.num_beams"


async def test_the_deadline_is_that_of_the_whole_text(server, ask):
    text = ask(server.address).text("a wait b", timeout=0.5)
    assert [await text.next(), await text.next()] == ["A", " WAIT"]
    with pytest.raises(DeadlineExceededError):
        await text.next()
    assert 0 < server.behaviour.remaining[0] <= 0.5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_beams": -1}, ValueError),
        ({"seed": 2**64}, ValueError),
        ({"early_stopping": "perhaps"}, ValueError),
        ({"truncation": "nothing"}, ValueError),
        ({"stop": "text"}, TypeError),
        ({"prompt": "x" * (33 << 20)}, InvalidArgumentError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_can_not_be_sent_is_said_at_once(server, ask, options, error):
    arguments = {"prompt": "a", **options}
    with pytest.raises(error):
        await ask(server.address)("generate", **arguments)
    with pytest.raises(error):
        ask(server.address).text(**arguments)
    assert server.behaviour.requests == []
