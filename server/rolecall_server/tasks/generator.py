"""From a prompt to texts on one generator version: tokenise, admit, generate."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from rolecall_server.batching.admission import Admission
from rolecall_server.engine.base import Engine
from rolecall_server.errors import EngineError, InvalidInputError
from rolecall_server.generation.decoding import check
from rolecall_server.generation.stepper import StepperInfo
from rolecall_server.generation.types import Decoding, Delta, Finished, GenerationRequest
from rolecall_server.tasks.encoder import BYTES_A_TOKEN
from rolecall_server.tasks.tokenization import Text, TokenizationThreads
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer
from rolecall_server.types import ModelInfo, Observer, RequestContext, Timing, TokenIds, Truncation

_REQUEST_ID = 0
"""Each engine numbers its requests itself."""


@dataclass(frozen=True, slots=True)
class Source:
    """ids: what the model reads, special tokens included. truncated_tokens: of the text, beyond what it reads."""

    ids: TokenIds
    truncated_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What all generators of a server have in common."""

    engine: Engine
    admission: Admission
    tokenization: TokenizationThreads
    observer: Observer
    clock: Callable[[], float] = time.monotonic


class Generator:
    """One loaded version of one generator."""

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer, *, stepper: StepperInfo, parts: GenerationParts) -> None:
        self.info = info
        self._tokenizer = tokenizer
        self._stepper = stepper
        self._parts = parts

    def check(self, decoding: Decoding) -> None:
        """InvalidInputError where this model can't decode so."""
        check(decoding, self._stepper)

    async def read(
        self, prompt: Text, decoding: Decoding, *, truncation: Truncation, context: RequestContext, timing: Timing
    ) -> Source:
        """What the model reads of a prompt, admitted. InvalidInputError, OverloadedError, DeadlineError,
        UnavailableError."""
        try:
            expected = len(prompt.content.encode("utf8", "surrogatepass")) // BYTES_A_TOKEN
            # What has no chance is not even tokenised.
            self._admit(min(expected, self.info.max_tokens), decoding, context)
            source = await self._tokenize(prompt, truncation, timing)
            self._admit(len(source.ids), decoding, context)
        except InvalidInputError as error:
            raise InvalidInputError(error.field or prompt.path, error.description) from error
        return source

    async def generate(
        self, source: Source, decoding: Decoding, *, streams: bool, context: RequestContext, timing: Timing
    ) -> AsyncGenerator[Delta | Finished, None]:
        """Deltas where it streams, then what came of it. Closing it ends the work at its next step."""
        arrived = self._parts.clock()
        request = GenerationRequest(
            id=_REQUEST_ID,
            source=source.ids,
            decoding=decoding,
            priority=context.priority,
            arrived=arrived,
            deadline=context.deadline,
            streams=streams,
        )
        async with aclosing(self._parts.engine.generate(self.info.key, request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    stats = event.stats
                    timing.queue_seconds = stats.queue_seconds
                    timing.inference_seconds = stats.total_seconds - stats.queue_seconds
                    timing.batch_size = stats.batch_size
                    yield event
                    return
                yield event
        raise EngineError("the engine ended a generation without an answer")

    def _admit(self, source_tokens: int, decoding: Decoding, context: RequestContext) -> None:
        """A request counts as its source and all that it may write, for each text that it writes at a time."""
        self._parts.admission.check_tokens(
            source_tokens + decoding.rows * decoding.max_new_tokens,
            self._parts.engine.generation_backlog(self.info.key, context.priority),
            priority=context.priority,
            now=self._parts.clock(),
            deadline=context.deadline,
        )

    async def _tokenize(self, prompt: Text, truncation: Truncation, timing: Timing) -> Source:
        started = self._parts.clock()
        with self._parts.admission.characters(len(prompt.content)):
            found = await self._parts.tokenization.tokenize(
                [prompt], self._tokenizer, truncation, enough=self.info.max_tokens
            )
        timing.tokenize_seconds = self._parts.clock() - started
        windows = found[0]
        if isinstance(windows, TextTooLong):
            self._parts.observer.on_tokenized(timing.tokenize_seconds, truncated_inputs=0)
            raise InvalidInputError("", f"has {windows.tokens} tokens; the model takes {windows.max_tokens}")
        truncated = windows.truncated_tokens
        self._parts.observer.on_tokenized(timing.tokenize_seconds, truncated_inputs=truncated > 0)
        return Source(windows.windows[0], truncated)
