"""How far texts are from each other: figures that can be counted by hand."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall_export.t5_compare import TIE, agreement, differing, edit_distance, next_tokens
from rolecall_export.t5_reference import Written

TOKENS = st.lists(st.integers(0, 3), max_size=8)


def by_definition(one: Sequence[int], other: Sequence[int]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        exchanged = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, exchanged)

    return distance(len(one), len(other))


@given(TOKENS, TOKENS)
def test_the_edit_distance_is_that_of_its_definition(one: list[int], other: list[int]):
    assert edit_distance(one, other) == by_definition(one, other)


def test_equal_texts_agree_in_everything():
    found = agreement([Written((3, 4, 1)), Written((5, 1))], [(3, 4, 1), (5, 1)])
    assert found == {"equal_tokens": 1, "equal_texts": 1, "edit_distance": 0, "ties": 0, "distinct_texts": 1}


def test_every_place_and_edit_counts():
    # One text has lost its second token, so the places behind it differ; the other got one more.
    found = agreement([Written((3, 4, 5, 1)), Written((6, 1)), Written((6, 1))], [(3, 5, 1), (6, 7, 1), (6, 1)])
    assert found["equal_tokens"] == pytest.approx((1 + 1 + 2) / (4 + 3 + 2))
    assert found["equal_texts"] == pytest.approx(1 / 3)
    assert found["edit_distance"] == pytest.approx((1 / 4 + 1 / 3 + 0) / 3)
    assert found["distinct_texts"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("margin", "equal"), [(TIE / 2, 1.0), (TIE * 2, 0.0)])
def test_where_the_reference_had_no_preference_nothing_is_wrong(margin: float, equal: float):
    reference = Written((3, 4, 5, 1), np.array([9, 9, margin, 9], np.float32))
    found = agreement([reference], [(3, 4, 6, 7, 1)])
    assert found["equal_texts"] == equal
    assert found["ties"] == equal
    assert (found["equal_tokens"] == 1) == bool(equal)


def test_a_tie_excuses_no_earlier_error():
    reference = Written((3, 4, 5, 1), np.array([9, 9, 0, 9], np.float32))
    found = agreement([reference], [(3, 6, 5, 1)])
    assert (found["equal_texts"], found["ties"]) == (0, 0)


def test_a_text_that_goes_on_behind_the_reference_is_another():
    reference = Written((3, 1), np.array([0, 0], np.float32))
    assert agreement([reference], [(3, 1, 4)])["equal_texts"] == 0


def test_differing_texts_are_counted():
    assert differing([(1, 2), (3,), (4,)], [[1, 2], [3, 3], []]) == 2


def test_next_tokens_leave_out_places_without_a_preference():
    margins = np.array([9, 0, 9, 9], np.float32)
    assert next_tokens([Written((3, 4, 5, 1), margins)], [[3, 9, 9, 1]]) == pytest.approx(2 / 3)
    assert next_tokens([Written((3, 4, 5, 1))], [[3, 9, 9, 1]]) == pytest.approx(1 / 2)
