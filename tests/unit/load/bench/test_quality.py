import numpy as np
import pytest
from rolecall_load.bench.quality import evaluate
from rolecall_load.bench.ranking import RankingSet

RANKING = RankingSet("made up", ("a", "b", "c"), (0, 1, 2), ("A", "B", "C"))


class Axes:
    """Each letter has its axis; letters in `wrong` are embedded as the next one when they are queries."""

    def __init__(self, name, wrong=""):
        self.name, self.wrong = name, wrong

    def embed(self, texts, kind):
        moved = [(ord(text.lower()) - ord("a") + (text in self.wrong and kind == "query")) % 3 for text in texts]
        return np.eye(3, dtype=np.float32)[moved]


def test_a_perfect_embedder():
    result = evaluate(RANKING, Axes("server"))
    assert result.found["MRR"].value == 1.0
    assert (result.reference, result.difference, result.cosine_mean) == ({}, {}, None)
    assert result.passed()


def test_difference_is_ours_minus_the_reference():
    result = evaluate(RANKING, Axes("server", wrong="a"), reference=Axes("reference"))
    # The right document of "a" ties with the third at 0, behind the wrong one: rank 3.
    assert result.difference["MRR"].value == pytest.approx((1 / 3 - 1) / 3)
    assert result.difference["R@1"].value == pytest.approx(-1 / 3)
    assert result.cosine_min == 0.0
    assert result.cosine_mean == pytest.approx(5 / 6)
    assert not result.passed(0.005)
    assert result.passed(0.5)


def test_a_gain_passes():
    assert evaluate(RANKING, Axes("server"), reference=Axes("reference", wrong="b")).passed(0.0)
