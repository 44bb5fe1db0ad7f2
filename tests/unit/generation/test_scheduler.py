import math

import pytest
from rolecall_server.generation.pace import STALE_SECONDS, TRUSTED_REQUESTS
from rolecall_server.generation.scheduler import BULK_SHARE, IDLE_FACTOR, GenerationScheduler, SchedulerLimits
from rolecall_server.types import Priority

from tests.unit.generation.machine import request

BULK = Priority.BULK


def scheduler(*, lanes=1, rows=4, prefill_tokens=1000):
    made = GenerationScheduler(SchedulerLimits(rows, prefill_tokens))
    for lane in range(lanes):
        made.add_lane(lane)
    return made


def push(made, *numbers, text="hello", **given):
    for number in numbers:
        made.push(request(number, text, **given))


def ids(admitted):
    return [queued.request.id for queued in admitted]


def sampled(rows):
    return {"do_sample": True, "num_return_sequences": rows}


def test_requests_join_in_their_order_as_far_as_rows_are_free():
    made = scheduler(rows=2)
    push(made, 1, 2, 3)
    assert ids(made.admit(0, 0.0)) == [1, 2]
    assert made.admit(0, 0.0) == []

    made.ended(2, 1.0)

    assert ids(made.admit(0, 1.0)) == [3]
    assert made.rows == 2


def test_interactive_requests_go_first_and_bulk_has_its_share():
    made = scheduler(rows=100)
    push(made, *range(100, 110), priority=BULK)
    push(made, *range(10))

    order = ids(made.admit(0, 0.0))

    assert order[: 2 * BULK_SHARE] == [0, 1, 2, 100, 3, 4, 5, 101]
    assert order[-7:] == [103, 104, 105, 106, 107, 108, 109]


def test_bulk_requests_leave_rows_for_interactive_ones():
    made = scheduler(rows=8)
    push(made, *range(100, 110), priority=BULK)
    assert len(made.admit(0, 0.0)) == 6

    push(made, 1, 2)

    assert ids(made.admit(0, 0.0)) == [1, 2]


def test_a_bulk_request_as_large_as_a_lane_runs_all_the_same():
    made = scheduler(rows=4)
    push(made, 1, priority=BULK, **sampled(4))
    assert ids(made.admit(0, 0.0)) == [1]


def test_a_request_takes_all_its_rows_in_one_lane_or_none():
    made = scheduler(lanes=2, rows=4)
    push(made, 1, 2, **sampled(3))
    push(made, 3, **sampled(2))
    assert [ids(made.admit(lane, 0.0)) for lane in (0, 1)] == [[1], [2]]

    assert made.admit(0, 0.0) == made.admit(1, 0.0) == []
    made.ended(2, 1.0)

    assert made.admit(0, 1.0) == []
    assert ids(made.admit(1, 1.0)) == [3]


def test_a_large_request_is_not_passed_by_small_ones_for_ever():
    made = scheduler(rows=4)
    push(made, 1, 2, 3)
    made.admit(0, 0.0)
    push(made, 4, **sampled(4))
    push(made, 5)
    assert made.admit(0, 0.0) == []

    for number in (1, 2, 3):
        made.ended(number, 1.0)

    assert ids(made.admit(0, 1.0)) == [4]


def test_what_needs_more_rows_than_a_lane_has_is_refused():
    with pytest.raises(ValueError, match="5 rows"):
        push(scheduler(rows=4), 1, **sampled(5))


def test_the_emptier_lane_takes_a_request_whoever_asks_first():
    made = scheduler(lanes=2)
    push(made, 1)
    made.admit(0, 0.0)

    push(made, 2)

    assert made.admit(0, 0.0) == []
    assert ids(made.admit(1, 0.0)) == [2]


def test_sources_of_like_length_keep_company():
    made = scheduler(lanes=2, rows=8, prefill_tokens=10_000)
    push(made, 1, text="x" * 2000)
    push(made, 2)
    assert [ids(made.admit(lane, 0.0)) for lane in (0, 1)] == [[1], [2]]

    push(made, 3, text="y" * 2000)
    push(made, 4)

    assert ids(made.admit(0, 0.0)) == [3]
    assert ids(made.admit(1, 0.0)) == [4]


def test_one_prefill_reads_like_lengths_only():
    made = scheduler(rows=8)
    push(made, 1, 3)
    push(made, 2, text="x" * 100)

    assert ids(made.admit(0, 0.0)) == [1, 3]
    assert ids(made.admit(0, 0.0)) == [2]


def test_a_prefill_is_bounded_and_more_so_while_streams_run():
    made = scheduler(rows=20, prefill_tokens=20)
    push(made, *range(20), text="x" * 8)  # 10 tokens each
    assert len(made.admit(0, 0.0)) == 2 * IDLE_FACTOR

    assert len(made.admit(0, 0.0)) == 2


def test_a_source_longer_than_the_budget_is_read_alone():
    made = scheduler(prefill_tokens=5)
    push(made, 1, 2, text="x" * 100)
    assert ids(made.admit(0, 0.0)) == [1]
    assert ids(made.admit(0, 0.0)) == [2]


def test_what_waits_past_its_deadline_leaves():
    made = scheduler(rows=1)
    push(made, 1, 2, deadline=5.0)
    push(made, 3)
    made.admit(0, 0.0)
    assert made.expire(4.9) == []

    assert ids(made.expire(5.0)) == [2]

    made.ended(1, 6.0)
    assert ids(made.admit(0, 6.0)) == [3]


def test_what_was_cancelled_while_it_waited_never_joins():
    made = scheduler()
    push(made, 1, 2)
    assert made.remove(1)
    assert not made.remove(1)

    assert ids(made.admit(0, 0.0)) == [2]
    assert not made.remove(2)


def test_what_ran_for_nothing_goes_first():
    made = scheduler(rows=1)
    push(made, 1, 2)
    (first,) = made.admit(0, 0.0)
    made.requeue(first)
    assert made.rows == 0

    assert ids(made.admit(0, 0.0)) == [1]


def test_a_lane_that_is_removed_takes_its_requests_along():
    made = scheduler(lanes=2)
    push(made, 1, 2)
    made.admit(0, 0.0), made.admit(1, 0.0)

    assert ids(made.remove_lane(0)) == [1]

    assert made.lane_of(1) is None
    assert made.lane_of(2) == 1
    push(made, 3)
    assert ids(made.admit(1, 0.0)) == [3]


def test_nothing_is_kept_of_what_has_ended():
    made = scheduler(rows=2)
    push(made, *range(10), deadline=9.0)
    made.admit(0, 0.0)
    for number in range(10):
        made.remove(number)
        made.ended(number, 1.0)

    assert (made.queued_tokens, made.rows, made.running) == (0, 0, 0)
    assert [made.queue_size(priority) for priority in Priority] == [0, 0]
    assert made._waiting._deadlines == []


def test_deadlines_of_the_gone_do_not_pile_up_behind_one_that_waits():
    made = scheduler(rows=1)
    push(made, 0)
    for number in range(1, 1000):
        push(made, number)
        made.remove(number)

    assert len(made._waiting._deadlines) < 100


class TestBacklog:
    def run_some(self, made, *, count=TRUSTED_REQUESTS, seconds=10.0):
        for number in range(count):
            made.push(request(1000 + number, "12345678", max_new_tokens=90))  # 100 tokens
            made.admit(0, 0.0)
            made.ended(1000 + number, seconds, first_token_seconds=0.5)

    def test_nothing_is_known_at_first(self):
        made = scheduler(rows=1)
        push(made, 1, 2)
        assert made.backlog(Priority.INTERACTIVE, 0.0).wait_seconds == 0.0

    def test_the_wait_follows_from_what_ended(self):
        made = scheduler(rows=2)
        self.run_some(made)
        push(made, 1, 2, text="12345678", max_new_tokens=90)

        backlog = made.backlog(Priority.INTERACTIVE, 11.0)

        # 200 tokens, on two rows that take 0.1 s for each.
        assert backlog.queued_tokens == 200
        assert backlog.wait_seconds == pytest.approx(1.1 * 10.0)
        assert backlog.batch_seconds == pytest.approx(1.1 * 0.5)

    def test_interactive_requests_pass_what_is_bulk(self):
        made = scheduler(rows=1)
        self.run_some(made)
        push(made, 1, text="12345678", max_new_tokens=90, priority=BULK)

        assert made.backlog(Priority.INTERACTIVE, 11.0).wait_seconds == 0.0
        assert made.backlog(BULK, 11.0).wait_seconds == pytest.approx(11.0)

    def test_an_old_estimate_refuses_nobody(self):
        made = scheduler(rows=1)
        self.run_some(made)
        push(made, 1)

        assert made.backlog(Priority.INTERACTIVE, 11.0 + STALE_SECONDS).wait_seconds == 0.0

    def test_what_never_gave_a_token_teaches_nothing(self):
        made = scheduler(rows=1)
        for number in range(2 * TRUSTED_REQUESTS):
            push(made, number)
            made.admit(0, 0.0)
            made.ended(number, 10.0)
        push(made, 1)

        assert made.backlog(Priority.INTERACTIVE, 11.0).wait_seconds == 0.0
        assert math.isfinite(made.backlog(BULK, 11.0).wait_seconds)
