"""What tokens cost, learnt from batches."""

import pytest
from rolecall_server.batching.cost import STALE_SECONDS, TRUSTED_TOKENS, Cost


def test_nothing_is_claimed_before_enough_was_measured() -> None:
    cost = Cost()
    assert cost.seconds(1000, now=0.0) == 0.0
    cost.note(8, 0.5, now=1.0)  # a first batch that warmed up
    assert cost.seconds(1000, now=1.0) == 0.0
    cost.note(TRUSTED_TOKENS, 2.0, now=2.0)
    assert cost.seconds(1000, now=2.0) == pytest.approx(1000 * (2.0 + 0.95 * 0.5) / (TRUSTED_TOKENS + 0.95 * 8))


def test_tiny_batches_do_not_outweigh_large_ones() -> None:
    cost = Cost()
    for step in range(10):
        cost.note(512, 0.2, now=step)
        cost.note(8, 0.01, now=step)
    assert cost.seconds(512, now=10.0) == pytest.approx(0.2, rel=0.06)


def test_it_follows_a_change_within_some_tens_of_batches() -> None:
    cost = Cost()
    for step in range(100):
        cost.note(512, 0.1, now=step * 0.1)
    for step in range(60):
        cost.note(512, 0.4, now=10 + step * 0.4)
    assert cost.seconds(512, now=34.0) == pytest.approx(0.4, rel=0.1)


def test_an_old_estimate_is_no_reason_to_refuse_and_starts_anew() -> None:
    cost = Cost()
    cost.note(TRUSTED_TOKENS, 500.0, now=0.0)  # the machine stood still
    assert cost.seconds(100, now=1.0) > 20
    assert cost.seconds(100, now=STALE_SECONDS + 1) == 0.0
    cost.note(TRUSTED_TOKENS, 1.0, now=STALE_SECONDS + 2)
    assert cost.seconds(TRUSTED_TOKENS, now=STALE_SECONDS + 2) == pytest.approx(1.0)
