"""The bookkeeping of a stream, without one: what goes again, and when."""

from functools import partial

import grpc
import pytest
from google.rpc import status_pb2
from rolecall.v1 import matching_pb2, model_pb2
from rolecall_client import MatchQuery, OverloadedError, UnavailableError
from rolecall_client.results import ServerInfo
from rolecall_client.retry import message_delay
from rolecall_client.streaming import StreamBook

from tests.client_server import overloaded, status

INFO = ServerInfo.from_message(model_pb2.GetServerInfoResponse(limits={"max_stream_inflight": 4}))
DOWN = status(grpc.StatusCode.UNAVAILABLE, "shutting down")


def book(*queries: str, overload_retries: int = 0, remaining: float = 100.0) -> StreamBook:
    delay = partial(message_delay, overload_retries=overload_retries, remaining=remaining)
    made = StreamBook(INFO, 1 << 20, retry_delay=delay)
    for query in queries:
        made.add(MatchQuery(query, ["d"], request_id=query))
    return made


def sent(from_book: StreamBook) -> list[str]:
    requests = iter(from_book.next_request, None)
    return [message.request.request_id for message in requests]


def refuse(in_book: StreamBook, request_id: str, by: status_pb2.Status) -> None:
    in_book.receive(matching_pb2.MatchStreamResponse(request_id=request_id, status=by))


def retry_after(refusal: status_pb2.Status, seconds: float) -> status_pb2.Status:
    made = status_pb2.Status()
    made.CopyFrom(refusal)
    made.details.extend(overloaded(seconds).details)
    return made


def test_refusals_under_way_together_make_one_pause():
    stream = book("a", "b", overload_retries=1)
    assert sent(stream) == ["a", "b"]
    refuse(stream, "a", overloaded(2.0))
    assert stream.take_pause() == 0
    assert sent(stream) == []
    refuse(stream, "b", overloaded(3.0))
    assert 3.0 <= stream.take_pause() <= 4.5
    assert sorted(sent(stream)) == ["a", "b"]


@pytest.mark.parametrize(("refusal", "least"), [(DOWN, 0.1), (retry_after(DOWN, 5.0), 5.0), (overloaded(4.0), 4.0)])
def test_the_pause_is_as_long_as_the_server_says(refusal: status_pb2.Status, least: float):
    stream = book("a", overload_retries=1)
    sent(stream)
    refuse(stream, "a", refusal)
    assert least <= stream.take_pause() <= 1.5 * least


def test_tries_of_both_kinds_count_apart():
    stream = book("a", overload_retries=2)
    for refusal in (DOWN, overloaded(0.1), DOWN, overloaded(0.1), DOWN):
        assert sent(stream) == ["a"]
        refuse(stream, "a", refusal)
        assert stream.next_outcome() is None
        assert stream.take_pause() > 0
    assert sent(stream) == ["a"]
    refuse(stream, "a", overloaded(0.1))
    outcome = stream.next_outcome()
    assert outcome is not None
    assert isinstance(outcome.error, OverloadedError)
    assert stream.is_idle


def test_what_can_not_go_again_in_time_fails_at_once():
    stream = book("a", remaining=1.0)
    sent(stream)
    refuse(stream, "a", retry_after(DOWN, 5.0))
    outcome = stream.next_outcome()
    assert outcome is not None
    assert isinstance(outcome.error, UnavailableError)
    assert stream.take_pause() == 0
