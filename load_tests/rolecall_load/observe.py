"""What is seen of the server from outside while it is under load: memory of its processes, its own metrics."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from rolecall_load.errors import LoadError

QUEUE_METRICS = ("rolecall_queue_tokens", "rolecall_queue_size", "rolecall_inflight_requests")
_SCRAPE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory over time: (seconds since the first sample, bytes)."""

    samples: tuple[tuple[float, int], ...]

    @property
    def first(self) -> int:
        return self.samples[0][1]

    @property
    def last(self) -> int:
        return self.samples[-1][1]

    def after(self, seconds: float) -> Memory:
        """Without what was sampled before, unless nothing would be left."""
        return Memory(tuple(sample for sample in self.samples if sample[0] >= seconds) or self.samples[-1:])

    @property
    def slope(self) -> float:
        """Bytes a second, least squares; 0 for fewer than two samples."""
        if len(self.samples) < 2:
            return 0.0
        times, sizes = np.array(self.samples, dtype=np.float64).T
        times -= times.mean()
        return float(times @ (sizes - sizes.mean()) / (times @ times))


@dataclass(frozen=True, slots=True)
class Observation:
    """`maxima`: the largest value seen of each metric of QUEUE_METRICS, summed over its labels."""

    memory: Memory | None = None
    maxima: dict[str, float] = field(default_factory=dict)


class Observer:
    """Looks at the server now and then. Not for use by two threads at once."""

    def __init__(self, *, pid: int | None = None, metrics_url: str | None = None) -> None:
        self._process = _process(pid) if pid is not None else None
        self._metrics_url = metrics_url
        if metrics_url is not None:
            _http(metrics_url)
        self._memory: list[tuple[float, int]] = []
        self._maxima: dict[str, float] = {}

    def look(self) -> None:
        """LoadError when the process is gone or the metrics can't be had."""
        if self._process is not None:
            self._memory.append((time.monotonic(), _resident(self._process)))
        if self._metrics_url is not None:
            for name, value in parse_gauges(scrape(self._metrics_url), QUEUE_METRICS).items():
                self._maxima[name] = max(value, self._maxima.get(name, 0.0))

    def observation(self) -> Observation:
        begin = self._memory[0][0] if self._memory else 0.0
        samples = tuple((when - begin, size) for when, size in self._memory)
        return Observation(Memory(samples) if samples else None, dict(self._maxima))


def parse_gauges(exposition: str, names: Sequence[str]) -> dict[str, float]:
    """The named metrics of a Prometheus text, each summed over its labels; those not in it are left out."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name in names:
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def scrape(url: str) -> str:
    """The text at an http URL. LoadError when it can't be had."""
    host, port, path = _http(url)
    connection = http.client.HTTPConnection(host, port, timeout=_SCRAPE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode("utf8")
    except (OSError, http.client.HTTPException) as error:
        raise LoadError(f"no metrics at {url}: {error}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise LoadError(f"no metrics at {url}: HTTP status {response.status}")
    return body


def _http(url: str) -> tuple[str, int, str]:
    """Host, port and path of an http URL; LoadError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or http.client.HTTP_PORT
    except ValueError as error:
        raise LoadError(f"{url} is no address of metrics: {error}") from error
    if parts.scheme != "http" or not host:
        raise LoadError(f"metrics are read over http, not from {url}")
    return host, port, parts.path or "/metrics"


def _process(pid: int) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess as error:
        raise LoadError(f"the server process {pid} does not exist") from error


def _resident(process: psutil.Process) -> int:
    """Of the process and all below it, bytes."""
    try:
        total: int = process.memory_info().rss
        children = process.children(recursive=True)
    except psutil.NoSuchProcess as error:
        raise LoadError(f"the server process {process.pid} is gone") from error
    for child in children:
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return total
