"""Admission by count and by tokens."""

import math

import pytest
from rolecall_server.batching.admission import Admission, AdmissionLimits, Throughput
from rolecall_server.errors import DeadlineError, InvalidInputError, OverloadedError, UnavailableError

from tests.observers import ListObserver


def opened(*, requests: int = 2, tokens: int = 1000) -> tuple[Admission, ListObserver]:
    observer = ListObserver()
    admission = Admission(AdmissionLimits(requests, tokens), observer)
    admission.open()
    return admission, observer


def measured(tokens_per_second: int) -> Throughput:
    throughput = Throughput(parallelism=1)
    throughput.note(tokens_per_second, 1.0)
    return throughput


def check(admission: Admission, tokens: int, *, queued: int = 0, deadline: float = math.inf) -> None:
    admission.check_tokens(tokens, queued=queued, throughput=measured(100), now=0.0, deadline=deadline)


def test_counts_places_and_gives_them_back_on_errors_too() -> None:
    admission, observer = opened(requests=1)
    with pytest.raises(ZeroDivisionError), admission.enter("Match"):
        raise ZeroDivisionError
    with admission.enter("Match"), pytest.raises(OverloadedError) as refused, admission.enter("Match"):
        pass
    assert refused.value.reason == "requests"
    assert refused.value.retry_after
    assert admission.inflight == 0
    assert observer.shed == ["requests"]


def test_refuses_before_it_opens_and_after_it_closes() -> None:
    admission = Admission(AdmissionLimits(1, 1), ListObserver())
    with pytest.raises(UnavailableError), admission.enter("Match"):
        pass
    admission.open()
    with admission.enter("Match"):
        admission.close("draining")
    with pytest.raises(UnavailableError, match="draining"), admission.enter("Match"):
        pass


def test_tokens_beyond_the_queue_say_when_to_come_back() -> None:
    admission, observer = opened(tokens=1000)
    check(admission, 400, queued=600)
    with pytest.raises(OverloadedError) as refused:
        check(admission, 400, queued=800)
    assert refused.value.reason == "tokens"
    assert refused.value.retry_after == pytest.approx(
        2.2
    )  # 200 too many at 100 a second, with a margin
    assert observer.shed == ["tokens"]


def test_a_request_larger_than_the_whole_queue_is_the_callers_mistake() -> None:
    admission, _ = opened(tokens=1000)
    with pytest.raises(InvalidInputError):
        check(admission, 1001)


def test_what_cannot_be_done_by_its_deadline_is_refused_at_once() -> None:
    admission, observer = opened(tokens=10_000)
    check(admission, 100, queued=100, deadline=2.3)
    with pytest.raises(DeadlineError):
        check(admission, 100, queued=100, deadline=2.1)
    assert observer.shed == ["deadline"]


def test_nothing_is_refused_for_time_before_anything_was_measured() -> None:
    admission, _ = opened()
    admission.check_tokens(1000, queued=0, throughput=Throughput(2), now=5.0, deadline=5.001)
