"""Greedy and sampled choices against transformers' LogitsProcessor classes; and what they may not depend on."""

import itertools
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rolecall_server.errors import NonFiniteOutputError
from rolecall_server.generation.choice import Chooser, row_scores
from rolecall_server.generation.processors import Processors
from rolecall_server.generation.sampling import distribution, draw, uniform
from rolecall_server.generation.stepper import TOP, Need, StepOutput
from rolecall_server.generation.types import Decoding

from tests.requirements import require_module
from tests.unit.generation.tables import EOS, START, Table, as_transformers, info, only, scores_of

VOCABULARY = 300
INFO = info(VOCABULARY)


def logits_of(seed: int, *, vocabulary: int = VOCABULARY, ties: bool = False) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(0.0, 3.0, vocabulary).astype(np.float32)
    return np.round(values) if ties else values


def tokens_of(seed: int, length: int, *, kinds: int = 6) -> list[int]:
    """Few kinds of tokens, so that they repeat."""
    return [int(token) for token in np.random.default_rng(seed + 1000).integers(EOS, EOS + kinds, length)]


def reference(decoding: Decoding, transformers: ModuleType, *, sampling: bool) -> Any:
    """transformers' processors in the order in which it puts them."""
    library = transformers.generation.logits_process
    processors = library.LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        processors.append(library.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.no_repeat_ngram_size:
        processors.append(library.NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram_size))
    if decoding.min_new_tokens:
        processors.append(library.MinNewTokensLengthLogitsProcessor(1, decoding.min_new_tokens, EOS))
    if sampling and decoding.temperature != 1.0:
        processors.append(library.TemperatureLogitsWarper(decoding.temperature))
    if sampling and decoding.top_k:
        processors.append(library.TopKLogitsWarper(decoding.top_k))
    if sampling and decoding.top_p < 1.0:
        processors.append(library.TopPLogitsWarper(decoding.top_p))
    return processors


def run_reference(processors: Any, tokens: list[int], logits: NDArray[np.float32]) -> Any:
    torch = require_module("torch")
    return processors(torch.tensor([[START, *tokens]]), torch.from_numpy(logits.copy())[None])[0]


@pytest.mark.parametrize("ngram", [0, 1, 2, 3])
@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.8])
def test_processors_are_those_of_transformers(ngram: int, penalty: float) -> None:
    transformers = require_module("transformers")
    decoding = Decoding(min_new_tokens=6, repetition_penalty=penalty, no_repeat_ngram_size=ngram)
    ours, theirs = Processors(decoding, INFO), reference(decoding, transformers, sampling=False)
    changed = 0
    for length in range(16):
        logits, tokens = logits_of(length), tokens_of(length, length)
        expected = run_reference(theirs, tokens, logits).numpy()
        np.testing.assert_array_equal(ours.apply(logits, None, tokens), expected)
        part = np.random.default_rng(length).permutation(VOCABULARY)[:TOP]
        np.testing.assert_array_equal(ours.apply(logits[part], part, tokens), expected[part])
        changed += bool((logits != expected).any())
    assert changed >= 6


def test_greedy_choice_is_exact_with_what_it_asks_for() -> None:
    transformers = require_module("transformers")
    levels = set()
    for seed, (ngram, penalty, length) in enumerate(
        itertools.product((0, 1, 2), (0.7, 1.0, 1.8), (0, 3, 12, 70, 150)),
    ):
        decoding = Decoding(min_new_tokens=5, repetition_penalty=penalty, no_repeat_ngram_size=ngram)
        tokens = tokens_of(seed, length, kinds=VOCABULARY - EOS if length > 12 else 6)
        # What was written is also what the model wants most: processors then decide.
        logits = logits_of(seed)
        logits[tokens] += 9.0
        logits[EOS] += 9.0
        chooser = Chooser(decoding, INFO)
        need = chooser.need(tokens)
        expected = int(run_reference(reference(decoding, transformers, sampling=False), tokens, logits).argmax())
        assert chooser.choose(only(scores_of(logits), need), tokens) == expected
        assert chooser.choose(scores_of(logits), tokens) == expected
        levels.add(need)
    assert levels == set(Need)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("top_k", [0, 1, 20, 64, 120])
@pytest.mark.parametrize("top_p", [0.05, 0.8, 1.0])
def test_distributions_are_those_of_transformers(ties: bool, top_k: int, top_p: float) -> None:
    transformers = require_module("transformers")
    for seed, temperature in itertools.product(range(4), (0.4, 1.0, 2.5)):
        decoding = Decoding(do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p)
        logits = logits_of(seed, ties=ties)
        theirs = run_reference(reference(decoding, transformers, sampling=True), [], logits).softmax(-1).numpy()
        ids, weights = distribution(logits, None, decoding)
        ours = np.zeros(VOCABULARY)
        ours[ids] = weights / weights.sum()
        if not ties:
            np.testing.assert_array_equal(np.flatnonzero(theirs), np.sort(ids))
        # Which of equal tokens the edge of top_p leaves is up to their sort; how many, and how likely, is not.
        np.testing.assert_allclose(*((np.sort(x) for x in (ours, theirs)) if ties else (ours, theirs)), rtol=1e-4)


def test_the_best_candidates_alone_give_the_same_distribution() -> None:
    for seed in range(10):
        decoding = Decoding(do_sample=True, temperature=1.7, top_k=40, top_p=0.9)
        logits = logits_of(seed)
        scores = scores_of(logits)
        assert scores.top_logits is not None
        some, all_ = distribution(scores.top_logits, scores.top_ids, decoding), distribution(logits, None, decoding)
        np.testing.assert_array_equal(some[0], all_[0])
        np.testing.assert_array_equal(some[1], all_[1])


def test_draws_follow_the_distribution() -> None:
    logits = logits_of(3)
    decoding = Decoding(do_sample=True, top_k=8, seed=11)
    ids, weights = distribution(logits, None, decoding)
    count = 4000
    drawn = Counter(draw(ids, weights, uniform(11, row=0, position=at)) for at in range(count))
    expected = dict(zip(ids.tolist(), weights / weights.sum() * count, strict=True))
    chi_square = sum((drawn[token] - mean) ** 2 / mean for token, mean in expected.items())
    # 7 degrees of freedom: above 29 once in 10,000 times, and the numbers are fixed.
    assert chi_square < 29
    assert set(drawn) <= set(expected)


def test_a_draw_at_either_end_is_a_token_that_may_come() -> None:
    ids, weights = np.array([4, 9, 2]), np.array([0.0, 0.3, 0.7], dtype=np.float32)
    assert draw(ids, weights, 0.0) == 9
    assert draw(ids, weights, 1.0 - 2.0**-53) == 2


def test_random_numbers_depend_on_seed_row_and_position_alone() -> None:
    numbers = {
        (seed, row, at): uniform(seed, row=row, position=at)
        for seed, row, at in itertools.product((0, 1, 2**64 - 1), range(3), range(50))
    }
    assert len(set(numbers.values())) == len(numbers)
    assert all(0.0 <= number < 1.0 for number in numbers.values())
    again = {key: uniform(key[0], row=key[1], position=key[2]) for key in reversed(numbers)}
    assert again == numbers
    assert 0.4 < float(np.mean(list(numbers.values()))) < 0.6


def write(decoding: Decoding, table: Table, *, row: int = 0, asked: bool = True) -> list[int]:
    chooser, tokens = Chooser(decoding, table.info(), row=row), list[int]()
    while len(tokens) < decoding.max_new_tokens and (not tokens or tokens[-1] != EOS):
        scores = table.scores(tokens)
        tokens.append(chooser.choose(only(scores, chooser.need(tokens)) if asked else scores, tokens))
    return tokens


def test_the_same_seed_gives_the_same_text_whatever_the_step_gives_besides() -> None:
    table = Table(5, vocabulary=200, eos=1.0)
    for values in ({}, {"top_k": 0, "top_p": 0.9}, {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 1}):
        decoding = Decoding(max_new_tokens=40, do_sample=True, seed=7, **values)
        assert write(decoding, table) == write(decoding, table, asked=False)
    texts = {
        tuple(write(Decoding(max_new_tokens=12, do_sample=True, seed=seed), table, row=row))
        for seed, row in itertools.product(range(4), range(4))
    }
    assert len(texts) == 16


@pytest.mark.parametrize("values", [{}, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 4}])
def test_greedy_texts_are_those_of_generate(values: dict[str, Any]) -> None:
    torch, transformers = require_module("torch"), require_module("transformers")
    for seed in range(8):
        table = Table(seed, vocabulary=90, eos=3.0)
        decoding = Decoding(max_new_tokens=14, **values)
        with torch.no_grad():
            output = as_transformers(table, torch, transformers).generate(
                torch.tensor([[START]]), max_new_tokens=14, do_sample=False, use_cache=False, **values
            )
        assert write(decoding, table) == output[0, 1:].tolist()


def test_the_length_limits_hold() -> None:
    eager = Table(2, eos=60.0)
    assert write(Decoding(max_new_tokens=9), eager) == [EOS]
    tokens = write(Decoding(max_new_tokens=9, min_new_tokens=3), eager)
    assert len(tokens) == 4
    assert tokens[-1] == EOS
    assert EOS not in write(Decoding(max_new_tokens=9, min_new_tokens=9), eager)


def test_a_vocabulary_that_is_used_up_ends_the_text() -> None:
    table = Table(8, vocabulary=10, eos=-50.0)
    for values in ({}, {"do_sample": True}):
        tokens = write(Decoding(max_new_tokens=30, no_repeat_ngram_size=1, **values), table)
        assert tokens[-1] == EOS
        assert len(tokens) <= 10


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    logits = logits_of(1)
    logits[5] = bad
    with np.errstate(invalid="ignore"):
        scores = scores_of(logits)
    for decoding in (Decoding(do_sample=True), Decoding(do_sample=True, top_k=0), Decoding(min_new_tokens=3)):
        with pytest.raises(NonFiniteOutputError):
            Chooser(decoding, INFO).choose(scores, [])


def test_a_row_gets_its_own_part_of_a_step() -> None:
    shape = (3, 2)
    output = StepOutput(
        best=np.arange(6).reshape(shape),
        top_ids=np.arange(24).reshape(*shape, 4),
        top_logits=np.arange(24, dtype=np.float32).reshape(*shape, 4),
        log_sum_exp=np.arange(6, dtype=np.float32).reshape(shape),
        logits=np.arange(60, dtype=np.float32).reshape(*shape, 10),
    )
    part = row_scores(output, 2, 1)
    assert (part.best, part.log_sum_exp) == (5, 5.0)
    assert part.top_ids is not None
    assert part.top_ids.tolist() == [20, 21, 22, 23]
    assert part.logits is not None
    assert part.logits.tolist() == list(range(50, 60))
    assert row_scores(StepOutput(best=np.array([[4]])), 0).logits is None
