"""Threads whose end is never missed, and when to try again what failed."""

import threading
from collections.abc import Callable

_FIRST_SECONDS = 0.1
_LAST_SECONDS = 10.0
_MOST_DOUBLINGS = 7
"""From the first wait these lead beyond the last one; a larger exponent would one day overflow."""


class WatchedThread:
    """A thread with a watcher that waits for its end, so that no way to die goes unseen. cause: what ended it."""

    def __init__(self, name: str, body: Callable[[], None], on_end: Callable[[], None]) -> None:
        """on_end: called on the watcher's thread, also where the system gave no thread for the body."""
        self.cause = "ended"
        self._body = body
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """RuntimeError when the system gives no thread for the watcher."""
        threading.Thread(target=self._watch, name=f"{self._thread.name}-watch", daemon=True).start()

    def _run(self) -> None:
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - the thread ends here; its watcher tells of it
            self.cause = type(error).__name__

    def _watch(self) -> None:
        try:
            self._thread.start()
            self._thread.join()
        except RuntimeError as error:
            self.cause = str(error)
        self._on_end()


class Backoff:
    """Waits that double with each failure since the last success."""

    def __init__(self) -> None:
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait before the next try."""
        delay = min(_FIRST_SECONDS * 2.0**self._failures, _LAST_SECONDS)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        return delay

    def succeeded(self) -> None:
        self._failures = 0
