"""Every row on generations of docs/bad-input.md on a running server, of the unary RPC and of the stream."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub

from tests.servers import CHANNEL_OPTIONS, details_of, field_of, serve_process

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
SECONDS = 60


def rows() -> dict[str, tuple[str, str]]:
    """Code and field by what the page calls the input."""
    found = {}
    for line in PAGE.read_text(encoding="utf8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] == "text":
            found[cells[0]] = (cells[2], cells[3].strip("`"))
    return found


ROWS = rows()
D = pb.Decoding
LONG = "A sentence of some length. " * 1000


def decoding(**fields: Any) -> dict[str, Any]:
    return {"decoding": D(**fields)}


def prompt(text: str, **fields: Any) -> dict[str, Any]:
    return {"prompt": pb.FreeText(text=text), **fields}


REQUESTS: dict[str, dict[str, Any]] = {
    "no task": {"prompt": None},
    "task that is not built": {"prompt": None, "chat": pb.Chat(turns=[pb.Turn(role="user", text="x")])},
    "empty prompt": prompt(""),
    "prompt of white space": prompt(" \t\n\u3000\u200b"),
    "prompt of more than 1,000,000 characters": prompt("x" * 1_000_001),
    "prompt longer than the model reads, under REJECT": prompt(LONG, truncation=types_pb2.TRUNCATION_REJECT),
    "prompt longer than the model reads, under TRUNCATE": prompt(LONG, truncation=types_pb2.TRUNCATION_TRUNCATE),
    "truncation CHUNK": {"truncation": types_pb2.TRUNCATION_CHUNK},
    "unknown kind of truncation": {"truncation": 77},
    "language of the output that is no BCP-47 tag": {"language": "English (British)"},
    "redact a prompt": {"redact": True},
    "max_new_tokens of 0": decoding(max_new_tokens=0),
    "max_new_tokens above the limit": decoding(max_new_tokens=2**32 - 1),
    "min_new_tokens above max_new_tokens": decoding(max_new_tokens=5, min_new_tokens=6),
    "num_beams of 0": decoding(num_beams=0),
    "num_beams of 1000": decoding(num_beams=1000),
    "unknown early_stopping": decoding(early_stopping=9),
    "length_penalty of NaN": decoding(num_beams=2, length_penalty=math.nan),
    "length_penalty of -1e30": decoding(num_beams=2, length_penalty=-1e30),
    "repetition_penalty of 0": decoding(repetition_penalty=0),
    "repetition_penalty below 0": decoding(repetition_penalty=-1),
    "no_repeat_ngram_size of 4,294,967,295": decoding(no_repeat_ngram_size=2**32 - 1),
    "temperature of 0": decoding(do_sample=True, temperature=0),
    "temperature below 0": decoding(do_sample=True, temperature=-0.5),
    "infinite temperature": decoding(do_sample=True, temperature=math.inf),
    "top_k above the size of the vocabulary": decoding(do_sample=True, top_k=2**32 - 1),
    "top_p of 0": decoding(do_sample=True, top_p=0),
    "top_p above 1": decoding(do_sample=True, top_p=1.01),
    "top_p of NaN": decoding(do_sample=True, top_p=math.nan),
    "num_return_sequences of 0": decoding(num_return_sequences=0),
    "num_return_sequences of 1000": decoding(do_sample=True, num_return_sequences=1000),
    "more num_return_sequences than num_beams": decoding(num_beams=2, num_return_sequences=3),
    "several num_return_sequences of a greedy text": decoding(num_return_sequences=2),
    "sampling with beams": decoding(do_sample=True, num_beams=2),
    "empty stop string": decoding(stop=["x", ""]),
    "stop string longer than the output can be": decoding(max_new_tokens=2, stop=["x" * 200]),
    "stop string of more than 256 characters": decoding(stop=["护" * 257]),
    "17 stop strings": decoding(stop=[str(number) for number in range(17)]),
    "generator that is not there": {"model": "nobody"},
    "version of the generator that is not there": {"model_version": "12345"},
    "encoder in place of a generator": {"model": "encoder"},
    "request_id of a generation over 256 bytes": {"request_id": "资" * 86},
    "unknown priority of a generation": {"priority": -1},
    "options of sampling without do_sample": decoding(temperature=0.5, top_k=3, top_p=0.5, seed=1, max_new_tokens=9),
    "the largest seed": decoding(do_sample=True, seed=2**64 - 1, max_new_tokens=9),
    "control characters, emoji and special tokens in a prompt": prompt(
        "\x00\x1b[31m 👩‍⚕️ </s> <pad> <extra_id_0> \u202b"
    ),
}


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with (
        serve_process("--backend", "fake") as served,
        grpc.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel,
    ):
        yield channel


def made(kind: Any, name: str) -> Any:
    return kind(**({"prompt": pb.FreeText(text="A nurse.")} | REQUESTS[name]))


def outcome(call: Any) -> tuple[str, str]:
    """The code that a call ends with, and the field that its details name; there are words for people, too."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.details()  # type: ignore[attr-defined]  # noqa: PT017
        return error.code().name, field_of(details_of(error))  # type: ignore[attr-defined]
    return "OK", ""


def test_the_page_and_this_file_have_the_same_rows() -> None:
    assert set(ROWS) == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_generation_is_answered_as_the_page_says(channel: grpc.Channel, name: str) -> None:
    stub = GenerationServiceStub(channel)
    unary = outcome(lambda: stub.Generate(made(pb.GenerateRequest, name), timeout=SECONDS))
    stream = outcome(lambda: list(stub.GenerateStream(made(pb.GenerateStreamRequest, name), timeout=SECONDS)))
    assert unary == ROWS[name]
    assert stream == ROWS[name]


def test_several_texts_are_nothing_for_a_stream(channel: grpc.Channel) -> None:
    request = pb.GenerateStreamRequest(
        prompt=pb.FreeText(text="x"), decoding=D(num_beams=2, num_return_sequences=2, max_new_tokens=3)
    )
    found = outcome(lambda: list(GenerationServiceStub(channel).GenerateStream(request, timeout=SECONDS)))
    assert found == ("INVALID_ARGUMENT", "decoding.num_return_sequences")


@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x42\x04\x0a\x02\xc3\x28"], ids=["no message", "invalid UTF-8"])
def test_bytes_that_are_no_message_are_told_so(channel: grpc.Channel, method: str, data: bytes) -> None:
    call = channel.unary_stream if method == "GenerateStream" else channel.unary_unary
    found = outcome(lambda: list(call(f"/rolecall.v1.GenerationService/{method}")(data, timeout=SECONDS)))
    assert found == ("INVALID_ARGUMENT", "")
