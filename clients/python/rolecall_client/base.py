"""What the sync and the asyncio client have in common: settings, the session, time limits."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import grpc

from rolecall_client.channel import DEFAULT_ADDRESS, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TIMEOUT, Option, channel_options
from rolecall_client.errors import RolecallError
from rolecall_client.operations import Session
from rolecall_client.retry import message_delay, overload_delay
from rolecall_client.streaming import RetryDelay


class ClientBase(ABC):
    """Settings of a client. All times are seconds.

    address: any gRPC target. timeout: for a call that names none, over all its parts and retries. metadata: sent with
    every call, for example credentials. overload_retries: how often to come back after RESOURCE_EXHAUSTED, at the
    time that the server names; by default never; for each call, and for each message of a stream. options: further gRPC
    channel options.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        overload_retries: int = 0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        options: Sequence[Option] = (),
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._metadata = tuple(metadata)
        self._overload_retries = overload_retries
        self._session = Session(max_message_bytes)
        self._connect(credentials, channel_options(max_message_bytes, options))

    @abstractmethod
    def _connect(self, credentials: grpc.ChannelCredentials | None, options: Sequence[Option]) -> None:
        """Make the channel and the stubs; part of the construction."""

    def _limit(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    def _overload_delay(self, error: RolecallError, attempt: int, deadline: float) -> float | None:
        return overload_delay(error, attempt, allowed=self._overload_retries, remaining=seconds_left(deadline))

    def _message_delays(self, deadline: float) -> RetryDelay:
        """When the messages of a stream go again."""
        return lambda error, attempt: message_delay(
            error, attempt, overload_retries=self._overload_retries, remaining=seconds_left(deadline)
        )


def seconds_left(deadline: float) -> float:
    """To `deadline`, in seconds of `time.monotonic`; never negative, as gRPC wants it."""
    return max(0.0, deadline - time.monotonic())
