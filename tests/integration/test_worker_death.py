"""A worker thread is killed in the middle of a batch, in a whole server."""

import asyncio
import ctypes
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall_server.engine.ort.session import OrtSession

from tests.servers import details_of, serve_here

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Victim:
    """The next batch does not end by itself: its worker waits for its death."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed = False
        self._running = threading.Event()
        self._thread = 0
        embed = OrtSession.embed

        def maybe_die(session: OrtSession, sequences: Sequence[Any]) -> Any:
            if self.armed:
                self.armed = False
                self._thread = threading.get_ident()
                self._running.set()
                give_up = time.monotonic() + 60
                while time.monotonic() < give_up:
                    time.sleep(0.001)
            return embed(session, sequences)

        monkeypatch.setattr(OrtSession, "embed", maybe_die)

    async def kill(self) -> None:
        """Once a batch runs on it."""
        assert await asyncio.to_thread(self._running.wait, 60)
        self._running.clear()
        hit = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(SystemExit))
        assert hit == 1


def asked(text: str) -> pb.EmbedRequest:
    return pb.EmbedRequest(inputs=[types_pb2.Profile(text=text)])


@pytest.mark.parametrize("workers", [1, 2])
async def test_its_requests_fail_as_unavailable_and_the_next_succeed(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    victim = Victim(monkeypatch)
    async with serve_here(backend="embedded", model_repository=tiny_models, engine_workers=workers) as it:
        stub = MatchingServiceStub(it.channel)
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert (await watch.read()).status == SERVING
        expected = (await stub.Embed(asked("a nurse"))).embeddings[0].vector
        for round_ in range(3):
            victim.armed = True
            doomed = stub.Embed(asked(f"a cook {round_}"), timeout=60)
            await victim.kill()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await doomed
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "RetryInfo" in details_of(caught.value)
            assert (await watch.read()).status == NOT_SERVING
            assert (await watch.read()).status == SERVING
            for text in (f"a cook {round_}", f"a clerk {round_}"):
                (embedding,) = (await stub.Embed(asked(text), timeout=60)).embeddings
                assert not embedding.HasField("status")
                assert not embedding.cache_hit
        assert (await stub.Embed(asked("a nurse"))).embeddings[0].vector == expected
        metrics = await it.metrics()
        assert metrics.value("rolecall_requests_total", code="UNAVAILABLE") == 3
        assert metrics.value("rolecall_requests_total", code="INTERNAL") == 0
        assert metrics.value("rolecall_inflight_requests") == 0


async def test_what_waits_behind_the_dead_worker_is_answered_too(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = Victim(monkeypatch)
    async with serve_here(backend="embedded", model_repository=tiny_models, engine_workers=1) as it:
        stub = MatchingServiceStub(it.channel)
        victim.armed = True
        calls = [stub.Embed(asked(f"text {number} " * number * 5), timeout=60) for number in range(1, 30)]
        await it.metrics_when("rolecall_inflight_requests", len(calls))
        await victim.kill()
        codes = [await call.code() for call in calls]
        assert grpc.StatusCode.UNAVAILABLE in codes
        assert set(codes) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
        metrics = await it.metrics_when("rolecall_inflight_requests", 0)
        assert metrics.value("rolecall_queue_tokens") == 0
