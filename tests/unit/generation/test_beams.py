"""Beam search against transformers' own, on models whose ends, ties of length and bans come often."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from rolecall_server.errors import NonFiniteOutputError
from rolecall_server.generation.beams import BeamResult, BeamSearch
from rolecall_server.generation.choice import RowScores
from rolecall_server.generation.stepper import Need
from rolecall_server.generation.text import TextStream
from rolecall_server.generation.types import Decoding, EarlyStopping, FinishReason

from tests.requirements import require_module
from tests.unit.generation.tables import EOS, START, Table, as_transformers, info, only, scores_of

_EARLY = {EarlyStopping.FALSE: False, EarlyStopping.TRUE: True, EarlyStopping.NEVER: "never"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads for matrices of this size cost ten times the work."""
    torch = require_module("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def search(decoding: Decoding, table: Table, *, text: TextStream | None = None) -> tuple[BeamResult, ...]:
    """Runs a search to its end, as a loop with a stepper would; the rows follow the forks."""
    beams = BeamSearch(decoding, table.info(), text=text)
    rows: list[list[int]] = [[]]
    for _ in range(decoding.max_new_tokens):
        assert beams.rows == len(rows)
        need = beams.need()
        fork = beams.advance([only(table.scores(row), need) for row in rows])
        if fork is None:
            assert beams.done
            return beams.results()
        assert len(fork.parents) == len(fork.tokens) == decoding.num_beams
        rows = [[*rows[parent], token] for parent, token in zip(fork.parents, fork.tokens, strict=True)]
    raise AssertionError("the search goes on past max_new_tokens")


def reference(model: Any, decoding: Decoding) -> list[tuple[list[int], float]]:
    torch = require_module("torch")
    output = model.generate(torch.tensor([[START]]), **arguments(decoding), use_cache=False)
    return [
        (until_end(row[1:]), score)
        for row, score in zip(output.sequences.tolist(), output.sequences_scores.tolist(), strict=True)
    ]


def arguments(decoding: Decoding) -> dict[str, Any]:
    return {
        "do_sample": False,
        "max_new_tokens": decoding.max_new_tokens,
        "min_new_tokens": decoding.min_new_tokens,
        "num_beams": decoding.num_beams,
        "early_stopping": _EARLY[decoding.early_stopping],
        "length_penalty": decoding.length_penalty,
        "repetition_penalty": decoding.repetition_penalty,
        "no_repeat_ngram_size": decoding.no_repeat_ngram_size,
        "num_return_sequences": decoding.num_return_sequences,
        "return_dict_in_generate": True,
        "output_scores": True,
    }


def until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


def combinations(early: EarlyStopping, length_penalty: float) -> list[Decoding]:
    values = itertools.product((2, 4), (0, 4), (1.0, 1.4, 0.8), (0, 2))
    return [
        Decoding(
            max_new_tokens=11,
            min_new_tokens=least,
            num_beams=beams,
            num_return_sequences=beams,
            early_stopping=early,
            length_penalty=length_penalty,
            repetition_penalty=penalty,
            no_repeat_ngram_size=ngram,
        )
        for beams, least, penalty, ngram in values
    ]


@pytest.mark.parametrize("early", EarlyStopping)
@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.5])
def test_results_are_those_of_transformers(early: EarlyStopping, length_penalty: float) -> None:
    torch, transformers = require_module("torch"), require_module("transformers")
    reasons = set()
    for seed, decoding in enumerate(combinations(early, length_penalty)):
        table = Table(seed, vocabulary=30 if seed % 2 else 100, eos=3.0 + seed % 3)
        with torch.no_grad():
            expected = reference(as_transformers(table, torch, transformers), decoding)
        results = search(decoding, table)
        assert [list(result.token_ids) for result in results] == [tokens for tokens, _ in expected], decoding
        assert [result.score for result in results] == pytest.approx(
            [score for _, score in expected], abs=1e-5, rel=1e-6
        )
        reasons.update(result.finish_reason for result in results)
    assert FinishReason.EOS in reasons


def test_early_stopping_matters_on_these_models() -> None:
    """Else the parity above would prove less than it says."""
    differ = 0
    for seed in range(20):
        table = Table(seed, eos=4.0)
        found = {
            search(Decoding(max_new_tokens=11, num_beams=4, early_stopping=early, length_penalty=2.5), table)[
                0
            ].token_ids
            for early in EarlyStopping
        }
        differ += len(found) > 1
    assert differ >= 5


def test_an_encoder_decoder_gives_the_same() -> None:
    torch, transformers = require_module("torch"), require_module("transformers")
    model = _small_t5(torch, transformers)
    ended = 0
    for seed in range(12):
        decoding = Decoding(
            max_new_tokens=12,
            num_beams=4,
            num_return_sequences=3,
            early_stopping=list(EarlyStopping)[seed % 3],
            length_penalty=(0.5, 1.0, 2.0)[seed % 3],
            repetition_penalty=(1.0, 1.3)[seed % 2],
        )
        source = torch.randint(2, 60, (1, 9), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            output = model.generate(source, **arguments(decoding))
            results = _search_model(decoding, _t5_scores(model, source))
        assert [list(result.token_ids) for result in results] == [
            until_end(row[1:]) for row in output.sequences.tolist()
        ]
        assert [result.score for result in results] == pytest.approx(output.sequences_scores.tolist(), abs=1e-4)
        ended += any(result.finish_reason is FinishReason.EOS for result in results)
    assert ended >= 6


def _small_t5(torch: Any, transformers: Any) -> Any:
    torch.manual_seed(5)
    config = transformers.T5Config(
        vocab_size=60,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=START,
        tie_word_embeddings=False,
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Livelier than the flat distribution of a fresh model, with an end that comes.
        model.lm_head.weight.normal_(0.0, 0.4)
        model.lm_head.weight[EOS].mul_(2.0)
    return model


def _t5_scores(model: Any, source: Any) -> Callable[[Sequence[int]], RowScores]:
    torch = require_module("torch")

    def scores(tokens: Sequence[int]) -> RowScores:
        logits = model(input_ids=source, decoder_input_ids=torch.tensor([[START, *tokens]])).logits[0, -1]
        return scores_of(logits.numpy())

    return scores


def _search_model(decoding: Decoding, scores: Callable[[Sequence[int]], RowScores]) -> tuple[BeamResult, ...]:
    beams = BeamSearch(decoding, info(60))
    rows: list[list[int]] = [[]]
    while (fork := beams.advance([scores(row) for row in rows])) is not None:
        rows = [[*rows[parent], token] for parent, token in zip(fork.parents, fork.tokens, strict=True)]
    return beams.results()


def test_what_is_not_asked_for_does_not_matter() -> None:
    """A neighbour in the batch may want all logits; the beams must not see a difference."""
    table = Table(3, vocabulary=150, eos=3.0)
    decoding = Decoding(max_new_tokens=12, num_beams=4, repetition_penalty=1.3, num_return_sequences=4)
    beams = BeamSearch(decoding, table.info())
    rows: list[list[int]] = [[]]
    while (fork := beams.advance([table.scores(row) for row in rows])) is not None:
        rows = [[*rows[parent], token] for parent, token in zip(fork.parents, fork.tokens, strict=True)]
    assert beams.results() == search(decoding, table)


def test_all_logits_are_asked_for_only_when_the_best_ones_are_not_enough() -> None:
    table = Table(1, vocabulary=200)
    assert BeamSearch(Decoding(num_beams=4), table.info()).need() is Need.TOP
    assert BeamSearch(Decoding(num_beams=4, repetition_penalty=1.2), table.info()).need() is Need.TOP
    assert BeamSearch(Decoding(num_beams=4, repetition_penalty=0.9), table.info()).need() is Need.LOGITS


class Letters:
    """Token 2 is "a", 3 is "b"...; the start and the end say nothing."""

    def decode(self, ids: Sequence[int], /) -> str:
        return "".join(chr(ord("a") + token - 2) for token in ids if token > EOS)


def test_a_beam_ends_where_its_text_completes_a_stop_string() -> None:
    table = Table(4, vocabulary=12, eos=-20.0, spread=1.0)
    free = search(Decoding(max_new_tokens=10, num_beams=3), table)
    letters = Letters().decode(free[0].token_ids)
    stop = letters[4:6]
    decoding = Decoding(max_new_tokens=10, num_beams=3, num_return_sequences=3, stop=(stop,))
    results = search(decoding, table, text=TextStream(Letters(), decoding.stop))
    assert FinishReason.STOP in {result.finish_reason for result in results}
    for result in results:
        text = Letters().decode(result.token_ids)
        if result.finish_reason is FinishReason.STOP:
            assert text.index(stop) == len(text) - len(stop)
        else:
            assert stop not in text


def test_rows_that_are_left_over_when_many_continuations_stop_give_no_result() -> None:
    """Two-letter stops on every letter: from some beams hardly a continuation goes on."""
    table = Table(9, vocabulary=10, eos=-3.0)
    stops = tuple(a + b for a in "abcd" for b in "abcdefg")
    decoding = Decoding(max_new_tokens=8, num_beams=4, num_return_sequences=4, stop=stops)
    results = search(decoding, table, text=TextStream(Letters(), stops))
    assert len(results) == 4
    assert len({result.token_ids for result in results}) == 4
    for result in results:
        text = Letters().decode(result.token_ids)
        assert not any(stop in text[:-1] for stop in stops)
        assert np.isfinite(result.score)


def test_a_search_whose_tokens_are_all_banned_comes_to_an_end() -> None:
    table = Table(2, vocabulary=8, eos=-5.0)
    decoding = Decoding(max_new_tokens=40, num_beams=4, num_return_sequences=4, no_repeat_ngram_size=1)
    results = search(decoding, table)
    assert results
    assert all(np.isfinite(result.score) and len(result.token_ids) <= 9 for result in results)


def test_numbers_that_are_none_are_refused() -> None:
    beams = BeamSearch(Decoding(num_beams=2), info(10))
    with pytest.raises(NonFiniteOutputError):
        beams.advance([scores_of(np.full(10, np.nan, dtype=np.float32))])
