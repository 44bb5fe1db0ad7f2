"""infinity_emb as a server in its own environment, over HTTP: one text a request, so many at a time."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path

import numpy as np

from rolecall_load.bench.embedders import Vectors
from rolecall_load.bench.speed.measure import Kind, Measure
from rolecall_load.bench.speed.processes import free_port, listening, server_process
from rolecall_load.errors import LoadError

_SECONDS = 300.0
_HEADERS = {"Content-Type": "application/json"}


class InfinityContender:
    """A running infinity server."""

    kind: Kind = "peer"

    def __init__(self, name: str, port: int, texts: Sequence[str], *, concurrency: int) -> None:
        self.name = name
        self._port = port
        self._bodies = [json.dumps({"model": "peer", "input": text}).encode() for text in texts]
        self._concurrency = concurrency

    def embed(self) -> Vectors:
        answers = [json.loads(answer)["data"][0]["embedding"] for answer in self._send()[0]]
        return np.array(answers, np.float32)

    def run(self, number: int) -> Measure:
        _, seconds, cpu = self._send()
        return Measure(seconds, cpu / seconds)

    def _send(self) -> tuple[list[bytes], float, float]:
        """Answers in order, seconds, processor seconds of this process."""
        answers: list[bytes] = [b""] * len(self._bodies)
        numbers = iter(range(len(self._bodies)))

        def work(_: None) -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)) as connection:
                for number in numbers:
                    connection.request("POST", "/embeddings", body=self._bodies[number], headers=_HEADERS)
                    response = connection.getresponse()
                    answers[number] = response.read()
                    if response.status != http.client.OK:
                        raise LoadError(f"{self.name}: HTTP status {response.status}: {answers[number][:200]!r}")

        started, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(self._concurrency) as pool:
            list(pool.map(work, repeat(None, self._concurrency)))
        return answers, time.perf_counter() - started, time.process_time() - cpu


@contextmanager
def infinity(
    python: Path, model: Path, texts: Sequence[str], *, engine: str, dtype: str, threads: int, concurrency: int
) -> Iterator[InfinityContender]:
    """`engine`: torch or optimum, `dtype`: float32 or bfloat16; `model`: a folder that the engine can read."""
    port = free_port()
    name = f"infinity, {engine} {dtype}"
    command = [str(python.with_name("infinity_emb")), "v2", "--engine", engine, "--dtype", dtype, "--device", "cpu"]
    # By a path relative to its folder: newer versions of optimum do not find an ONNX file by an absolute one.
    command += ["--model-id", ".", "--served-model-name", "peer", "--pooling-method", "mean", "--batch-size", "32"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-bettertransformer", "--no-model-warmup"]
    environment = {
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        "INFINITY_LOG_LEVEL": "warning",
        "OMP_NUM_THREADS": str(threads),
    }
    with server_process(name, command, ready=lambda: listening(port), folder=model, environment=environment):
        yield InfinityContender(name, port, texts, concurrency=concurrency)
