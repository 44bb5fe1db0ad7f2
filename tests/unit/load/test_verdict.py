import pytest
from rolecall_load.outcomes import Refusal
from rolecall_load.recorder import Recorder
from rolecall_load.verdict import judge_overload, passed, right_refusal

from tests.unit.load.test_recorder import answered, refused

FULL = Refusal("RESOURCE_EXHAUSTED", retry_info=True)


def summary_of(*outcomes):
    recorder = Recorder(deadline=1.0)
    for outcome in outcomes:
        recorder.record(outcome)
    return recorder.summary(seconds=1.0)


def verdicts(summary, *, capacity=10.0, afterwards=10.0, queue_tokens=100.0, queue_limit=200, growth=0.01):
    checks = judge_overload(
        summary,
        capacity=capacity,
        afterwards=afterwards,
        queue_tokens=queue_tokens,
        queue_limit=queue_limit,
        memory_growth=growth,
    )
    return {check.name: check.passed for check in checks}, passed(checks)


def test_a_server_that_does_right_passes():
    names, good = verdicts(summary_of(*[answered()] * 9, refused(FULL)))
    assert good
    assert set(names.values()) == {True}


def test_goodput_below_nine_tenths_fails():
    names, good = verdicts(summary_of(*[answered()] * 8))
    assert not good
    assert names["goodput"] is False


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        (FULL, True),
        (Refusal("RESOURCE_EXHAUSTED"), False),
        (Refusal("DEADLINE_EXCEEDED", reason="SHED_BEFORE_DEADLINE"), True),
        (Refusal("DEADLINE_EXCEEDED"), False),
        (Refusal("UNAVAILABLE", retry_info=True), False),
        (Refusal("UNKNOWN"), False),
    ],
)
def test_which_refusals_are_right(kind, right):
    assert right_refusal(kind) is right
    names, good = verdicts(summary_of(*[answered()] * 10, refused(kind)))
    assert names["refusals"] is right
    assert good is right


def test_queue_above_its_limit_fails_and_an_unknown_one_is_not_decided():
    summary = summary_of(*[answered()] * 10)
    assert verdicts(summary, queue_tokens=201.0)[0]["queue"] is False
    assert verdicts(summary, queue_tokens=200.0)[0]["queue"] is True
    names, good = verdicts(summary, queue_tokens=None)
    assert names["queue"] is None
    assert not good, "what was not measured is not shown"
    assert verdicts(summary, queue_limit=0)[0]["queue"] is None


def test_items_that_failed_inside_answers_fail():
    assert verdicts(summary_of(*[answered()] * 10, answered(failed=2)))[0]["items"] is False


def test_a_client_that_lags_decides_nothing():
    assert verdicts(summary_of(*[answered(lag=0.2)] * 10))[0]["client"] is None


@pytest.mark.parametrize(("expired", "right"), [(1, True), (2, False)])
def test_what_neither_came_nor_was_refused_in_time_is_one_in_a_hundred_at_most(expired, right):
    local = refused(Refusal("DEADLINE_EXCEEDED", local=True))
    names, good = verdicts(summary_of(*[answered()] * (100 - expired), *[local] * expired))
    assert names["expired"] is right
    assert names["refusals"] is True
    assert good is right


def test_a_slower_server_afterwards_is_told_but_decides_nothing():
    names, good = verdicts(summary_of(*[answered()] * 10), afterwards=8.0)
    assert names["recovery"] is True
    assert good


@pytest.mark.parametrize(("growth", "right"), [(0.0, True), (-0.02, True), (0.06, False), (None, None)])
def test_memory_has_to_stay_flat_and_to_be_measured(growth, right):
    names, good = verdicts(summary_of(*[answered()] * 10), growth=growth)
    assert names["memory"] is right
    assert good is (right is True)


def test_no_capacity_fails():
    assert not verdicts(summary_of(), capacity=0.0)[1]
