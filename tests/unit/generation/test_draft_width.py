import pytest
from rolecall_server.generation.draft_width import DraftWidth


def taught(*, slope, rows=1):
    width = DraftWidth()
    for _ in range(200):
        width.note_step(rows, 1, 1.0)
        width.note_step(rows, 5, 1.0 + 4 * slope)
    return width


def test_without_drafts_a_step_is_plain():
    assert DraftWidth().choose([], 1) == 1


def test_cheap_drafts_that_hold_are_taken_whole():
    width = taught(slope=0.05)
    for _ in range(50):
        width.note_drafts(10, 9)

    assert width.choose([7], 1) == 8


def test_drafts_that_fail_are_left_and_tried_again_later():
    width = taught(slope=0.5)
    width.note_drafts(100, 0)
    chosen = [width.choose([2], 1) for _ in range(1000)]

    assert set(chosen[:50]) == {1}
    assert chosen[-1] == 3


def test_one_row_among_many_is_not_worth_a_wide_step():
    width = DraftWidth()
    assert width.choose([4], 1) > 1
    assert width.choose([4], 16) == 1
    assert width.choose([4] * 16, 16) == 1  # by the cost that is assumed for sixteen


def test_where_wide_steps_cost_little_many_rows_share_one():
    assert taught(slope=0.02, rows=16).choose([4] * 16, 16) == 5
    assert taught(slope=0.02, rows=16).choose([4], 16) == 5
    assert taught(slope=0.2, rows=16).choose([4], 16) == 1


def test_costs_are_those_measured_for_so_many_rows():
    width = taught(slope=0.1, rows=2)

    assert width.cost(2).slope == pytest.approx(0.1, rel=0.01)
    assert width.cost(3).slope == DraftWidth().cost(3).slope


def test_an_interrupted_step_teaches_little():
    width = taught(slope=0.1)
    width.note_step(1, 1, 1000.0)
    width.note_step(1, 3, 1.2)

    assert 0.05 < width.cost(1).slope < 0.15


def test_a_clock_that_stands_teaches_nothing():
    width = DraftWidth()
    width.note_step(1, 1, 0.0)
    width.note_step(1, 4, 0.0)

    assert width.cost(1).slope == DraftWidth().cost(1).slope
