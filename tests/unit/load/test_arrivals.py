import itertools

import numpy as np
import pytest
from rolecall_load.arrivals import schedule


def test_constant_arrivals_are_evenly_spaced_and_do_not_drift():
    times = list(schedule("constant", 3.0, duration=1000.0))
    assert len(times) == 3000
    assert times[-1] == 2999 / 3.0


def test_constant_parts_interleave_to_the_whole():
    parts = [list(schedule("constant", 10.0, duration=2.0, part=part, parts=3)) for part in range(3)]
    assert sorted(itertools.chain(*parts)) == list(schedule("constant", 10.0, duration=2.0))


def test_poisson_has_the_rate_and_the_spread_of_a_poisson_process():
    times = np.array(list(schedule("poisson", 50.0, duration=400.0, seed=1)))
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert times.max() < 400.0
    assert (gaps >= 0).all()


def test_poisson_is_deterministic_and_its_parts_differ():
    assert list(schedule("poisson", 5.0, duration=10.0, seed=2)) == list(
        schedule("poisson", 5.0, duration=10.0, seed=2)
    )
    first, second = (list(schedule("poisson", 5.0, duration=10.0, seed=2, part=part, parts=2)) for part in range(2))
    assert not set(first) & set(second)


def test_poisson_parts_share_the_rate():
    total = sum(len(list(schedule("poisson", 80.0, duration=100.0, part=part, parts=4))) for part in range(4))
    assert total == pytest.approx(8_000, rel=0.05)


@pytest.mark.parametrize(("rate", "part"), [(0.0, 0), (-1.0, 0), (1.0, 1), (1.0, -1)])
def test_nonsense_is_refused_at_once(rate, part):
    with pytest.raises(ValueError, match=r"rate|part"):
        schedule("constant", rate, duration=1.0, part=part)
