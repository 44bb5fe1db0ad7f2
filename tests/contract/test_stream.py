"""MatchStream on every backend: the same answers as Match, correlated by request id."""

from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

from tests.servers import field_of, unpacked

WORDS = ["nurse", "cook", "driver", "clerk", "后端开发", "护士"]


def requests(count):
    for number in range(count):
        documents = [types_pb2.Profile(text=f"{word} {number}") for word in WORDS]
        query = types_pb2.Profile(text=WORDS[number % len(WORDS)])
        yield pb.MatchRequest(request_id=f"r{number}", query=query, documents=documents, top_k=3)


def test_a_stream_answers_as_match_does(server):
    stream = server.matching.MatchStream(
        (pb.MatchStreamRequest(request=request) for request in requests(50)), timeout=60
    )
    answers = {answer.request_id: answer for answer in stream}

    assert len(answers) == 50
    for request in requests(50):
        answer = answers[request.request_id].response
        unary = server.matching.Match(request, timeout=60)
        assert answer.request_id == request.request_id
        assert [(r.index, round(r.score, 5)) for r in answer.results] == [
            (r.index, round(r.score, 5)) for r in unary.results
        ]
        assert answer.model == unary.model


def test_a_failing_match_is_answered_by_its_status_and_ends_nothing(server):
    good = next(requests(1))
    bad = pb.MatchRequest(request_id="bad", query=good.query)
    unknown = pb.MatchRequest(request_id="unknown", query=good.query, documents=good.documents, model="nobody")
    stream = server.matching.MatchStream(
        (pb.MatchStreamRequest(request=request) for request in (bad, unknown, good)), timeout=60
    )
    answers = {answer.request_id: answer for answer in stream}

    assert answers["bad"].status.code == code_pb2.INVALID_ARGUMENT
    assert field_of(unpacked(answers["bad"].status)) == "documents"
    assert answers["unknown"].status.code == code_pb2.NOT_FOUND
    assert len(answers[good.request_id].response.results) == 3
