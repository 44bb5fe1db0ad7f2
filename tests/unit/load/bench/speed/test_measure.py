import numpy as np
import pytest
from rolecall_load.bench.speed.measure import Measure, Quality, compare, quality_of, run_rounds, turn_order


class Fixed:
    """Takes what it is told to take in each round."""

    def __init__(self, name, kind, seconds, cores=None):
        self.name, self.kind, self.seconds, self.cores = name, kind, seconds, cores

    def run(self, number):
        return Measure(self.seconds[number], self.cores)


CONTENDERS = [
    Fixed("gateway", "gateway", [2.0, 4.0, 2.0], cores=0.3),
    Fixed("slow", "direct", [4.0, 8.0, 5.0]),
    Fixed("quick", "direct", [1.0, 2.0, 1.5]),
    Fixed("other", "peer", [8.0, 16.0, 4.0], cores=0.1),
]


def result():
    found = run_rounds(CONTENDERS, 3, advance=lambda _: None)
    return compare(CONTENDERS, found, texts=100, quality={"other": Quality(0.9, 0.8)})


def test_every_contender_has_one_turn_a_round_and_the_order_changes():
    orders = [turn_order(4, number) for number in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    heard = []
    run_rounds(CONTENDERS, 2, advance=heard.append)
    assert [line.split(": ")[1] for line in heard[:4]] == ["gateway", "slow", "quick", "other"]
    assert len(heard) == 8


def test_rates_are_medians_with_their_range():
    rate = result().line("gateway").rate
    assert (rate.median, rate.low, rate.high) == (50.0, 25.0, 50.0)


def test_ratios_are_taken_within_each_round():
    """The second round was slow for everybody: no ratio shows it."""
    ratio = result().line("slow").ratio
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 2.5)


def test_baseline_is_the_best_direct_run_never_a_peer():
    assert result().baseline == "quick"
    assert result().line("quick").ratio.median == pytest.approx(0.5)


def test_what_was_not_measured_stays_empty():
    lines = {line.name: line for line in result().lines}
    assert lines["gateway"].client_cores == 0.3
    assert lines["slow"].client_cores is None
    assert lines["slow"].quality is None
    assert lines["other"].quality == Quality(0.9, 0.8)


def test_quality_is_the_cosine_whatever_the_lengths():
    reference = np.array([[1, 0], [0, 2]], np.float32)
    found = quality_of(np.array([[3, 0], [1, 1]], np.float32), reference)
    assert found.mean == pytest.approx((1 + 0.5**0.5) / 2)
    assert found.least == pytest.approx(0.5**0.5)
