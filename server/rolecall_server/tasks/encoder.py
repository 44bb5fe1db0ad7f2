"""From texts to embeddings on one model version: cache, tokenise, admit, batch, put the windows together."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rolecall_server.batching.admission import Admission
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.jobs import Outcome
from rolecall_server.cache.embedding_cache import CachedEmbedding, EmbeddingCache, content_key
from rolecall_server.cache.flights import Flights
from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.tasks.tokenization import Text, TokenizationThreads
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import ModelInfo, Observer, RequestContext, Timing, TokenUsage, Truncation, Vector

INLINE_HASH_CHARS = 500_000
"""More text than that is hashed on a worker thread: it would hold the event loop for a millisecond."""

BYTES_A_TOKEN = 5
"""A token of English or Chinese stands for four to five bytes of UTF-8."""

Found = CachedEmbedding | RolecallError


@dataclass(frozen=True, slots=True)
class Encoded:
    """cache_hit: from the cache, or from a computation of the same text that was under way."""

    vector: Vector
    usage: TokenUsage
    cache_hit: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """What all encoders of a server have in common."""

    batcher: Batcher
    cache: EmbeddingCache
    admission: Admission
    tokenization: TokenizationThreads
    observer: Observer
    clock: Callable[[], float] = time.monotonic


class Encoder:
    """One loaded version of one encoder."""

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer, *, shared: Shared) -> None:
        self.info = info
        self.threads = shared.tokenization
        self._tokenizer = tokenizer
        self._shared = shared
        self._flights: Flights[Found] = Flights()

    async def encode(
        self, texts: Sequence[Text], *, truncation: Truncation, context: RequestContext, timing: Timing
    ) -> list[Encoded | RolecallError]:
        """An embedding or an error for each text, in their order; `timing` takes in what was spent.

        Raises what ends the whole request: OverloadedError, DeadlineError, UnavailableError.
        """
        keys = await self._keys(texts, truncation)
        wanted = dict(zip(keys, texts, strict=True))
        known: dict[bytes, Found] = {}
        fresh: set[bytes] = set()
        while missing := [key for key in wanted if key not in known]:
            known.update({key: entry for key in missing if (entry := self._shared.cache.get(key))})
            flights = {key: self._flights.under_way(key, context.priority) for key in missing if key not in known}
            others = {key: flight for key, flight in flights.items() if flight is not None}
            mine = {key: wanted[key] for key in flights if key not in others}
            if mine:
                try:
                    known.update(await self._compute(mine, truncation=truncation, context=context, timing=timing))
                except InvalidInputError as error:  # all texts together are too much: that is said of the list
                    raise InvalidInputError(texts[-1].path.split("[")[0], error.description) from error
                fresh.update(mine)
            if others:
                await asyncio.wait(others.values())
                known.update({key: result for key, flight in others.items() if (result := flight.result())})
        self._shared.observer.on_cache(hits=len(wanted) - len(fresh), misses=len(fresh))
        return [_answer(known[key], text, hit=key not in fresh) for key, text in zip(keys, texts, strict=True)]

    async def _keys(self, texts: Sequence[Text], truncation: Truncation) -> list[bytes]:
        model = f"{self.info.key} {self.info.weights_hash} {self.info.max_tokens}"

        def hash_all() -> list[bytes]:
            return [
                content_key(t.content, model=model, prefix=self._tokenizer.prefix(t.kind), truncation=truncation)
                for t in texts
            ]

        large = sum(len(text.content) for text in texts) > INLINE_HASH_CHARS
        return await self.threads.run(hash_all) if large else hash_all()

    async def _compute(
        self, texts: Mapping[bytes, Text], *, truncation: Truncation, context: RequestContext, timing: Timing
    ) -> dict[bytes, Found]:
        """Tokenise, admit, run. Each result goes to the cache and to those who wait for it as soon as it is there."""
        found: dict[bytes, Found] = {}
        with self._flights.lead(texts, context.priority) as land:

            def settle(key: bytes, result: Found) -> None:
                found[key] = result
                if isinstance(result, CachedEmbedding):
                    self._shared.cache.put(key, result)
                land(key, result)

            # What has no chance is not even tokenised.
            self._admit(self._expected_tokens(texts, truncation, context), context)
            work: list[tuple[bytes, Windows]] = []
            for key, windows in (await self._tokenize(texts, truncation, context, timing)).items():
                if (fault := self._fault(windows, context)) is not None:
                    settle(key, fault)
                elif isinstance(windows, Windows):
                    work.append((key, windows))

            def on_text(number: int, outcomes: list[Outcome]) -> None:
                key, windows = work[number]
                settle(key, _join(windows, outcomes, timing))

            if work:
                self._admit(sum(windows.input_tokens for _, windows in work), context)
                sequences = [windows.windows for _, windows in work]
                await self._shared.batcher.run(self.info.key, sequences, context, on_text=on_text)
        return found

    def _expected_tokens(self, texts: Mapping[bytes, Text], truncation: Truncation, context: RequestContext) -> int:
        """Roughly what the texts will come to, rather too few; the limit of one request is judged on the count."""
        most = math.inf if truncation is Truncation.CHUNK else self.info.max_tokens
        sizes = (len(text.content.encode("utf8", "surrogatepass")) for text in texts.values())
        expected = sum(min(size // BYTES_A_TOKEN, most) for size in sizes)
        return int(min(expected, self._shared.admission.queue_limit(context.priority)))

    def _fault(self, windows: Windows | TextTooLong, context: RequestContext) -> InvalidInputError | None:
        """Why a single text can't be run, if it can't; its neighbours can."""
        if isinstance(windows, TextTooLong):
            return InvalidInputError("", f"has {windows.tokens} tokens; the model takes {windows.max_tokens}")
        limit = self._shared.admission.queue_limit(context.priority)
        if windows.input_tokens > limit:
            return InvalidInputError("", f"has {windows.input_tokens} tokens; at most {limit} are taken")
        return None

    def _admit(self, tokens: int, context: RequestContext) -> None:
        self._shared.admission.check_tokens(
            tokens,
            self._shared.batcher.backlog(self.info.key, tokens, context.priority),
            priority=context.priority,
            now=self._shared.clock(),
            deadline=context.deadline,
        )

    async def _tokenize(
        self, texts: Mapping[bytes, Text], truncation: Truncation, context: RequestContext, timing: Timing
    ) -> dict[bytes, Windows | TextTooLong]:
        started = self._shared.clock()
        enough = self._shared.admission.queue_limit(context.priority)
        with self._shared.admission.characters(sum(len(text.content) for text in texts.values())):
            found = await self.threads.tokenize(list(texts.values()), self._tokenizer, truncation, enough=enough)
        seconds = self._shared.clock() - started
        timing.tokenize_seconds += seconds
        truncated = sum(isinstance(result, Windows) and result.truncated_tokens > 0 for result in found.values())
        self._shared.observer.on_tokenized(seconds, truncated_inputs=truncated)
        keys = list(texts)
        return {keys[place]: windows for place, windows in found.items()}


def _answer(found: Found, text: Text, *, hit: bool) -> Encoded | RolecallError:
    if isinstance(found, InvalidInputError):
        return InvalidInputError(text.path, found.description)
    if isinstance(found, RolecallError):
        return found
    return Encoded(found.vector, found.usage, hit)


def _join(windows: Windows, outcomes: Sequence[Outcome], timing: Timing) -> Found:
    """One text's embedding: the mean of its windows' embeddings, weighted by their tokens of text, of unit length."""
    vectors = []
    for outcome in outcomes:
        if isinstance(outcome, RolecallError):
            return outcome
        timing.include_batch(
            queue_seconds=outcome.queue_seconds,
            inference_seconds=outcome.inference_seconds,
            batch_size=outcome.batch_size,
            padded_tokens=outcome.padded_tokens,
        )
        vectors.append(outcome.vector)
    if len(vectors) == 1:
        joined = vectors[0].copy()  # a row of its own, so that the cache does not keep the whole batch alive
    else:
        mean = np.average(np.stack(vectors).astype(np.float64), axis=0, weights=windows.weights)
        joined = (mean / np.linalg.norm(mean)).astype(np.float32)
    usage = TokenUsage(
        input_tokens=sum(len(window) for window in windows.windows),
        truncated_tokens=windows.truncated_tokens,
        chunks=len(windows.windows),
    )
    return CachedEmbedding(joined, usage)
