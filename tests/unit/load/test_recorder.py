import pickle

import pytest
from rolecall_load.outcomes import Answer, Outcome, Refusal, ServerTiming
from rolecall_load.recorder import Histogram, Recorder
from rolecall_load.summary import Percentiles

TIMING = ServerTiming(tokenize=0.001, queue=0.02, inference=0.03, total=0.06, batch_size=8, padded_tokens=900)


def answered(intended=0.0, *, lag=0.0, latency=0.1, failed=0):
    answer = Answer(texts=4, failed=failed, cache_hits=1, tokens=500, timing=TIMING)
    return Outcome(intended, intended + lag, intended + latency, answer=answer)


def refused(kind, *, latency=0.01):
    return Outcome(0.0, 0.0, latency, refusal=kind)


def test_latency_counts_from_the_intended_time():
    recorder = Recorder(deadline=1.0)
    recorder.record(answered(5.0, lag=0.5, latency=0.6))
    summary = recorder.summary(seconds=1.0)
    assert summary.latency_ok.max == pytest.approx(0.6, rel=2e-3)
    assert summary.lag.max == pytest.approx(0.5, rel=2e-3)
    assert summary.late == 1
    assert summary.client_limited


def test_goodput_wants_the_deadline_kept_and_every_item_whole():
    recorder = Recorder(deadline=0.5)
    for outcome in (answered(latency=0.4), answered(latency=0.6), answered(latency=0.1, failed=1)):
        recorder.record(outcome)
    summary = recorder.summary(seconds=2.0)
    assert (summary.ok, summary.good, summary.failed_items) == (3, 1, 1)
    assert summary.throughput == 1.5
    assert summary.goodput == 0.5


def test_refusals_are_counted_by_kind_and_timed_apart():
    recorder = Recorder(deadline=1.0)
    full = Refusal("RESOURCE_EXHAUSTED", retry_info=True)
    for kind in (full, full, Refusal("RESOURCE_EXHAUSTED"), Refusal("UNAVAILABLE")):
        recorder.record(refused(kind))
    recorder.record(answered(latency=0.9))
    summary = recorder.summary(seconds=1.0)
    assert {each.kind: each.count for each in summary.refusals}[full] == 2
    assert summary.by_code() == {"OK": 1, "RESOURCE_EXHAUSTED": 3, "UNAVAILABLE": 1}
    assert summary.latency_refused.max < 0.02 < summary.latency_ok.p50
    assert summary.sent == 5


def test_server_timing_and_sums():
    recorder = Recorder(deadline=1.0)
    recorder.record(answered())
    recorder.record(answered())
    summary = recorder.summary(seconds=1.0)
    assert (summary.texts, summary.tokens, summary.cache_hits) == (8, 1000, 2)
    assert summary.server["inference"].p50 == pytest.approx(0.03, rel=2e-3)
    assert summary.server["batch_size"].mean == pytest.approx(8)


def test_recorders_of_two_processes_add_up():
    one, two = Recorder(deadline=1.0), Recorder(deadline=1.0)
    for latency in (0.1, 0.2):
        one.record(answered(latency=latency))
    two.record(answered(latency=0.7))
    two.record(refused(Refusal("UNAVAILABLE")))
    one.cpu_seconds, two.cpu_seconds = 0.25, 0.75
    one.add(pickle.loads(pickle.dumps(two)))
    summary = one.summary(seconds=2.0)
    assert (summary.sent, summary.ok) == (4, 3)
    assert summary.latency_ok.max == pytest.approx(0.7, rel=2e-3)
    assert summary.latency_ok.count == 3
    assert summary.client_cores == 0.5
    assert summary.refusals[0].count == 1


def test_empty_window():
    summary = Recorder(deadline=1.0).summary(seconds=1.0)
    assert summary.latency_ok == Percentiles()
    assert summary.goodput == 0.0
    assert summary.by_code() == {}


def test_histogram_keeps_what_is_out_of_range():
    histogram = Histogram()
    for value in (0.0, -1.0, 1e9):
        histogram.record(value)
    found = histogram.percentiles()
    assert found.count == 3
    assert found.max == pytest.approx(3600, rel=1e-3)
