"""Admission by count and by tokens."""

import math

import pytest
from rolecall_server.batching.admission import Admission, AdmissionLimits
from rolecall_server.errors import DeadlineError, InvalidInputError, OverloadedError, UnavailableError
from rolecall_server.types import Backlog, Priority

from tests.observers import ListObserver


def opened(*, requests: int = 2, tokens: int = 1000) -> tuple[Admission, ListObserver]:
    observer = ListObserver()
    admission = Admission(AdmissionLimits(requests, tokens), observer)
    admission.open()
    return admission, observer


def check(
    admission: Admission,
    tokens: int,
    *,
    queued: int = 0,
    wait: float = 0.0,
    deadline: float = math.inf,
    priority: Priority = Priority.INTERACTIVE,
) -> None:
    admission.check_tokens(tokens, Backlog(queued, wait), priority=priority, now=0.0, deadline=deadline)


def test_counts_places_and_gives_them_back_on_errors_too() -> None:
    admission, observer = opened(requests=1)
    with pytest.raises(ZeroDivisionError), admission.enter():
        raise ZeroDivisionError
    with admission.enter(), pytest.raises(OverloadedError) as refused, admission.enter():
        pass
    assert refused.value.reason == "requests"
    assert refused.value.retry_after
    assert admission.inflight == 0
    assert observer.shed == ["requests"]


def test_refuses_before_it_opens_and_after_it_closes() -> None:
    admission = Admission(AdmissionLimits(1, 1), ListObserver())
    with pytest.raises(UnavailableError), admission.enter():
        pass
    admission.open()
    with admission.enter():
        admission.close("draining")
    with pytest.raises(UnavailableError, match="draining"), admission.enter():
        pass


def test_tokens_beyond_the_queue_say_when_to_come_back() -> None:
    admission, observer = opened(tokens=1000)
    check(admission, 400, queued=600)
    with pytest.raises(OverloadedError) as refused:
        check(admission, 400, queued=800, wait=12.0)
    assert refused.value.reason == "tokens"
    assert refused.value.retry_after == pytest.approx(2.0)  # a sixth of the 1200 tokens are too many
    assert observer.shed == ["tokens"]


def test_bulk_work_leaves_room_for_interactive_requests() -> None:
    admission, _ = opened(tokens=1000)
    check(admission, 150, queued=600, priority=Priority.BULK)
    with pytest.raises(OverloadedError):
        check(admission, 151, queued=600, priority=Priority.BULK)
    check(admission, 151, queued=600)


def test_a_request_larger_than_the_whole_queue_is_the_callers_mistake() -> None:
    admission, _ = opened(tokens=1000)
    with pytest.raises(InvalidInputError):
        check(admission, 1001)
    with pytest.raises(InvalidInputError):
        check(admission, 751, priority=Priority.BULK)


def test_what_cannot_be_done_by_its_deadline_is_refused_at_once() -> None:
    admission, observer = opened(tokens=10_000)
    check(admission, 100, queued=100, wait=2.2, deadline=2.3)
    with pytest.raises(DeadlineError) as refused:
        check(admission, 100, queued=100, wait=2.2, deadline=2.1)
    assert refused.value.retry_after == pytest.approx(0.1)
    assert observer.shed == ["deadline"]
