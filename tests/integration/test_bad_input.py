"""Every row of docs/bad-input.md on a running server: the table is what users read and what is asserted here."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub

from tests.fixtures_models import DIMENSIONS
from tests.servers import details_of, field_of, serve_process, unpacked

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
SECONDS = 60
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    input: str
    ends: str
    code: str
    field: str


def rows() -> dict[str, Row]:
    found = {}
    for line in PAGE.read_text(encoding="utf8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("item", "request"):
            found[cells[0]] = Row(cells[0], cells[1], cells[2], cells[3].strip("`"))
    return found


ROWS = rows()
P, R, J = types_pb2.Profile, types_pb2.Resume, types_pb2.Job
GOOD = P(id="good", text="A nurse for a small ward.")
LONG = "A sentence of some length. " * 1000


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


ITEMS: dict[str, P] = {
    "no content at all": P(id="x"),
    "empty text": P(text=""),
    "white space only": P(text=" \t\r\n\u3000\u00a0\u2028"),
    "control characters only": P(text="\x00\x01\x1b\x7f\x85"),
    "zero-width characters only": P(text="\u200b\u200d\u2060\ufeff"),
    "resume without a readable word": P(resume=R(summary="\u200b", skills=["", " "], years_experience=3)),
    "job without a readable word": P(job=J(remote=True, min_years=2)),
    "text of 10 MB (more than 1,000,000 characters)": P(text="x" * (10 * MIB)),
    "resume of more than 1,000,000 characters in all": P(resume=R(summary="x" * 999_990, goal="x" * 11)),
    "text longer than the window under REJECT": P(text=LONG),
    "embedding of a wrong length": P(embedding=floats(*[1.0] * (DIMENSIONS + 1))),
    "embedding whose bytes are no whole number of floats": P(embedding=b"x" * (4 * DIMENSIONS - 1)),
    "empty embedding": P(embedding=b""),
    "embedding with NaN": P(embedding=floats(*[1.0] * (DIMENSIONS - 1), math.nan)),
    "embedding with infinity": P(embedding=floats(*[1.0] * (DIMENSIONS - 1), -math.inf)),
    "embedding of zeros": P(embedding=bytes(4 * DIMENSIONS)),
    "embedding of a length beyond 1e12": P(embedding=floats(*[3e38] * DIMENSIONS)),
    "embedding of a length below 1e-12": P(embedding=floats(*[1e-14] * DIMENSIONS)),
    "id over 256 bytes": P(id="资" * 86, text="x"),
    "language that is no BCP-47 tag": P(text="x", language="English (British)"),
    "years of experience below zero or NaN": P(resume=R(summary="x", years_experience=math.nan)),
    "salary that is infinite": P(job=J(title="x", salary=types_pb2.SalaryRange(max=math.inf))),
    "unknown employment type": P(job=J(title="x", employment_type=77)),
    "text of one character": P(text="x"),
    "resume of one character": P(resume=R(summary="好")),
    "emoji": P(text="👩‍⚕️ 🚀 👨🏽‍💻"),
    "right-to-left text": P(text="\u202bمهندس برمجيات בעל ניסיון\u202c"),
    "control characters between words": P(text="five\x00 years\x1b[31m of\x08 Python"),
    "special tokens of the model, as text": P(text="<s> </s> <pad> <unk> [CLS] [SEP] <mask>"),
    "one word of 100,000 characters": P(text="x" * 100_000),
    "duplicate ids": P(id="good", text="Another text."),
    "duplicate documents": GOOD,
    "empty id": P(text="No id."),
}

MatchRequest, EmbedRequest = pb.MatchRequest, pb.EmbedRequest


def match(**fields: Any) -> pb.MatchRequest:
    return pb.MatchRequest(**({"query": GOOD, "documents": [GOOD, GOOD]} | fields))


def embed(**fields: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(**({"inputs": [GOOD]} | fields))


def with_unknown_fields() -> bytes:
    """A good request and a field of number 5000, varint 7."""
    return match().SerializeToString() + b"\xc0\xb8\x02\x07"


REQUESTS: dict[str, Callable[[], Any]] = {
    "bytes that are no message": lambda: b"\xff\xff\xff",
    "invalid UTF-8 in a string": lambda: (
        match(request_id="idid").SerializeToString().replace(b"idid", b"\xc3\x28\xa0\xa1")
    ),
    "empty message": lambda: b"",
    "no documents": lambda: pb.MatchRequest(query=GOOD),
    "100,000 documents (more than 1024)": lambda: match(documents=[P(text="x")] * 100_000),
    "no inputs to embed": EmbedRequest,
    "100,000 inputs to embed (more than 1024)": lambda: embed(inputs=[P(text="x")] * 100_000),
    "no query": lambda: pb.MatchRequest(documents=[GOOD]),
    "empty query": lambda: match(query=P(text="")),
    "query longer than the window under REJECT": lambda: match(
        query=P(text=LONG), truncation=types_pb2.TRUNCATION_REJECT
    ),
    "min_score that is NaN": lambda: match(min_score=math.nan),
    "unknown metric": lambda: match(metric=9),
    "unknown truncation": lambda: match(truncation=-1),
    "unknown priority": lambda: match(priority=3),
    "unknown explain level": lambda: match(explain=2**31 - 1),
    "unknown kind of embedding": lambda: embed(kind=3),
    "unknown format of embedding": lambda: embed(format=3),
    "request_id over 256 bytes": lambda: match(request_id="x" * 257),
    "model name over 256 bytes": lambda: match(model="x" * 257),
    "version over 256 bytes": lambda: match(model_version="1" * 257),
    "unknown model": lambda: match(model="nobody"),
    "unknown version": lambda: match(model_version="12345"),
    "version that is no number": lambda: match(model_version="../1\x00"),
    "explain": lambda: match(explain=pb.EXPLAIN_LEVEL_FACTORS),
    "weights": lambda: match(weights=pb.ScoringWeights(weights={"skills": 1.0})),
    "redact": lambda: match(redact=True),
    "message over 32 MiB": lambda: match(query=P(text="x" * (32 * MIB))),
    "more tokens in one request than --max-queue-tokens": lambda: match(
        documents=[P(text=f"{n}" + "x" * 500_000) for n in range(3)]
    ),
    "top_k larger than the number of documents": lambda: match(top_k=2**32 - 1),
    "min_score that no document reaches": lambda: match(min_score=2.0),
    "unknown field numbers": with_unknown_fields,
}


def raw_call(channel: grpc.Channel, request: Any) -> pb.MatchResponse | pb.EmbedResponse:
    """Call Embed with an EmbedRequest, Match with anything else."""
    method, response = (
        ("Embed", pb.EmbedResponse) if isinstance(request, pb.EmbedRequest) else ("Match", pb.MatchResponse)
    )
    data = request if isinstance(request, bytes) else request.SerializeToString()
    call = channel.unary_unary(f"/rolecall.v1.MatchingService/{method}", response_deserializer=response.FromString)
    return call(data, timeout=SECONDS)


def refusal(channel: grpc.Channel, request: Any) -> tuple[str, str]:
    """The code that a call ends with, and the field that its details name; there are words for people, too."""
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(channel, request)
    assert caught.value.details()
    return caught.value.code().name, field_of(details_of(caught.value))


def options_of(name: str) -> dict[str, Any]:
    return {"truncation": types_pb2.TRUNCATION_REJECT} if name.endswith("under REJECT") else {}


def test_the_page_and_this_file_have_the_same_rows() -> None:
    assert {name for name, row in ROWS.items() if row.ends == "item"} == set(ITEMS)
    assert {name for name, row in ROWS.items() if row.ends == "request"} == set(REQUESTS)


@pytest.mark.parametrize("name", ITEMS)
def test_a_bad_document_is_answered_as_the_page_says(tiny_channel: grpc.Channel, name: str) -> None:
    row = ROWS[name]
    options = options_of(name)
    alone = raw_call(tiny_channel, match(documents=[GOOD], **options)).results[0]
    response = raw_call(tiny_channel, match(documents=[GOOD, ITEMS[name], GOOD], **options))
    results = {result.index: result for result in response.results}

    assert code_pb2.Code.Name(results[1].status.code) == row.code
    assert field_of(unpacked(results[1].status)) == row.field
    assert results[1].document_id == ITEMS[name].id[:256]
    assert results[0].score == results[2].score == alone.score
    assert math.isfinite(results[1].score)


@pytest.mark.parametrize("name", ITEMS)
def test_a_bad_input_to_embed_is_answered_likewise(tiny_channel: grpc.Channel, name: str) -> None:
    row = ROWS[name]
    response = raw_call(tiny_channel, embed(inputs=[GOOD, ITEMS[name], GOOD], **options_of(name)))
    first, bad, last = response.embeddings

    assert first.vector == last.vector != b""
    assert code_pb2.Code.Name(bad.status.code) == row.code
    assert field_of(unpacked(bad.status)) == row.field.replace("documents", "inputs")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.ends == "item"])
def test_the_same_in_the_query_ends_the_request(tiny_channel: grpc.Channel, name: str) -> None:
    row = ROWS[name]
    request = match(query=ITEMS[name], **options_of(name))
    if row.code == "OK":
        assert len(raw_call(tiny_channel, request).results) == 2
    else:
        assert refusal(tiny_channel, request) == (row.code, row.field.replace("documents[1]", "query"))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request_is_answered_as_the_page_says(tiny_channel: grpc.Channel, name: str) -> None:
    row = ROWS[name]
    if row.code == "OK":
        response = raw_call(tiny_channel, REQUESTS[name]())
        assert len(response.results) == (0 if "no document reaches" in name else 2)
        return
    assert refusal(tiny_channel, REQUESTS[name]()) == (row.code, row.field)


def test_a_stream_gives_the_same_answers(tiny_channel: grpc.Channel) -> None:
    made = {name: make() for name, make in REQUESTS.items()}
    asked = {n: request for n, request in made.items() if isinstance(request, MatchRequest) and ROWS[n].code != "OK"}
    asked.pop("message over 32 MiB")
    answers = {}
    for name, request in asked.items():
        (answer,) = MatchingServiceStub(tiny_channel).MatchStream(
            iter([pb.MatchStreamRequest(request=request)]), timeout=SECONDS
        )
        answers[name] = (code_pb2.Code.Name(answer.status.code), field_of(unpacked(answer.status)))

    assert answers == {name: (ROWS[name].code, ROWS[name].field) for name in asked}
    assert len(answers) > 15


def test_an_overlong_id_is_not_sent_back_whole(tiny_channel: grpc.Channel) -> None:
    """An answer that repeated it would be larger than the largest message."""
    long = "x" * (32 * MIB - 200)
    response = raw_call(tiny_channel, match(documents=[P(id=long, text="x")]))
    assert field_of(unpacked(response.results[0].status)) == "documents[0].id"
    stream = MatchingServiceStub(tiny_channel).MatchStream(
        iter([pb.MatchStreamRequest(request=match(request_id=long))]), timeout=SECONDS
    )
    (answer,) = stream
    assert field_of(unpacked(answer.status)) == "request_id"


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_model_names_are_checked(tiny_channel: grpc.Channel, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ModelServiceStub(tiny_channel).GetModel(model_pb2.GetModelRequest(name=name), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(details_of(caught.value)) == "name"


def test_limits_are_those_of_the_flags(tiny_models: Path) -> None:
    flags = ("--model-repository", str(tiny_models), "--max-client-batch-size", "2", "--max-text-chars", "10")
    with serve_process(*flags, "--payload-limit", "1000") as served, grpc.insecure_channel(served.address) as channel:
        limits = ModelServiceStub(channel).GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=SECONDS).limits
        assert (limits.max_documents, limits.max_text_chars, limits.max_message_bytes) == (2, 10, 1000)
        small = P(text="0123456789")
        assert len(raw_call(channel, match(query=small, documents=[small] * 2)).results) == 2
        cases = {
            "documents": match(query=small, documents=[small] * 3),
            "query.text": match(query=P(text="0123456789a"), documents=[small]),
        }
        for field, request in cases.items():
            assert refusal(channel, request) == ("INVALID_ARGUMENT", field)
        assert refusal(channel, match(query=P(text="x" * 1000))) == ("RESOURCE_EXHAUSTED", "")


def test_a_float_as_the_wire_has_it_is_what_the_server_reads() -> None:
    """The tables above pack floats with numpy; this is what any other client does."""
    assert floats(1.5, -2.0) == struct.pack("<2f", 1.5, -2.0)
