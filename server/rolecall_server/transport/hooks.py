"""What transport reports to and asks; implemented by the parts that count, log and admit, wired together in app."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class RpcObserver(Protocol):
    """Hears of every RPC of ours once, a stream as a whole. Never gets a text."""

    def on_rpc_started(self, method: str) -> None:
        """`method` is one of a fixed set, for example `rolecall.v1.MatchingService/Match`."""

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        """`code` is the name of a gRPC status code. `request_id` is empty where none was known."""


class RequestGate(Protocol):
    """Admission by count."""

    def enter(self, method: str) -> AbstractContextManager[None]:
        """Hold a place while a request is worked on. OverloadedError, UnavailableError when it may not enter."""


class UnobservedRpcs:
    """An RpcObserver for what is no request: health and reflection."""

    def on_rpc_started(self, method: str) -> None:
        pass

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        pass


class OpenGate:
    """A RequestGate that admits everything, for RPCs that cost next to nothing."""

    def enter(self, method: str) -> AbstractContextManager[None]:
        return nullcontext()
