"""Servers that a bench starts and stops."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rolecall_load.errors import LoadError

_POLL_SECONDS = 0.25
_STOP_SECONDS = 20.0


def free_port() -> int:
    """A port of the loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server_process(
    name: str,
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 180.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until the block ends. LoadError with its last line when it ends or is not ready in time."""
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise LoadError(f"{name} can't be started: {error}") from error
        try:
            give_up = time.monotonic() + seconds
            while not ready():
                if process.poll() is not None or time.monotonic() > give_up:
                    state = "ended" if process.poll() is not None else "is not ready in time"
                    log.seek(0)
                    raise LoadError(f"{name} {state}: {_last_line(log.read())}")
                time.sleep(_POLL_SECONDS)
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Politely, then not."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
