"""What a load test sends: requests by number, and how to read their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

from rolecall_load.outcomes import Answer, ServerTiming
from rolecall_load.texts.source import TextSource

if TYPE_CHECKING:
    from rolecall.v1.matching_pb2_grpc import MatchingServiceAsyncStub

Send = Callable[[float], Awaitable[Answer]]
"""Sends a request that is ready, with a timeout in seconds.

grpc.aio.AioRpcError where the server (or the client's timer) ends the call with another status than OK.
"""


class Scenario(Protocol):
    """One kind of request. Building is apart from sending, so that it costs nothing when the time has come."""

    def prepare(self, number: int) -> Send:
        """Build request `number`, from 0 on without end."""
        ...


@dataclass(frozen=True)
class EmbedScenario:
    """Embed calls of `inputs` texts each."""

    stub: MatchingServiceAsyncStub
    texts: TextSource
    inputs: int = 1

    def prepare(self, number: int) -> Send:
        first = number * self.inputs
        request = pb.EmbedRequest(
            request_id=str(number),
            inputs=[types_pb2.Profile(text=self.texts.text(first + index)) for index in range(self.inputs)],
            kind=pb.EMBED_KIND_DOCUMENT,
        )

        async def send(seconds: float) -> Answer:
            response = await self.stub.Embed(request, timeout=seconds)
            return _answer(response.embeddings, response.timing)

        return send


@dataclass(frozen=True)
class MatchScenario:
    """Match calls: one resume against `documents` jobs."""

    stub: MatchingServiceAsyncStub
    resumes: TextSource
    jobs: TextSource
    documents: int = 20

    def prepare(self, number: int) -> Send:
        first = number * self.documents
        jobs = (self.jobs.text(first + index) for index in range(self.documents))
        request = pb.MatchRequest(
            request_id=str(number),
            query=types_pb2.Profile(text=self.resumes.text(number)),
            documents=[types_pb2.Profile(id=str(index), text=text) for index, text in enumerate(jobs)],
        )

        async def send(seconds: float) -> Answer:
            response = await self.stub.Match(request, timeout=seconds)
            return _answer(response.results, response.timing)

        return send


def _answer(items: Sequence[pb.Embedding] | Sequence[pb.MatchResult], timing: types_pb2.Timing) -> Answer:
    return Answer(
        texts=len(items),
        failed=sum(item.status.code != 0 for item in items),
        cache_hits=sum(item.cache_hit for item in items),
        tokens=sum(item.usage.input_tokens for item in items),
        timing=ServerTiming(
            tokenize=timing.tokenize_seconds,
            queue=timing.queue_seconds,
            inference=timing.inference_seconds,
            total=timing.total_seconds,
            batch_size=timing.batch_size,
            padded_tokens=timing.padded_tokens,
        ),
    )
