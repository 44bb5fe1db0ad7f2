"""Answers as plain values: what they show and what a failed one holds."""

import math

import grpc
from google.rpc import status_pb2
from rolecall.v1 import matching_pb2
from rolecall_client.results import Match


def test_a_match_is_one_short_line() -> None:
    message = matching_pb2.MatchResult(index=3, document_id="a", score=0.5)
    match = Match.from_message(message, 3)
    assert match.message is message
    assert "\n" not in repr(match)
    assert "message" not in repr(match)
    assert repr(match).startswith("Match(index=3, document_id='a', score=0.5, ")


def test_a_match_that_failed_has_no_score() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="documents[3].text: is empty")
    match = Match.from_message(matching_pb2.MatchResult(index=3, status=status), 103)
    assert math.isnan(match.score)
    assert match.error is not None
    assert match.error.message == "documents[103].text: is empty"
