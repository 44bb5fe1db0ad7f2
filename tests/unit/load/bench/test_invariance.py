import math
import random

import numpy as np
from rolecall_load.bench.invariance import InvarianceResult, largest_difference, random_calls


def test_every_text_goes_into_one_call_of_at_most_so_many():
    calls = random_calls(500, most=7, generator=random.Random(0))
    assert sorted(number for call in calls for number in call) == list(range(500))
    assert {len(call) for call in calls[:-1]} == set(range(1, 8))
    assert [number for call in calls for number in call] != list(range(500))


def test_largest_difference_is_exact_in_float32():
    alone = np.ones((2, 3), np.float32)
    company = alone.copy()
    assert largest_difference(alone, company) == 0.0
    company[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    assert largest_difference(alone, company) == 2.0**-23


def test_a_value_that_is_no_number_is_no_match():
    alone = np.array([1.0, np.nan], np.float32)
    assert largest_difference(alone, alone) == math.inf


def test_verdict_takes_the_largest_of_all():
    result = InvarianceResult(1, 0.0, 2e-6, 0.0, 1, (1,))
    assert result.largest == 2e-6
    assert not result.passed()
    assert result.passed(2e-6)
