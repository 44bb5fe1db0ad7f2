"""Scores and their order: properties that hold for any embeddings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rolecall_server.tasks.scoring import rank, score
from rolecall_server.types import Metric

NUMBERS = st.floats(-1e3, 1e3, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3)
ROWS = numpy_strategies.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(8)), elements=NUMBERS).filter(
    lambda rows: rows.any(axis=1).all()
)
SCORES = numpy_strategies.arrays(np.float32, st.integers(0, 30), elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]))


@given(ROWS, st.sampled_from(Metric))
def test_a_score_does_not_depend_on_the_other_rows(rows, metric):
    query, together = rows[0], score(rows[0], list(rows), metric)

    for place, row in enumerate(rows):
        assert score(query, [row], metric)[0] == together[place]


@given(ROWS)
def test_cosine_is_within_one_and_full_for_oneself(rows):
    scores = score(rows[0], list(rows), Metric.COSINE)

    assert (np.abs(scores) <= 1).all()
    assert scores[0] == pytest.approx(1, abs=1e-6)


@given(ROWS)
def test_euclidean_is_zero_for_oneself_and_never_above(rows):
    scores = score(rows[0], list(rows), Metric.EUCLIDEAN)

    assert scores[0] == 0
    assert not np.signbit(scores[0])
    assert (scores <= 0).all()


def test_each_metric_is_what_it_is_called():
    query, document = np.array([3, 4], np.float32), np.array([0, 2], np.float32)

    assert score(query, [document], Metric.DOT).tolist() == [8]
    assert score(query, [document], Metric.COSINE).tolist() == [np.float32(0.8)]
    assert score(query, [document], Metric.EUCLIDEAN).tolist() == [-np.sqrt(np.float32(13))]


@pytest.mark.parametrize("metric", Metric)
def test_nothing_to_score_gives_no_scores(metric):
    assert score(np.ones(2, np.float32), [], metric).shape == (0,)


@given(SCORES, st.integers(0, 40), st.none() | st.sampled_from([-1.0, 0.0, 0.3, 0.5, 2.0]))
def test_ranking_keeps_the_best_in_order_with_ties_by_place(scores, top_k, min_score):
    order = rank(scores, top_k=top_k, min_score=min_score)
    expected = sorted(
        (place for place in range(len(scores)) if min_score is None or scores[place] >= min_score),
        key=lambda place: (-scores[place], place),
    )

    assert order == (expected[:top_k] if top_k else expected)
