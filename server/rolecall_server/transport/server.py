"""The gRPC server: which services it offers, on which port, and how it stops without losing an answer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from rolecall_server.transport.handlers import Service, Wrapper, service_of
from rolecall_server.transport.health import HealthServicer
from rolecall_server.transport.hooks import RpcObserver, UnobservedRpcs
from rolecall_server.transport.inflight import InflightCalls
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.transport.reflection import ReflectionServicer

FLUSH_SECONDS = 1.0
"""How long a stop waits for answers on their way out."""

QUIET_SECONDS, NEVER_QUIET_SECONDS = 0.1, 2.0
"""After the last answer a stop goes on refusing for so long, more than a round trip, so that no client has an RPC on
its way when the connections close; clients that never pause are cut after the longer time."""

MAX_CONNECTION_AGE_SECONDS, MAX_CONNECTION_AGE_GRACE_SECONDS = 600.0, 3600.0
"""After the first (gRPC adds 10 % of jitter, either way) clients are asked to connect anew, so that balancers of
connections spread them over servers that came later; after the second what still runs on such a connection is cut, so
it is long enough for any stream."""

logger = logging.getLogger(__name__)


class BindError(Exception):
    """The server can't have its address."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """port: 0 for any free one. limits: of these, the size of a message either way and the default deadline are
    enforced here."""

    host: str
    port: int
    limits: ServerLimits

    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"

    def channel_options(self) -> list[tuple[str, int]]:
        """No limit on concurrent RPCs here: admission is the gate's."""
        return [
            ("grpc.max_receive_message_length", self.limits.max_message_bytes),
            ("grpc.max_send_message_length", self.limits.max_message_bytes),
            # A second server on the port is told so, rather than given half of the connections.
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", round(MAX_CONNECTION_AGE_SECONDS * 1000)),
            ("grpc.max_connection_age_grace_ms", round(MAX_CONNECTION_AGE_GRACE_SECONDS * 1000)),
            # Find clients that vanished without a word, and let clients find out the same about us every ten seconds.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # Only uncompressed messages: a compressed one is unpacked in full before its size is looked at.
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ]


class GrpcServer:
    """Make it inside a running event loop. Health and reflection come on top of `services`."""

    def __init__(self, services: Sequence[Service], options: ServerOptions, *, observer: RpcObserver) -> None:
        names = [service.descriptor.full_name for service in services]
        health = service_of(health_pb2, "Health")
        reflection = service_of(reflection_pb2, "ServerReflection")
        self.health = HealthServicer(names)
        self.inflight = InflightCalls()
        self.port = 0
        self._options = options
        wrapper = Wrapper(self.inflight, observer, options.limits.default_deadline_seconds)
        # Health answers until the very end, and a watch that stays open for days is no request under way.
        aside = Wrapper(InflightCalls(), UnobservedRpcs(), options.limits.default_deadline_seconds)
        handlers = [
            *(wrapper.handler(service) for service in services),
            aside.handler(Service(health, self.health)),
            aside.handler(
                Service(reflection, ReflectionServicer([*names, health.full_name, reflection.full_name])),
            ),
        ]
        self._server = grpc.aio.server(
            handlers=handlers, options=options.channel_options(), compression=grpc.Compression.NoCompression
        )

    async def start(self) -> int:
        """Listen, and return the port. Health says NOT_SERVING until it is told otherwise. BindError."""
        address = self._options.address()
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise BindError(f"can't listen on {address}: the port is taken or the address not this host's") from error
        await self._server.start()
        return self.port

    async def stop(self, timeout_seconds: float) -> bool:
        """Refuse new RPCs, wait until those under way are answered, stop. False when some were cut at the timeout."""
        self.health.set_serving(False)
        self.inflight.drain()
        idle = await self.inflight.wait_idle(timeout_seconds)
        if not idle:
            logger.warning("cutting %d RPCs that did not finish in %g s", self.inflight.count, timeout_seconds)
        await self.inflight.wait_quiet(QUIET_SECONDS, at_most_seconds=min(NEVER_QUIET_SECONDS, timeout_seconds))
        self.health.close()
        await self._server.stop(FLUSH_SECONDS if idle else None)
        return idle
