import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata
from rolecall_load.outcomes import Refusal, read_refusal


def failure(code, *details, metadata=True, raw=None, message=""):
    status = status_pb2.Status(code=code.value[0])
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    body = status.SerializeToString() if raw is None else raw
    trailing = Metadata(("grpc-status-details-bin", body)) if metadata else Metadata()
    return AioRpcError(code, Metadata(), trailing, message)


def test_retry_info_is_found_among_other_details():
    error = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo())
    assert read_refusal(error) == Refusal("RESOURCE_EXHAUSTED", retry_info=True)


def test_reason_of_error_info():
    error = failure(grpc.StatusCode.DEADLINE_EXCEEDED, error_details_pb2.ErrorInfo(reason="SHED_BEFORE_DEADLINE"))
    assert read_refusal(error) == Refusal("DEADLINE_EXCEEDED", reason="SHED_BEFORE_DEADLINE")


def test_a_status_without_details():
    assert read_refusal(failure(grpc.StatusCode.UNAVAILABLE, metadata=False)) == Refusal("UNAVAILABLE")


def test_the_clients_own_timer_is_told_from_the_servers_answer():
    local = failure(grpc.StatusCode.DEADLINE_EXCEEDED, metadata=False, message="Deadline Exceeded")
    assert read_refusal(local) == Refusal("DEADLINE_EXCEEDED", local=True)
    assert not read_refusal(failure(grpc.StatusCode.DEADLINE_EXCEEDED)).local
    assert not read_refusal(failure(grpc.StatusCode.DEADLINE_EXCEEDED, metadata=False, message="too late")).local


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b""])
def test_unreadable_details_count_as_none(raw):
    assert read_refusal(failure(grpc.StatusCode.INTERNAL, raw=raw)) == Refusal("INTERNAL")
