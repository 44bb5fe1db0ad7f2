"""SIGTERM while clients work: what was accepted is answered, what comes later is refused, and health says so first."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall_server import app
from rolecall_server.engine.fake import FakeEngine
from rolecall_server.stopping import UnfinishedError

from tests.servers import Held, Served, details_of, serve_here, serve_process

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CLIENTS, CHANNELS, ROUNDS, CALLS_BEFORE = 32, 4, 3, 300
DOCUMENTS = [types_pb2.Profile(text=f"a nurse for ward {n}") for n in range(4)]


def request(number: int) -> pb.MatchRequest:
    return pb.MatchRequest(query=types_pb2.Profile(text=f"nurse {number}"), documents=DOCUMENTS)


class Load:
    """Clients that each send one request after the other, until one is refused."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self.codes: Counter[str] = Counter()
        self._stubs = [MatchingServiceStub(channel) for channel in channels]
        self._enough = asyncio.Event()
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    async def _client(self, number: int) -> None:
        code = None
        while code is not grpc.StatusCode.UNAVAILABLE:
            call = self._stubs[number % CHANNELS].Match(request(self.codes.total()), timeout=60)
            code = await call.code()
            self.codes[code.name] += 1
            if self.codes.total() >= CALLS_BEFORE:
                self._enough.set()

    async def warm(self) -> None:
        await asyncio.wait_for(self._enough.wait(), 60)

    async def ended(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60)


async def health_until_the_end(channel: grpc.aio.Channel) -> list[int]:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    return [answer.status async for answer in watch]


def codes_in_the_log(served: Served) -> Counter[str]:
    """How the server itself says that Match ended."""
    ended = (record for record in served.log.records() if record["message"] == "rpc")
    return Counter(record["code"] for record in ended if record["method"].endswith("/Match"))


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_no_accepted_request_fails(tiny_models: os.PathLike[str], round_: int) -> None:
    with serve_process("--model-repository", str(tiny_models), log_level="debug") as served:
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(served.address, (("channel", n),)))
                for n in range(CHANNELS)
            ]
            statuses = asyncio.create_task(health_until_the_end(channels[0]))
            load = Load(channels)
            await load.warm()
            served.terminate()
            await load.ended()
            assert await asyncio.wait_for(statuses, 60) == [SERVING, NOT_SERVING]
        assert served.wait() == 0
    assert load.codes.keys() == {"OK", "UNAVAILABLE"}
    assert load.codes["OK"] >= CALLS_BEFORE - CLIENTS
    inside = codes_in_the_log(served)
    assert inside["OK"] == load.codes["OK"]
    assert inside.keys() <= {"OK", "UNAVAILABLE"}
    assert "exception" not in served.log.text


async def test_during_the_drain_delay_requests_are_still_taken(tiny_models: os.PathLike[str]) -> None:
    with serve_process("--model-repository", str(tiny_models), "--drain-delay-secs", "3") as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            served.terminate()
            assert (await watch.read()).status == NOT_SERVING
            async with grpc.aio.insecure_channel(served.address, (("another", 1),)) as another:
                for number in range(20):
                    for one in (channel, another):
                        assert len((await MatchingServiceStub(one).Match(request(number), timeout=30)).results) == 4
            assert await watch.read() is grpc.aio.EOF
        assert served.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_runs_is_answered_and_what_comes_is_told_to_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here() as it:
        stub = MatchingServiceStub(it.channel)
        accepted = stub.Match(request(0), timeout=60)
        await held.started.acquire()
        watch = health_pb2_grpc.HealthStub(it.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        os.kill(os.getpid(), number)
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Match(request(1), timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "RetryInfo" in details_of(caught.value)
        assert not accepted.done()
        held.release.set()
        assert len((await accepted).results) == 4
        await asyncio.wait_for(it.ended, 60)


async def test_a_request_that_does_not_end_is_cut_at_the_exit_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().patch(monkeypatch, FakeEngine)
    async with serve_here(exit_timeout_secs=0.05) as it:
        call = MatchingServiceStub(it.channel).Match(request(0), timeout=60)
        await held.started.acquire()
        it.running.stop.set()
        assert await call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        held.release.set()
        await asyncio.wait_for(it.ended, 60)


async def test_a_batch_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REST_SECONDS", 0.1)
    held = Held().patch(monkeypatch, FakeEngine)

    async def stop_during_a_batch() -> None:
        async with serve_here(exit_timeout_secs=0.05) as it:
            call = MatchingServiceStub(it.channel).Match(request(0), timeout=60)
            await held.started.acquire()
            it.running.stop.set()
            assert await call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

    with pytest.raises(UnfinishedError, match="the batcher"):
        await stop_during_a_batch()


STUCK = """
import os, sys, time
from rolecall_server import app, cli
from rolecall_server.engine.ort.session import OrtSession
from rolecall_server.text.tokenizer import Tokenizer

def stuck(*args, **kwargs):
    os.write(2, b'{"message": "stuck"}\\n')
    time.sleep(3600)

app.REST_SECONDS = cli.REST_SECONDS = 0.5
part = sys.argv.pop(1)
if part == "tokenizer":
    Tokenizer.encode = stuck
else:
    OrtSession.warm_up = lambda self: None
    OrtSession.embed = stuck
sys.exit(cli.main())
"""


@pytest.mark.parametrize(("part", "said"), [("session", "a part of the server"), ("tokenizer", "threads did not end")])
async def test_a_thread_that_does_not_end_does_not_hold_the_process(
    tiny_models: os.PathLike[str], part: str, said: str
) -> None:
    program = (sys.executable, "-c", STUCK, part)
    flags = ("--model-repository", str(tiny_models), "--exit-timeout-secs", "0.2")
    with serve_process(*flags, program=program) as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            call = MatchingServiceStub(channel).Match(request(0), timeout=60)
            code = asyncio.create_task(call.code())
            await asyncio.to_thread(served.log.wait_for, "stuck")
            served.terminate()
            assert await code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}  # cut, one way or the other
        assert await asyncio.to_thread(served.wait) == 1
    assert said in served.log.text


@pytest.mark.parametrize(("second", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_the_process_at_once(second: signal.Signals, status: int) -> None:
    with serve_process("--backend", "fake", "--drain-delay-secs", "600") as served:
        served.terminate()
        served.log.wait_for("stopping")
        served.process.send_signal(second)
        assert served.wait() == status
