"""The gateway over gRPC: one text a request, so many requests at a time."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub

from rolecall_load.bench.embedders import Vectors, read_vectors
from rolecall_load.bench.speed.measure import Kind, Measure
from rolecall_load.bench.speed.processes import free_port, server_process
from rolecall_load.bench.speed.texts import marked
from rolecall_load.errors import LoadError
from rolecall_load.observe import parse_gauges, scrape

_CALL_SECONDS = 300.0
_CONNECT_SECONDS = 60.0
_PROBE_SECONDS = 5.0
_BATCHES = ("rolecall_batch_size_sum", "rolecall_batch_size_count")


class GatewayContender:
    """A running server. Each turn sends the texts anew marked: the cache is on and never hits."""

    name = "gateway"
    kind: Kind = "gateway"

    def __init__(self, address: str, texts: Sequence[str], *, concurrency: int, metrics_url: str) -> None:
        self._address = address
        self._texts = texts
        self._concurrency = concurrency
        self._metrics_url = metrics_url
        self._turns = 0
        self._batches = (0.0, 0.0)

    @property
    def mean_batch_size(self) -> float:
        """Over all batches so far."""
        requests, batches = self._batches
        return requests / batches if batches else 1.0

    def embed(self) -> Vectors:
        # Marked like the texts that the others get, so that the embeddings can be compared.
        return np.concatenate(asyncio.run(self._send(0))[0])

    def run(self, number: int) -> Measure:
        before = self._counters()
        self._turns += 1
        _, seconds, cpu = asyncio.run(self._send(self._turns))
        after = self._counters()
        self._batches = (self._batches[0] + after[0] - before[0], self._batches[1] + after[1] - before[1])
        return Measure(seconds, cpu / seconds)

    def _counters(self) -> tuple[float, float]:
        """Texts in batches, and batches, so far."""
        values = parse_gauges(scrape(self._metrics_url), _BATCHES)
        return values.get(_BATCHES[0], 0.0), values.get(_BATCHES[1], 0.0)

    async def _send(self, turn: int) -> tuple[list[Vectors], float, float]:
        """Vectors in order, seconds, processor seconds of this process."""
        requests = [
            pb.EmbedRequest(inputs=[types_pb2.Profile(text=marked(text, turn))], kind=pb.EMBED_KIND_DOCUMENT)
            for text in self._texts
        ]
        responses: list[pb.EmbedResponse | None] = [None] * len(requests)
        async with grpc.aio.insecure_channel(self._address) as channel:
            await asyncio.wait_for(channel.channel_ready(), _CONNECT_SECONDS)
            stub = MatchingServiceStub(channel)
            numbers = iter(range(len(requests)))

            async def work() -> None:
                for number in numbers:
                    responses[number] = await stub.Embed(requests[number], timeout=_CALL_SECONDS)

            started, cpu = time.perf_counter(), time.process_time()
            try:
                await asyncio.gather(*(work() for _ in range(self._concurrency)))
            except grpc.aio.AioRpcError as error:
                raise LoadError(f"gateway: {error.code().name}: {error.details()}") from error
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return [read_vectors(response) for response in responses if response is not None], seconds, cpu


def serving(address: str) -> bool:
    """Whether it embeds; before that it may listen and still be loading. LoadError for any other refusal."""
    with grpc.insecure_channel(address) as channel:
        request = pb.EmbedRequest(inputs=[types_pb2.Profile(text="ready?")])
        try:
            MatchingServiceStub(channel).Embed(request, timeout=_PROBE_SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return False
            raise LoadError(f"gateway: {error.code().name}: {error.details()}") from error
    return True


@contextmanager
def gateway(
    repository: Path, texts: Sequence[str], *, concurrency: int, options: Sequence[str] = ()
) -> Iterator[GatewayContender]:
    """`rolecall serve` on that repository for the time of the block; `options` are more flags for it."""
    port, metrics_port = free_port(), free_port()
    program = Path(sys.executable).with_name("rolecall")
    command = [str(program) if program.is_file() else shutil.which("rolecall") or "rolecall", "serve"]
    command += ["--model-repository", str(repository.resolve()), "--port", str(port)]
    command += ["--metrics-port", str(metrics_port), "--log-level", "warning", *options]
    with server_process("rolecall serve", command, ready=lambda: serving(f"127.0.0.1:{port}")):
        url = f"http://127.0.0.1:{metrics_port}/metrics"
        yield GatewayContender(f"127.0.0.1:{port}", texts, concurrency=concurrency, metrics_url=url)
