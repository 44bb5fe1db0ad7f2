"""The status table: every error of the domain has its code and details, everything else an id and silence."""

import logging
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from rolecall_server import errors
from rolecall_server.errors import (
    DeadlineError,
    EngineError,
    InvalidInputError,
    ModelNotFoundError,
    NonFiniteOutputError,
    NotPermittedError,
    OverloadedError,
    RolecallError,
    UnavailableError,
)
from rolecall_server.transport.status import DETAILS_KEY, STATUS_TABLE, RpcStatus, status_of, to_proto

SECRET = "Jane Doe, born 1990"


def details(status: RpcStatus) -> list[Any]:
    return list(status.details)


def test_every_domain_error_is_in_the_table_or_our_own_fault() -> None:
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RolecallError)}
    assert declared - STATUS_TABLE.keys() == {RolecallError, EngineError, NonFiniteOutputError}


def test_an_invalid_field_is_named_in_a_bad_request() -> None:
    status = status_of(InvalidInputError("documents[3].text", "is empty"))
    assert (status.code, status.message) == (grpc.StatusCode.INVALID_ARGUMENT, "documents[3].text: is empty")
    (detail,) = details(status)
    (violation,) = detail.field_violations
    assert (violation.field, violation.description) == ("documents[3].text", "is empty")


def test_an_invalid_request_as_a_whole_has_no_field() -> None:
    assert details(status_of(InvalidInputError("", "too much"))) == []


def test_overload_says_when_to_retry_and_only_a_quota_is_a_quota() -> None:
    queue = status_of(OverloadedError("full", reason="tokens", retry_after=1.5))
    assert queue.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    (retry,) = details(queue)
    assert retry.retry_delay.ToMilliseconds() == 1500
    quota, retry = details(status_of(OverloadedError("over", reason="quota", retry_after=2.0)))
    assert quota.violations[0].description == "over"
    assert retry.retry_delay.ToMilliseconds() == 2000


def test_a_request_shed_before_its_deadline_says_so() -> None:
    status = status_of(DeadlineError("late", retry_after=0.25))
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    info, retry = details(status)
    assert (info.reason, info.domain) == ("SHED_BEFORE_DEADLINE", "rolecall")
    assert retry.retry_delay.ToMilliseconds() == 250
    assert len(details(status_of(DeadlineError("late")))) == 1


def test_unavailable_always_says_when_to_retry() -> None:
    (retry,) = details(status_of(UnavailableError("starting")))
    assert retry.retry_delay.ToMilliseconds() == 1000


def test_a_model_is_named_as_the_resource() -> None:
    (resource,) = details(status_of(ModelNotFoundError("encoder", "7")))
    assert (resource.resource_type, resource.resource_name) == ("model", "encoder/7")


def test_a_subclass_has_the_status_of_its_kind() -> None:
    class StrictError(NotPermittedError):
        pass

    assert status_of(StrictError("no")).code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), NonFiniteOutputError("row 3"), TimeoutError(SECRET)]
)
def test_our_own_fault_goes_out_as_an_id_and_into_the_log_without_foreign_words(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)) as caught:
        raise error
    status = status_of(caught.value)
    (info,) = details(status)
    error_id = info.metadata["error_id"]
    assert (status.code, info.reason, info.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR", "rolecall")
    assert status.message == f"internal error {error_id}"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert error_id in record.getMessage()
    assert type(error).__qualname__ in record.getMessage()
    assert "test_status.py" in record.getMessage()
    assert SECRET not in caplog.text
    assert record.exc_info is None


def test_the_log_names_the_whole_chain_of_causes_and_our_own_messages(caplog: pytest.LogCaptureFixture) -> None:
    try:
        try:
            int(SECRET)
        except ValueError as cause:
            raise EngineError("batch 12 failed") from cause
    except EngineError as error:
        status_of(error)
    assert "batch 12 failed" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert SECRET not in caplog.text


def test_a_chain_of_causes_that_bites_its_tail_ends(caplog: pytest.LogCaptureFixture) -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert status_of(first).code is grpc.StatusCode.INTERNAL


def test_a_long_message_is_cut_to_what_headers_hold() -> None:
    assert len(status_of(NotPermittedError("x" * 100_000)).message) == 1024


def test_item_statuses_and_trailing_metadata_carry_the_same() -> None:
    error = InvalidInputError("query", "is not set")
    ((key, value),) = status_of(error).trailing_metadata()
    assert key == DETAILS_KEY
    sent = status_pb2.Status.FromString(value)
    assert sent == to_proto(error)
    assert sent.code == code_pb2.INVALID_ARGUMENT
    unpacked = error_details_pb2.BadRequest()
    assert sent.details[0].Unpack(unpacked)
    assert unpacked.field_violations[0].field == "query"


def test_a_status_without_details_sends_no_metadata() -> None:
    assert status_of(NotPermittedError("no")).trailing_metadata() == ()
