"""The whole server, as tests use it: `rolecall serve` in a process of its own, or `app.serve` in this one."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from rolecall_server import app
from rolecall_server.engine.fake import FakeBehaviour
from rolecall_server.settings import Settings

ROLECALL = Path(sys.executable).with_name("rolecall")
START_SECONDS, STOP_SECONDS = 60.0, 60.0
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26))


class Log:
    """What a process writes to standard error, line by line as it comes."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def records(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects: all, where nothing went wrong."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    def wait_for(self, message: str) -> dict[str, Any]:
        """The first record with this message."""
        with self._changed:
            seen = self._changed.wait_for(lambda: self._find(message) or self._ended, START_SECONDS)
        found = self._find(message)
        assert found is not None, f"no {message!r} in the log ({'ended' if seen else 'waited in vain'}):\n{self.text}"
        return found

    def join(self) -> None:
        self._thread.join(STOP_SECONDS)

    def _find(self, message: str) -> dict[str, Any] | None:
        return next((record for record in self.records() if record["message"] == message), None)


@dataclass
class Served:
    """A process of `rolecall serve`."""

    process: "subprocess.Popen[str]"
    log: Log
    address: str
    metrics_url: str

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status, once it has ended and all of its log is here."""
        status = self.process.wait(STOP_SECONDS)
        self.log.join()
        return status

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def metrics(self) -> "Metrics":
        return Metrics.read(self.metrics_url)


@contextmanager
def serve_process(
    *flags: str,
    log_level: str = "info",
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = (str(ROLECALL),),
) -> Iterator[Served]:
    """Start `rolecall serve` on free ports, wait until it serves; SIGTERM at the end if it still runs.

    program: what stands for `rolecall`, for tests that change its inside.
    """
    command = [*program, "serve", "--port", "0", "--metrics-port", "0", "--log-format", "json"]
    process = subprocess.Popen(
        [*command, "--log-level", log_level, *flags],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**_environment(), **(env or {})},
    )
    log = Log(process.stderr)
    try:
        started = log.wait_for("serving")
        host = started["address"].rpartition(":")[0]
        served = Served(process, log, started["address"], f"http://{host}:{started['metrics_port']}/metrics")
        await_serving(served.address)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            finally:
                process.kill()
        log.join()
        assert process.stderr is not None
        process.stderr.close()


def _environment() -> dict[str, str]:
    """This process's environment without settings of the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROLECALL_")}


def await_serving(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=START_SECONDS):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


@dataclass
class InProcess:
    """A server on this event loop; `channel` leads to it."""

    running: app.Running
    channel: grpc.aio.Channel
    metrics_url: str
    ended: "asyncio.Task[None]"

    async def metrics(self) -> "Metrics":
        return await asyncio.to_thread(Metrics.read, self.metrics_url)

    async def metrics_when(self, name: str, value: float, **labels: str) -> "Metrics":
        """The metrics, once the one named has that value."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                metrics = await self.metrics()
                if metrics.value(name, **labels) == value:
                    return metrics

    async def stop(self) -> None:
        self.running.stop.set()
        await asyncio.wait_for(self.ended, STOP_SECONDS)


@asynccontextmanager
async def serve_here(*, fake: FakeBehaviour | None = None, **settings: Any) -> AsyncIterator[InProcess]:
    """Run `app.serve` with these settings on free ports until the block ends. For tests that must reach inside."""
    ready: asyncio.Future[app.Running] = asyncio.get_running_loop().create_future()
    chosen = Settings(**{"backend": "fake", "port": 0, "metrics_port": 0, **settings})
    task = asyncio.create_task(app.serve(chosen, on_ready=ready.set_result, fake=fake))
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED, timeout=START_SECONDS)
    if task.done():
        await task
    running = ready.result()
    metrics_url = f"http://127.0.0.1:{running.metrics_port}/metrics"
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}", options=CHANNEL_OPTIONS) as channel:
            yield InProcess(running, channel, metrics_url, task)
    finally:
        running.stop.set()
        await asyncio.wait_for(task, STOP_SECONDS)


@dataclass(frozen=True)
class Metrics:
    """One scrape."""

    page: str
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float] = field(repr=False)

    @staticmethod
    def read(url: str) -> "Metrics":
        with urllib.request.urlopen(url, timeout=30) as response:
            page = response.read().decode()
        families = text_string_to_metric_families(page)
        return Metrics(page, {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples})

    def value(self, name: str, **labels: str) -> float:
        """The sum over all samples of the name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.samples.items() if found == name and wanted <= has)

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(has) for found, has in self.samples if found == name]


def details_of(error: Any) -> dict[str, Any]:
    """The google.rpc messages that came with a failed call, by name."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return unpacked(status_pb2.Status.FromString(raw))


def unpacked(status: status_pb2.Status) -> dict[str, Any]:
    """The google.rpc messages in a status, by name."""
    found = {}
    for detail in status.details:
        name = detail.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name).FromString(detail.value)
    return found


def field_of(details: Mapping[str, Any]) -> str:
    """The path of the field that a BadRequest names; empty where there is none."""
    if "BadRequest" not in details:
        return ""
    (violation,) = details["BadRequest"].field_violations
    return str(violation.field)


@dataclass
class Held:
    """An engine's batches stop before they run, until `release` is set; `started` counts those that came."""

    started: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def patch(self, monkeypatch: pytest.MonkeyPatch, engine: type) -> "Held":
        embed = engine.embed  # type: ignore[attr-defined]

        async def held(own: Any, model: Any, sequences: Any) -> Any:
            self.started.release()
            await self.release.wait()
            return await embed(own, model, sequences)

        monkeypatch.setattr(engine, "embed", held)
        return self
