"""A small matching server of known capacity, for testing the load generator: sleeps instead of computing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import matching_pb2_grpc, model_pb2, model_pb2_grpc, types_pb2

DIMENSIONS = 8


@dataclass
class Behaviour:
    """Two requests at a time take `seconds` each; more than `waiting` others are refused."""

    seconds: float = 0.01
    slots: int = 2
    waiting: int = 10
    code: int = code_pb2.RESOURCE_EXHAUSTED
    details: bool = True
    noise: float = 0.0
    """What a text's neighbours do to its embedding."""
    cached: bool = False
    failing_items: bool = False
    queue_limit: int = 1000
    queued: int = field(default=0, init=False)
    peak: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)


def vector(text: str) -> np.ndarray:
    """A unit vector that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    return (values / np.linalg.norm(values)).astype(np.float32)


class MatchingService(matching_pb2_grpc.MatchingServiceServicer):
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._slots = asyncio.Semaphore(behaviour.slots)

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:  # noqa: N802
        await self._work(context)
        size = len(request.inputs)
        return pb.EmbedResponse(
            embeddings=[self._embedding(index, profile, size) for index, profile in enumerate(request.inputs)],
            timing=types_pb2.Timing(queue_seconds=0.001, inference_seconds=0.002, batch_size=size),
        )

    async def Match(self, request: pb.MatchRequest, context: Any) -> pb.MatchResponse:  # noqa: N802
        await self._work(context)
        query = self._vector(request.query, 1)
        results = [
            pb.MatchResult(
                document_id=document.id,
                index=index,
                score=float(self._vector(document, len(request.documents)) @ query),
                cache_hit=self.behaviour.cached,
            )
            for index, document in enumerate(request.documents)
        ]
        results.sort(key=lambda result: (-result.score, result.index))
        return pb.MatchResponse(results=results, timing=types_pb2.Timing(batch_size=len(results)))

    async def _work(self, context: Any) -> None:
        behaviour = self.behaviour
        behaviour.calls += 1
        if behaviour.queued >= behaviour.waiting:
            await self._refuse(context)
        behaviour.queued += 1
        behaviour.peak = max(behaviour.peak, behaviour.queued)
        try:
            await self._slots.acquire()
        finally:
            behaviour.queued -= 1
        try:
            await asyncio.sleep(behaviour.seconds)
        finally:
            self._slots.release()

    async def _refuse(self, context: Any) -> None:
        status = status_pb2.Status(code=self.behaviour.code, message="the queue is full")
        if self.behaviour.details:
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1)))
            status.details.append(detail)
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        code = next(code for code in grpc.StatusCode if code.value[0] == self.behaviour.code)
        await context.abort(code, status.message, metadata)

    def _vector(self, profile: types_pb2.Profile, size: int) -> np.ndarray:
        if profile.embedding:
            return np.frombuffer(profile.embedding, "<f4")
        return vector(profile.text) + np.float32(self.behaviour.noise * (size > 1))

    def _embedding(self, index: int, profile: types_pb2.Profile, size: int) -> pb.Embedding:
        if self.behaviour.failing_items and index == 0:
            return pb.Embedding(index=index, status=status_pb2.Status(code=code_pb2.INTERNAL))
        return pb.Embedding(
            index=index,
            vector=self._vector(profile, size).astype("<f4").tobytes(),
            dimensions=DIMENSIONS,
            usage=types_pb2.TokenUsage(input_tokens=7, chunks=1),
            cache_hit=self.behaviour.cached,
        )


class ModelService(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def GetServerInfo(self, request: Any, context: Any) -> model_pb2.GetServerInfoResponse:  # noqa: N802
        limits = model_pb2.ServerLimits(max_queue_tokens=self.behaviour.queue_limit, max_documents=100)
        return model_pb2.GetServerInfoResponse(backend="fake", limits=limits)


@asynccontextmanager
async def load_server(behaviour: Behaviour) -> AsyncIterator[str]:
    """The address of a running server."""
    server = grpc.aio.server()
    matching_pb2_grpc.add_MatchingServiceServicer_to_server(MatchingService(behaviour), server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(behaviour), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
