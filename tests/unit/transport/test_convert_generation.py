"""Generate and GenerateStream become one request of the domain, and its output becomes their answers."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall_server.errors import InvalidInputError, NotImplementedYetError, RolecallError
from rolecall_server.generation.types import Decoding, EarlyStopping, FinishReason, Hypothesis
from rolecall_server.tasks.generate import GenerateInput, GenerateOutput
from rolecall_server.transport.convert_generation import to_generate_input, to_generate_response, to_last_message
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.types import ModelInfo, ModelKey, Timing, Truncation

from tests.unit.transport.messages import messages

LIMITS = ServerLimits(max_message_bytes=1 << 20, max_documents=3, max_text_chars=1000, max_stream_inflight=4)
KINDS = (pb.GenerateRequest, pb.GenerateStreamRequest)
INFO = ModelInfo(ModelKey("generator", "3"), "cpu-int8", "abc", "somewhere", "MIT", 512, 64)


def request(kind: Any = pb.GenerateRequest, **fields: Any) -> Any:
    return kind(**({"prompt": pb.FreeText(text="t")} | fields))


@settings(deadline=None)
@given(messages(pb.GenerateRequest.DESCRIPTOR) | messages(pb.GenerateStreamRequest.DESCRIPTOR))
def test_any_request_converts_or_raises_a_domain_error(message: Any) -> None:
    try:
        converted: Any = to_generate_input(message, LIMITS)
    except RolecallError as error:
        converted = error
    assert converted.message if isinstance(converted, RolecallError) else converted.prompt == message.prompt.text


def test_both_kinds_of_request_have_the_same_fields() -> None:
    unary, stream = (
        {field.name: (field.number, field.type, field.is_repeated) for field in kind.DESCRIPTOR.fields}
        for kind in KINDS
    )
    assert unary == stream


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_set_is_left_to_the_defaults(kind: Any) -> None:
    assert to_generate_input(request(kind), LIMITS) == GenerateInput(prompt="t", decoding=Decoding())


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_arrives(kind: Any) -> None:
    decoding = pb.Decoding(
        max_new_tokens=99,
        min_new_tokens=3,
        num_beams=4,
        early_stopping=pb.EARLY_STOPPING_NEVER,
        length_penalty=-0.3,
        repetition_penalty=1.2,
        no_repeat_ngram_size=2,
        do_sample=True,
        temperature=0.7,
        top_k=5,
        top_p=0.9,
        seed=2**64 - 1,
        num_return_sequences=2,
        stop=["\n", "。"],
    )
    message = request(
        kind,
        decoding=decoding,
        truncation=types_pb2.TRUNCATION_REJECT,
        model="m",
        model_version="2",
        language="zh-Hans",
    )
    assert to_generate_input(message, LIMITS) == GenerateInput(
        prompt="t",
        decoding=Decoding(
            min_new_tokens=3,
            num_beams=4,
            early_stopping=EarlyStopping.NEVER,
            length_penalty=-0.3,
            repetition_penalty=1.2,
            no_repeat_ngram_size=2,
            do_sample=True,
            temperature=0.7,
            top_k=5,
            top_p=0.9,
            num_return_sequences=2,
            stop=("\n", "。"),
        ),
        max_new_tokens=99,
        seed=2**64 - 1,
        truncation=Truncation.REJECT,
        model="m",
        model_version="2",
    )


def test_zero_is_not_the_same_as_not_set() -> None:
    zeros = pb.Decoding(max_new_tokens=0, num_beams=0, temperature=0, top_k=0, seed=0)
    converted = to_generate_input(request(decoding=zeros), LIMITS)
    assert (converted.max_new_tokens, converted.seed) == (0, 0)
    assert (converted.decoding.num_beams, converted.decoding.temperature, converted.decoding.top_k) == (0, 0.0, 0)


def test_what_is_no_number_stays_none() -> None:
    absurd = pb.Decoding(temperature=math.nan, top_p=math.inf, length_penalty=-math.inf)
    decoding = to_generate_input(request(decoding=absurd), LIMITS).decoding
    assert math.isnan(decoding.temperature)
    assert (decoding.top_p, decoding.length_penalty) == (math.inf, -math.inf)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"prompt": None}, "task"),
        ({"prompt": pb.FreeText(text="x" * 1001)}, "prompt.text"),
        ({"language": "not a language"}, "language"),
        ({"truncation": 9}, "truncation"),
        ({"decoding": pb.Decoding(early_stopping=9)}, "decoding.early_stopping"),  # type: ignore[arg-type]
        ({"model": "m" * 257}, "model"),
        ({"model_version": "1" * 257}, "model_version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_the_contract_names_its_field(kind: Any, fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        to_generate_input(request(kind, **fields), LIMITS)
    assert caught.value.field == path


TASKS = [field.name for field in pb.GenerateRequest.DESCRIPTOR.oneofs_by_name["task"].fields if field.name != "prompt"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_is_not_built_says_so_by_its_name(kind: Any, task: str) -> None:
    message = kind()
    getattr(message, task).SetInParent()
    with pytest.raises(NotImplementedYetError, match=f"^{task}: .*not built in this version"):
        to_generate_input(message, LIMITS)


def test_redaction_is_never_silently_left_out() -> None:
    with pytest.raises(NotImplementedYetError, match="redact"):
        to_generate_input(request(redact=True), LIMITS)


def output(**fields: Any) -> GenerateOutput:
    candidates = (
        Hypothesis(token_ids=(5, 6, 1), text="好的", score=-0.25, finish_reason=FinishReason.EOS),
        Hypothesis(token_ids=(5, 7), text="ok", score=-0.5, finish_reason=FinishReason.LENGTH),
    )
    timing = Timing(tokenize_seconds=1.0, queue_seconds=2.0, inference_seconds=3.0, batch_size=4)
    return GenerateOutput(candidates, 7, 2, INFO, timing, **fields)


def test_a_response_says_all_that_the_output_does() -> None:
    response = to_generate_response(output(seed=11), request_id="r", total_seconds=6.0)
    assert response == pb.GenerateResponse(
        request_id="r",
        candidates=[
            pb.Candidate(text="好的", score=-0.25, finish_reason=pb.FINISH_REASON_EOS, token_count=3),
            pb.Candidate(text="ok", score=-0.5, finish_reason=pb.FINISH_REASON_LENGTH, token_count=2),
        ],
        usage=pb.GenerateUsage(prompt_tokens=7, truncated_tokens=2, generated_tokens=5),
        model=types_pb2.ModelStamp(name="generator", version="3", precision="cpu-int8", weights_hash="abc"),
        timing=types_pb2.Timing(
            tokenize_seconds=1.0, queue_seconds=2.0, inference_seconds=3.0, total_seconds=6.0, batch_size=4
        ),
        seed=11,
    )


def test_the_last_message_of_a_stream_says_the_same_of_its_one_text() -> None:
    response = to_generate_response(output(), request_id="r", total_seconds=6.0)
    last = to_last_message(output(), request_id="r", total_seconds=6.0)
    assert (last.delta, last.request_id, last.finish_reason, last.score) == ("", "r", pb.FINISH_REASON_EOS, -0.25)
    assert (last.usage, last.model, last.timing) == (response.usage, response.model, response.timing)
    assert not last.HasField("seed")
    assert not response.HasField("seed")


def test_every_reason_to_finish_has_its_name_in_the_contract() -> None:
    for reason in FinishReason:
        hypothesis = Hypothesis(token_ids=(1,), text="", score=0.0, finish_reason=reason)
        last = to_last_message(GenerateOutput((hypothesis,), 1, 0, INFO, Timing()), request_id="", total_seconds=0.0)
        assert pb.FinishReason.Name(last.finish_reason) == f"FINISH_REASON_{reason.name}"
