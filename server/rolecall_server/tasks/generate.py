"""Generate: texts written by a T5 model."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from rolecall_server.errors import EngineError, InvalidInputError
from rolecall_server.generation.types import Decoding, Delta, Hypothesis
from rolecall_server.tasks.catalog import Section
from rolecall_server.tasks.generator import Generator
from rolecall_server.tasks.tokenization import Text
from rolecall_server.text.rendering import is_blank
from rolecall_server.types import ModelInfo, RequestContext, TextKind, Timing, Truncation

DEFAULT_MAX_NEW_TOKENS = 128
SEED_BITS = 32
"""Of a seed that is drawn: short enough to be typed, and exact in JSON."""


@dataclass(frozen=True, slots=True)
class GenerateInput:
    """prompt: as the model reads it. path: of the field that it came in. decoding: its max_new_tokens and its seed are
    those given beside it, or chosen here where they are None. model, model_version: empty for the default generator
    and its newest loaded version."""

    prompt: str
    path: str = "prompt.text"
    decoding: Decoding = Decoding()
    max_new_tokens: int | None = None
    seed: int | None = None
    truncation: Truncation = Truncation.TRUNCATE
    model: str = ""
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class GenerateOutput:
    """candidates: best first. prompt_tokens: what the model read; truncated_tokens: what it did not. seed: what the
    random numbers came from; None where there were none."""

    candidates: tuple[Hypothesis, ...]
    prompt_tokens: int
    truncated_tokens: int
    model: ModelInfo
    timing: Timing
    seed: int | None = None


class GenerateTask:
    def __init__(self, generators: Section[Generator]) -> None:
        self._generators = generators

    async def run(self, request: GenerateInput, context: RequestContext) -> GenerateOutput:
        """Write the texts. See errors.py for what it raises."""
        async with aclosing(self._events(request, context, streams=False)) as events:
            async for event in events:
                if isinstance(event, GenerateOutput):
                    return event
        raise EngineError("a generation gave no output")

    async def stream(
        self, request: GenerateInput, context: RequestContext
    ) -> AsyncGenerator[str | GenerateOutput, None]:
        """The text bit by bit as it grows, then the output as a whole. Close it to end the work early."""
        if request.decoding.num_return_sequences > 1:
            raise InvalidInputError("decoding.num_return_sequences", "is more than 1; a stream has one text")
        sent = 0
        async with aclosing(self._events(request, context, streams=True)) as events:
            async for event in events:
                if isinstance(event, GenerateOutput):
                    # With beams nothing is certain, and nothing comes, before the end.
                    rest = event.candidates[0].text[sent:]
                    if rest:
                        yield rest
                    yield event
                elif event:
                    sent += len(event)
                    yield event

    async def _events(
        self, request: GenerateInput, context: RequestContext, *, streams: bool
    ) -> AsyncGenerator[str | GenerateOutput, None]:
        if is_blank(request.prompt):
            raise InvalidInputError(request.path, "is empty")
        if request.truncation is Truncation.CHUNK:
            raise InvalidInputError("truncation", "is CHUNK; a prompt is read in one piece, under TRUNCATE or REJECT")
        timing = Timing()
        async with self._generators.use(request.model, request.model_version) as generator:
            decoding = _decoding(request, generator.info)
            generator.check(decoding)
            prompt = Text(request.prompt, TextKind.QUERY, request.path)
            source = await generator.read(
                prompt, decoding, truncation=request.truncation, context=context, timing=timing
            )
            events = generator.generate(source, decoding, streams=streams, context=context, timing=timing)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Delta):
                        yield event.text
                        continue
                    yield GenerateOutput(
                        candidates=event.hypotheses,
                        prompt_tokens=len(source.ids),
                        truncated_tokens=source.truncated_tokens,
                        model=generator.info,
                        timing=timing,
                        seed=decoding.seed if decoding.do_sample else None,
                    )


def _decoding(request: GenerateInput, info: ModelInfo) -> Decoding:
    """With what the request leaves open."""
    limit = min(DEFAULT_MAX_NEW_TOKENS, info.max_new_tokens)
    return replace(
        request.decoding,
        max_new_tokens=limit if request.max_new_tokens is None else request.max_new_tokens,
        seed=secrets.randbits(SEED_BITS) if request.seed is None else request.seed,
    )
