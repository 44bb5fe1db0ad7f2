"""Generate and GenerateStream on every backend with a generator. What a text says is the model's business; that it is
one text, however it is asked for, is everyone's."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2

from tests.contract.conftest import generate_request
from tests.servers import details_of, field_of

PROMPTS = [
    "A nurse for a small ward, with two years of experience.",
    "一名护士，在小病房工作，有两年经验。",
    "Backend developer | Python, Java",
    "后端开发工程师 | 负责平台",
    "x",
]
DECODINGS = {
    "greedy": {},
    "beams": {"num_beams": 4, "early_stopping": pb.EARLY_STOPPING_TRUE},
    "sampled": {"do_sample": True, "seed": 5, "temperature": 1.5},
    "unlikely": {"do_sample": True, "seed": 5, "temperature": 50.0, "top_k": 0},
    "no repeats": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3},
}


def refusal(call, *arguments, **options):
    """The code that a call ends with, and the field that its details name."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code().name, field_of(details_of(caught.value))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_text_comes_with_all_there_is_to_say_of_it(writer, prompt):
    answer = writer.generate(prompt, max_new_tokens=40, request_id="g-1")

    (candidate,) = answer.candidates
    assert answer.request_id == "g-1"
    assert candidate.text
    assert candidate.finish_reason in (pb.FINISH_REASON_EOS, pb.FINISH_REASON_LENGTH)
    assert "\ufffd" not in candidate.text[: -1 if candidate.finish_reason == pb.FINISH_REASON_LENGTH else None]
    assert 1 <= candidate.token_count <= 40
    assert answer.usage.generated_tokens == candidate.token_count
    assert 1 <= answer.usage.prompt_tokens <= writer.generator.max_tokens
    assert answer.usage.truncated_tokens == 0
    assert (answer.model.name, answer.model.weights_hash) == ("generator", writer.generator.weights_hash)
    assert answer.timing.total_seconds >= answer.timing.inference_seconds > 0
    assert answer.timing.batch_size >= 1
    assert not answer.HasField("seed")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", DECODINGS)
def test_a_stream_is_the_same_text_piece_by_piece(writer, name, prompt):
    options = {"max_new_tokens": 60, "request_id": "g-2", **DECODINGS[name]}
    (candidate, *_) = writer.generate(prompt, **options).candidates
    *pieces, last = writer.stream(prompt, **options)

    assert "".join(piece.delta for piece in pieces) == candidate.text
    assert all(piece.delta and not piece.HasField("usage") for piece in pieces)
    assert {piece.request_id for piece in (*pieces, last)} == {"g-2"}
    assert (last.delta, last.finish_reason, last.score) == ("", candidate.finish_reason, candidate.score)
    assert last.usage.generated_tokens == candidate.token_count
    assert last.model.name == "generator"
    assert last.HasField("seed") == ("do_sample" in options)


def test_no_piece_holds_half_a_character(writer):
    for number in range(10):
        wild = {"do_sample": True, "temperature": 100.0, "top_k": 0, "seed": number, "max_new_tokens": 60}
        *pieces, _ = writer.stream("资深护士", **wild)
        (candidate,) = writer.generate("资深护士", **wild).candidates
        assert "".join(piece.delta for piece in pieces) == candidate.text


@pytest.mark.parametrize("name", DECODINGS)
def test_a_text_is_the_same_alone_and_among_others(writer, name):
    def write(number):
        prompt, others = PROMPTS[number % len(PROMPTS)], list(DECODINGS)
        options = DECODINGS[name if number < len(PROMPTS) else others[number % len(others)]]
        return [c.text for c in writer.generate(prompt, max_new_tokens=30, **options).candidates]

    alone = [write(number) for number in range(len(PROMPTS))]
    with ThreadPoolExecutor(20) as threads:
        together = list(threads.map(write, range(40)))

    assert together[: len(PROMPTS)] == alone


def test_the_same_seed_gives_the_same_text_and_another_one_does_not(writer):
    wild = {"do_sample": True, "temperature": 20.0, "top_k": 0, "max_new_tokens": 20}

    def text(**options):
        return writer.generate(PROMPTS[0], **wild, **options).candidates[0].text

    assert text(seed=2**64 - 1) == text(seed=2**64 - 1)
    assert len({text(seed=seed) for seed in range(5)}) > 1


def test_a_seed_that_was_drawn_is_told_and_gives_the_text_again(writer):
    wild = {"do_sample": True, "temperature": 20.0, "top_k": 0, "max_new_tokens": 20}
    first, second = (writer.generate(PROMPTS[0], **wild) for _ in range(2))

    assert first.seed != second.seed
    again = writer.generate(PROMPTS[0], **wild, seed=first.seed)
    assert [c.text for c in again.candidates] == [c.text for c in first.candidates]


def test_beams_give_several_texts_best_first(writer):
    candidates = writer.generate(PROMPTS[0], num_beams=4, num_return_sequences=3, max_new_tokens=30).candidates

    scores = [candidate.score for candidate in candidates]
    assert len(candidates) == 3
    assert len({candidate.text for candidate in candidates}) > 1
    assert scores == sorted(scores, reverse=True)
    assert all(score < 0 for score in scores)


def test_sampling_gives_several_texts_and_counts_all_their_tokens(writer):
    wild = {"do_sample": True, "temperature": 20.0, "top_k": 0, "seed": 1}
    answer = writer.generate(PROMPTS[0], num_return_sequences=4, max_new_tokens=10, **wild)

    assert len({candidate.text for candidate in answer.candidates}) > 1
    assert answer.usage.generated_tokens == sum(candidate.token_count for candidate in answer.candidates)


def test_lengths_are_kept_to(writer):
    (short,) = writer.generate(PROMPTS[0], max_new_tokens=3).candidates
    (long,) = writer.generate("x", min_new_tokens=20, max_new_tokens=25).candidates

    assert (short.finish_reason, short.token_count) == (pb.FINISH_REASON_LENGTH, 3)
    assert 20 <= long.token_count <= 25


def test_a_text_ends_before_the_stop_string(writer):
    (whole,) = writer.generate(PROMPTS[0], max_new_tokens=30).candidates
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 3]
    options = {"max_new_tokens": 30, "stop": ["never in it ☃", stop]}
    (cut,) = writer.generate(PROMPTS[0], **options).candidates
    *pieces, last = writer.stream(PROMPTS[0], **options)

    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], pb.FINISH_REASON_STOP)
    assert ("".join(piece.delta for piece in pieces), last.finish_reason) == (cut.text, pb.FINISH_REASON_STOP)


def test_a_long_prompt_is_read_from_its_beginning_or_refused(writer):
    prompt = "A nurse for a small ward. " * writer.generator.max_tokens
    answer = writer.generate(prompt, max_new_tokens=5)
    chosen = writer.generate(prompt, max_new_tokens=5, truncation=types_pb2.TRUNCATION_TRUNCATE)

    assert answer.usage.prompt_tokens == writer.generator.max_tokens
    assert answer.usage.truncated_tokens > 0
    assert (chosen.usage, chosen.candidates) == (answer.usage, answer.candidates)
    reject, chunk = types_pb2.TRUNCATION_REJECT, types_pb2.TRUNCATION_CHUNK
    assert refusal(writer.generate, prompt, truncation=reject) == ("INVALID_ARGUMENT", "prompt.text")
    assert refusal(writer.generate, "x", truncation=chunk) == ("INVALID_ARGUMENT", "truncation")
    assert writer.generate("x", max_new_tokens=5, truncation=reject).candidates


def test_the_generator_is_listed_with_its_limits(writer):
    info = writer.models.GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=30)

    assert writer.generator.family == "t5"
    assert writer.generator.state == model_pb2.MODEL_STATE_READY
    assert info.limits.max_new_tokens == writer.generator.max_new_tokens > 0
    assert info.limits.max_source_tokens == writer.generator.max_tokens > 0
    assert info.limits.max_running_sequences > 0
    assert writer.generator in info.models
    most = writer.generator.max_new_tokens
    assert writer.generate("x", max_new_tokens=most).candidates
    assert refusal(writer.generate, "x", max_new_tokens=most + 1) == (
        "INVALID_ARGUMENT",
        "decoding.max_new_tokens",
    )


def test_a_model_is_used_for_what_it_is_made_for(writer):
    assert refusal(writer.generate, "x", model="encoder") == ("INVALID_ARGUMENT", "model")
    assert refusal(writer.match, "a", ["b"], model="generator") == ("INVALID_ARGUMENT", "model")
    assert writer.generate("x", model="generator", model_version=writer.generator.version).candidates
    assert refusal(writer.generate, "x", model="nobody") == ("NOT_FOUND", "")
    assert refusal(writer.generate, "x", model_version="999") == ("NOT_FOUND", "")


def test_a_stream_is_refused_as_the_unary_call_is(writer):
    for options in ({"num_beams": 1000}, {"prompt": None}, {"model": "nobody"}, {"redact": True}):
        assert refusal(writer.stream, "x", **options) == refusal(writer.generate, "x", **options)
    several = {"num_beams": 2, "num_return_sequences": 2}
    assert refusal(writer.stream, "x", **several) == ("INVALID_ARGUMENT", "decoding.num_return_sequences")


def test_tasks_that_are_not_built_say_so(writer):
    one = types_pb2.Profile(text="a")
    request = generate_request("x", prompt=None, explain_match=pb.ExplainMatch(resume=one, job=one))
    with pytest.raises(grpc.RpcError) as caught:
        writer.generation.Generate(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "explain_match" in caught.value.details()
