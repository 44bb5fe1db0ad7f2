"""What transport reports to and asks; implemented by the parts that count, log and admit, wired together in app."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class RpcObserver(Protocol):
    """Hears of every request of ours once. Never gets a text.

    A request is an RPC, or one message of an RPC that streams both ways. Such an RPC as a whole is no request: it is
    heard of only when it fails itself.
    """

    def on_rpc_started(self, method: str) -> None:
        """`method` is one of a fixed set, for example `rolecall.v1.MatchingService/Match`."""

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        """`code` is the name of a gRPC status code. `request_id` is empty where none was known."""

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        """A stream of messages ended with another code than OK, after so long. No `on_rpc_started` came before."""


class RequestGate(Protocol):
    """Admission by count."""

    def enter(self) -> AbstractContextManager[None]:
        """Hold a place while a request is worked on. OverloadedError, UnavailableError when it may not enter."""


class UnobservedRpcs:
    """An RpcObserver for what is no request: health and reflection."""

    def on_rpc_started(self, method: str) -> None:
        pass

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        pass

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        pass


class OpenGate:
    """A RequestGate that admits everything, for RPCs that cost next to nothing."""

    def enter(self) -> AbstractContextManager[None]:
        return nullcontext()
