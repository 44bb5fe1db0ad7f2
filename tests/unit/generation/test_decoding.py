"""Every value that can't be or makes no sense is refused by the path of its field."""

import math
from dataclasses import replace
from typing import Any

import pytest
from rolecall_server.errors import InvalidInputError
from rolecall_server.generation.decoding import MAX_STOP_STRINGS, check
from rolecall_server.generation.stepper import StepperInfo
from rolecall_server.generation.types import Decoding, EarlyStopping

from tests.unit.generation.tables import info

INFO = info(1000, rows=32, max_new_tokens=200)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"max_new_tokens": 99, "num_beams": 4, "early_stopping": EarlyStopping.TRUE},
        {"max_new_tokens": 200, "min_new_tokens": 200},
        {"max_new_tokens": 1},
        {"num_beams": 8, "num_return_sequences": 8, "length_penalty": -2.0},
        {"do_sample": True, "num_return_sequences": 8, "temperature": 0.01, "top_k": 0, "top_p": 0.1},
        {"do_sample": True, "top_k": 1000, "seed": 2**64 - 1},
        {"repetition_penalty": 0.5, "no_repeat_ngram_size": 3},
        {"stop": ("\n", "。", "x" * 256)},
        {"early_stopping": EarlyStopping.NEVER, "length_penalty": 2.0},  # without beams: no effect, as in transformers
    ],
)
def test_what_makes_sense_passes(values: dict[str, Any]) -> None:
    check(Decoding(**values), INFO)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("max_new_tokens", {"max_new_tokens": 0}),
        ("max_new_tokens", {"max_new_tokens": -1}),
        ("max_new_tokens", {"max_new_tokens": 201}),
        ("min_new_tokens", {"min_new_tokens": -1}),
        ("min_new_tokens", {"max_new_tokens": 10, "min_new_tokens": 11}),
        ("num_beams", {"num_beams": 0}),
        ("num_beams", {"num_beams": -4}),
        ("num_beams", {"num_beams": 1000}),
        ("num_return_sequences", {"num_return_sequences": 0}),
        ("num_return_sequences", {"num_return_sequences": 2}),
        ("num_return_sequences", {"num_beams": 2, "num_return_sequences": 3}),
        ("num_return_sequences", {"do_sample": True, "num_return_sequences": 9}),
        ("do_sample", {"do_sample": True, "num_beams": 2}),
        ("length_penalty", {"length_penalty": math.nan}),
        ("length_penalty", {"length_penalty": -math.inf}),
        ("length_penalty", {"length_penalty": 5.5}),
        ("repetition_penalty", {"repetition_penalty": 0.0}),
        ("repetition_penalty", {"repetition_penalty": -1.0}),
        ("repetition_penalty", {"repetition_penalty": 1e-9}),
        ("repetition_penalty", {"repetition_penalty": math.nan}),
        ("repetition_penalty", {"repetition_penalty": 1e9}),
        ("no_repeat_ngram_size", {"no_repeat_ngram_size": -1}),
        ("no_repeat_ngram_size", {"no_repeat_ngram_size": 10_000}),
        ("temperature", {"temperature": 0.0}),
        ("temperature", {"temperature": -0.5}),
        ("temperature", {"temperature": 1e-40}),
        ("temperature", {"temperature": math.inf}),
        ("temperature", {"temperature": 101.0}),
        ("top_k", {"top_k": -1}),
        ("top_k", {"top_k": 1001}),
        ("top_p", {"top_p": 0.0}),
        ("top_p", {"top_p": 1.01}),
        ("top_p", {"top_p": math.nan}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**64}),
        ("stop", {"stop": ("x",) * (MAX_STOP_STRINGS + 1)}),
        ("stop[1]", {"stop": ("x", "")}),
        ("stop[0]", {"stop": ("x" * 257,)}),
        ("stop[2]", {"max_new_tokens": 4, "stop": ("a", "b", "c" * 65)}),
    ],
)
def test_what_does_not_is_refused_by_its_field(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(Decoding(**values), INFO, field="request.decoding")
    assert caught.value.field == f"request.decoding.{field}"


def refused(decoding: Decoding, limits: StepperInfo) -> str:
    with pytest.raises(InvalidInputError) as caught:
        check(decoding, limits)
    return caught.value.field


def test_the_limits_of_the_model_count_where_they_are_lower() -> None:
    assert refused(Decoding(num_beams=5), replace(INFO, rows=4)) == "decoding.num_beams"
    assert refused(Decoding(num_beams=4), replace(INFO, vocabulary=7)) == "decoding.num_beams"
    sampling = Decoding(do_sample=True, num_return_sequences=5)
    assert refused(sampling, replace(INFO, rows=4)) == "decoding.num_return_sequences"


def test_the_default_top_k_passes_on_a_tiny_vocabulary() -> None:
    check(Decoding(do_sample=True), replace(INFO, vocabulary=10))


def test_a_tokenizer_with_long_pieces_allows_longer_stop_strings() -> None:
    decoding = Decoding(max_new_tokens=4, stop=("c" * 65,))
    check(decoding, INFO, longest_piece=17)
    assert refused(decoding, INFO) == "decoding.stop[0]"
