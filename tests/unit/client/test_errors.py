"""From statuses to exceptions, and when an overload is worth another try."""

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from rolecall_client import DeadlineExceededError, NotFoundError, OverloadedError, RolecallError
from rolecall_client.errors import (
    InternalError,
    UnavailableError,
    from_item_status,
    from_rpc,
    from_status,
    invalid,
    make_error,
)
from rolecall_client.retry import overload_delay

from tests.client_server import bad_request, overloaded, status


def test_each_code_has_its_class_and_rare_ones_the_base():
    assert type(make_error(grpc.StatusCode.NOT_FOUND, "m")) is NotFoundError
    assert type(make_error(grpc.StatusCode.DATA_LOSS, "m")) is RolecallError
    assert from_status(status_pb2.Status(code=99, message="m")).code is grpc.StatusCode.UNKNOWN


def test_reason_of_an_error_info():
    info = error_details_pb2.ErrorInfo(reason="SHED_BEFORE_DEADLINE")
    error = from_status(status(grpc.StatusCode.DEADLINE_EXCEEDED, "late", info))
    assert isinstance(error, DeadlineExceededError)
    assert error.reason == "SHED_BEFORE_DEADLINE"


def test_unknown_details_stay_packed():
    packed = any_pb2.Any(type_url="type.googleapis.com/some.Other", value=b"x")
    error = from_status(status_pb2.Status(code=5, message="m", details=[packed]))
    assert error.details == (packed,)
    assert error.field is None
    assert error.retry_after is None


def test_an_item_speaks_of_its_place_in_the_callers_list():
    sent = bad_request("documents[1].job.title", "is empty")
    error = from_item_status(sent, "documents", sent=1, index=1025)
    assert error.index == 1025
    assert error.field == "documents[1025].job.title"
    assert str(error) == "INVALID_ARGUMENT: documents[1025].job.title: is empty"


def test_moving_a_path_leaves_longer_numbers_alone():
    error = from_item_status(bad_request("documents[11].text", "x"), "documents", sent=1, index=7)
    assert error.field == "documents[11].text"


def test_an_item_without_a_field_says_its_index():
    error = from_item_status(status(grpc.StatusCode.INTERNAL, "id 5"), "inputs", sent=0, index=3)
    assert str(error) == "INTERNAL: item 3: id 5"


@pytest.mark.parametrize("seconds", [0.0, 0.3, 12.25])
def test_overload_waits_as_long_as_the_server_says(seconds):
    error = from_status(overloaded(seconds))
    delay = overload_delay(error, 0, allowed=1, remaining=60.0)
    assert delay is not None
    assert seconds <= delay <= 1.5 * seconds


def test_overload_without_a_hint_backs_off():
    error = OverloadedError("full", code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert overload_delay(error, 3, allowed=9, remaining=60.0) >= 1.6


def test_no_retry_where_none_is_allowed_helps_or_fits():
    error = from_status(overloaded(5.0))
    assert overload_delay(error, 0, allowed=0, remaining=60.0) is None
    assert overload_delay(error, 2, allowed=2, remaining=60.0) is None
    assert overload_delay(error, 0, allowed=1, remaining=4.0) is None
    assert overload_delay(invalid("query", "bad"), 0, allowed=9, remaining=60.0) is None


def test_what_the_library_makes_up_for_a_stream_that_was_cut_counts_as_unavailable():
    cut = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Internal error from Core"
    )
    assert isinstance(from_rpc(cut), UnavailableError)
    other = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="id 5")
    assert isinstance(from_rpc(other), InternalError)
