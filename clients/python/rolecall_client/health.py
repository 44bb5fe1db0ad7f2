"""grpc.health.v1, for both clients."""

from typing import Literal, TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from rolecall_client.errors import RolecallError, make_error

Health: TypeAlias = Literal["serving", "not_serving", "service_unknown", "unknown"]

RECONNECT_DELAY = 0.2
"""Seconds between two tries to watch a server that is not there yet."""

_NAMES: dict[int, Health] = {
    health_pb2.HealthCheckResponse.SERVING: "serving",
    health_pb2.HealthCheckResponse.NOT_SERVING: "not_serving",
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: "service_unknown",
}


def to_health(response: health_pb2.HealthCheckResponse) -> Health:
    return _NAMES.get(response.status, "unknown")


def not_serving_in_time(timeout: float, last: Health | None) -> RolecallError:
    """last: what the server said last, None where it was never reached."""
    state = "it could not be reached" if last is None else f"it said {last}"
    return make_error(grpc.StatusCode.DEADLINE_EXCEEDED, f"the server did not serve within {timeout:g} s: {state}")
