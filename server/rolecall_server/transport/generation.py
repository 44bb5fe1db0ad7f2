"""GenerationService."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeAlias

from rolecall.v1 import generation_pb2 as pb

from rolecall_server.tasks.generate import GenerateInput, GenerateOutput
from rolecall_server.transport.calls import MessageStream
from rolecall_server.transport.convert_generation import to_generate_input, to_generate_response, to_last_message
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.types import RequestContext

GenerationMessages: TypeAlias = MessageStream[pb.GenerateStreamRequest, pb.GenerateStreamResponse]


class Generate(Protocol):
    """GenerateTask as transport sees it."""

    async def run(self, request: GenerateInput, context: RequestContext) -> GenerateOutput: ...

    def stream(self, request: GenerateInput, context: RequestContext) -> AsyncGenerator[str | GenerateOutput, None]: ...


class GenerationServicer:
    def __init__(self, generate: Generate, limits: ServerLimits) -> None:
        self._generate = generate
        self._limits = limits

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: RequestContext
    ) -> pb.GenerateResponse:
        started = time.perf_counter()
        output = await self._generate.run(to_generate_input(request, self._limits), context)
        seconds = time.perf_counter() - started
        return to_generate_response(output, request_id=context.request_id, total_seconds=seconds)

    async def GenerateStream(  # noqa: N802
        self, request: pb.GenerateStreamRequest, context: RequestContext, stream: GenerationMessages
    ) -> None:
        """The work does not wait for a client that reads slowly: what it has not fetched, the engine joins."""
        started = time.perf_counter()
        given = to_generate_input(request, self._limits)
        async with aclosing(self._generate.stream(given, context)) as events:
            async for event in events:
                if isinstance(event, str):
                    await stream.send(pb.GenerateStreamResponse(request_id=context.request_id, delta=event))
                    continue
                seconds = time.perf_counter() - started
                await stream.send(to_last_message(event, request_id=context.request_id, total_seconds=seconds))
