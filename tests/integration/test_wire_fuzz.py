"""26,000 malformed and absurd messages over the wire: each is answered as the contract says, and the server is well."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub

from tests.fixtures_models import DIMENSIONS
from tests.fuzzing import GENERATING, METHODS, Case, Fuzzer
from tests.servers import CHANNEL_OPTIONS, Served, serve_process

MESSAGES, GENERATIONS, CONCURRENCY, SECONDS = 20_000, 6_000, 64, 80
OF_A_CALL = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "PERMISSION_DENIED"}
OF_AN_ITEM = {"OK", "INVALID_ARGUMENT"}
RESPONSES = {"Match": pb.MatchResponse, "Embed": pb.EmbedResponse, "MatchStream": pb.MatchStreamResponse}


class Tally:
    """What came back."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.items: Counter[str] = Counter()
        self.oddities: list[str] = []

    def note(self, case: Case, code: grpc.StatusCode, details: str | None, responses: list[bytes]) -> None:
        self.calls[case.method.name, code.name] += 1
        if code.name not in OF_A_CALL:
            self.oddities.append(f"{case.path} {code.name} {details} for {[m.hex()[:200] for m in case.messages]}")
        for response in responses:
            self._look_into(case, response)

    def _look_into(self, case: Case, data: bytes) -> None:
        if case.method.name not in RESPONSES:
            return
        answer: Any = RESPONSES[case.method.name].FromString(data)
        if isinstance(answer, pb.MatchStreamResponse):
            code = code_pb2.Code.Name(answer.status.code)
            self.calls["a message of MatchStream", code] += 1
            if code not in OF_A_CALL:
                self.oddities.append(f"a message of {case.path} {answer.status.message}")
            answer = answer.response
        for item in [*getattr(answer, "results", ()), *getattr(answer, "embeddings", ())]:
            code = code_pb2.Code.Name(item.status.code)
            self.items[code] += 1
            vector = np.frombuffer(getattr(item, "vector", b""), np.uint8)
            finite = math.isfinite(getattr(item, "score", 0.0)) and (len(vector) > 0 or not hasattr(item, "vector"))
            if code not in OF_AN_ITEM or (code == "OK" and not finite):
                self.oddities.append(f"an item of {case.path}: {str(item)[:300]}")


@dataclass
class Client:
    """Sends cases, one at a time for each worker.

    Streams go through a blocking channel: where a server ends a stream while the client still sends, an asyncio
    client sometimes reports an INTERNAL of its own making ("Internal error from Core").
    """

    unary: grpc.aio.Channel
    streams: grpc.Channel
    threads: ThreadPoolExecutor
    tally: Tally

    async def send_all(self, cases: Iterator[Case]) -> None:
        async def worker() -> None:
            for case in cases:
                await self._send(case)

        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(worker())

    async def _send(self, case: Case) -> None:
        if case.method.server_streaming:
            outcome = await asyncio.get_running_loop().run_in_executor(self.threads, self._converse, case)
        else:
            call = self.unary.unary_unary(case.path)(case.messages[0], timeout=SECONDS)
            code = await call.code()
            outcome = code, await call.details(), [await call] if code is grpc.StatusCode.OK else []
        self.tally.note(case, *outcome)

    def _converse(self, case: Case) -> tuple[grpc.StatusCode, str, list[bytes]]:
        call: Any
        if case.method.client_streaming:
            call = self.streams.stream_stream(case.path)(iter(case.messages), timeout=SECONDS)
        else:
            call = self.streams.unary_stream(case.path)(case.messages[0], timeout=SECONDS)
        responses: list[bytes] = []
        try:
            for response in call:
                responses.append(response)
                if case.method.name == "Watch":  # it has no end
                    call.cancel()
                    return grpc.StatusCode.OK, "", responses
        except grpc.RpcError:
            return call.code(), call.details(), responses
        return grpc.StatusCode.OK, "", responses


@pytest.mark.slow
async def test_no_message_harms_the_server(tiny_models: Any) -> None:
    with serve_process("--model-repository", str(tiny_models), log_level="debug") as served:
        tally = await send(served, Fuzzer(20260, dimensions=DIMENSIONS).cases(MESSAGES))
        assert tally.calls["Match", "OK"] > 100
        assert tally.calls["Match", "INVALID_ARGUMENT"] > 1000
        assert tally.items.keys() == OF_AN_ITEM
        metrics = served.metrics()
        assert metrics.value("rolecall_nonfinite_outputs_total") == 0
        assert math.isfinite(metrics.value("rolecall_score_sum"))
        assert_well(served)


@pytest.mark.slow
async def test_no_message_harms_a_server_that_generates() -> None:
    with serve_process("--backend", "fake", log_level="debug") as served:
        cases = Fuzzer(20261, dimensions=384, weights=GENERATING).cases(GENERATIONS)
        tally = await send(served, cases)
        for method in ("Generate", "GenerateStream"):
            assert tally.calls[method, "OK"] > 200
            assert tally.calls[method, "INVALID_ARGUMENT"] > 500
        assert served.metrics().value("rolecall_running_sequences") == 0
        assert_well(served)


async def send(served: Served, cases: Iterator[Case]) -> Tally:
    """All cases, then a Match that is none; every answer was one of those that the contract has."""
    tally = Tally()
    async with grpc.aio.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel:
        with grpc.insecure_channel(served.address) as streams, ThreadPoolExecutor(CONCURRENCY) as threads:
            await Client(channel, streams, threads, tally).send_all(cases)
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        one = types_pb2.Profile(text="nurse")
        answer = await MatchingServiceStub(channel).Match(pb.MatchRequest(query=one, documents=[one]), timeout=30)
        assert len(answer.results) == 1
    assert tally.oddities == []
    assert {name for name, _ in tally.calls} >= {method.name for method in METHODS}
    return tally


def assert_well(served: Served) -> None:
    """Nothing is left under way, the server stops in order, and nothing in its log is more than information."""
    metrics = served.metrics()
    assert metrics.value("rolecall_inflight_requests") == 0
    assert metrics.value("rolecall_queue_tokens") == 0
    assert served.stop() == 0
    assert len(served.log.records()) == len(served.log.lines)
    assert {record["level"] for record in served.log.records()} <= {"debug", "info"}
    assert "exception" not in served.log.text
