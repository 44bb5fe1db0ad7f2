"""One log line for each request: method, status code, seconds, request id. Never a text."""

import logging
from collections.abc import Sequence
from typing import Protocol

log = logging.getLogger("rolecall.access")

QUIET_CODES = frozenset({"OK", "CANCELLED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})
"""What goes well, and what an overload brings by the hundred a second: the metrics count both."""


class RpcHearer(Protocol):
    """What the transport reports to; its own RpcObserver has the same shape."""

    def on_rpc_started(self, method: str) -> None: ...

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None: ...

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None: ...


class RpcLog:
    """Logs QUIET_CODES at debug level, others at info: a log line costs as much as a refusal."""

    def on_rpc_started(self, method: str) -> None:
        pass

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        level = logging.DEBUG if code in QUIET_CODES else logging.INFO
        if log.isEnabledFor(level):
            fields = {"method": method, "code": code, "seconds": round(seconds, 6), "request_id": request_id}
            log.log(level, "rpc", extra=fields)

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        level = logging.DEBUG if code in QUIET_CODES else logging.INFO
        log.log(level, "stream", extra={"method": method, "code": code, "seconds": round(seconds, 6)})


class RpcHearers:
    """Tells several."""

    def __init__(self, hearers: Sequence[RpcHearer]) -> None:
        self._hearers = hearers

    def on_rpc_started(self, method: str) -> None:
        for hearer in self._hearers:
            hearer.on_rpc_started(method)

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        for hearer in self._hearers:
            hearer.on_rpc_done(method, code, seconds=seconds, request_id=request_id)

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        for hearer in self._hearers:
            hearer.on_stream_failed(method, code, seconds=seconds)
