"""How the clients open their channel: service config, message sizes, keepalive."""

from collections.abc import Sequence
from importlib import resources

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0
"""Seconds for one call, all its parts and retries included."""

DEFAULT_MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest message the client takes or sends: the server's own default. Where a server publishes a smaller limit,
requests are split to keep to that one."""

Option = tuple[str, str | int]


def service_config() -> str:
    """The JSON that ships with the package: round robin, retries on UNAVAILABLE alone, throttled.

    RESOURCE_EXHAUSTED is not retried: a refusal that comes straight back feeds the overload that caused it.
    """
    return resources.files(__package__).joinpath("service_config.json").read_text(encoding="utf-8")


def channel_options(max_message_bytes: int, options: Sequence[Option] = ()) -> list[Option]:
    """`options` of the caller go last and so win."""
    return [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 1),
        # gRPC retries no call larger than this buffer; its default of 256 KiB would leave many-document calls out.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # Finds a connection that a middlebox dropped. Pings go only while a call is open, and less often than the
        # server tolerates (every 10 s).
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A server that starts or returns is found within seconds, not within gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        *options,
    ]
