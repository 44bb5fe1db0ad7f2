import numpy as np
import pytest
from rolecall_load.bench.embedders import DirectEncoder, Tokens
from rolecall_load.bench.speed.direct import DirectContender
from rolecall_load.bench.speed.texts import choose_texts, marked, windowed_batches
from rolecall_load.errors import LoadError

from tests.fixtures_models import tiny_repository


def tokens(lengths):
    return Tokens(tuple(np.ones(length, np.int64) for length in lengths))


def test_batches_are_sorted_within_a_window_and_never_across():
    batches = windowed_batches(tokens([5, 1, 4, 2, 9, 8, 7, 6, 3]), 2, window=4)
    assert batches == [[1, 3], [2, 0], [7, 6], [5, 4], [8]]


@pytest.mark.parametrize("size", [1, 3, 32, 100])
def test_every_text_is_in_one_batch(size):
    lengths = np.random.default_rng(0).integers(1, 500, 70).tolist()
    batches = windowed_batches(tokens(lengths), size)
    assert sorted(index for batch in batches for index in batch) == list(range(70))
    assert max(len(batch) for batch in batches) == min(size, 32)


def test_chosen_texts_fit_the_window_and_are_spread(tmp_path):
    encoder = DirectEncoder(tiny_repository(tmp_path), threads=1)
    texts = choose_texts(encoder, 50, mean_tokens=30, seed=1)
    lengths = [len(ids) for ids in encoder.tokenize([marked(text, 7) for text in texts], "document").ids]
    assert len(set(texts)) == 50
    assert max(lengths) < encoder.max_tokens
    assert max(lengths) > 2 * min(lengths)
    assert texts == choose_texts(encoder, 50, mean_tokens=30, seed=1)


def test_texts_that_do_not_fit_are_refused(tmp_path):
    encoder = DirectEncoder(tiny_repository(tmp_path, max_tokens=40), threads=1)
    with pytest.raises(LoadError, match="do not fit"):
        choose_texts(encoder, 50, mean_tokens=100, seed=1)


@pytest.mark.parametrize("runs", [1, 2])
def test_direct_embeddings_come_in_the_order_of_the_texts(tmp_path, runs):
    encoder = DirectEncoder(tiny_repository(tmp_path), threads=1)
    texts = choose_texts(encoder, 70, mean_tokens=20, seed=2)
    contender = DirectContender(encoder, encoder.tokenize(texts, "document"), size=5, runs=runs, threads=1)
    assert np.array_equal(contender.embed(), encoder.embed(texts, "document"))
    assert contender.run(0).seconds > 0
