"""From texts to embeddings on one model version: cache, tokenise, admit, batch, put the windows together."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from rolecall_server.batching.admission import Admission
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.jobs import Outcome
from rolecall_server.cache.embedding_cache import CachedEmbedding, EmbeddingCache, content_key
from rolecall_server.cache.flights import Flights
from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import (
    ModelInfo,
    Observer,
    RequestContext,
    TextKind,
    Timing,
    TokenIds,
    TokenUsage,
    Truncation,
    Vector,
)

T = TypeVar("T")

INLINE_HASH_CHARS = 500_000
"""More text than that is hashed on a worker thread: it would hold the event loop for a millisecond."""

TEXTS_A_PIECE = 16
"""Texts tokenised in one go by one worker; larger requests are spread over the workers."""


@dataclass(frozen=True, slots=True)
class Text:
    """`path` is the field it came from, for errors."""

    content: str
    kind: TextKind
    path: str


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
    tokenization: Executor
    observer: Observer
    clock: Callable[[], float] = time.monotonic


class Encoder:
    """One loaded version of one encoder."""

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer, *, shared: Shared) -> None:
        self.info = info
        self._tokenizer = tokenizer
        self._shared = shared
        self._flights: Flights[CachedEmbedding | RolecallError] = Flights()

    async def encode(
        self, texts: Sequence[Text], *, truncation: Truncation, context: RequestContext, timing: Timing
    ) -> list[Encoded | RolecallError]:
        """An embedding or an error for each text, in their order; `timing` takes in what was spent.

        Raises what ends the whole request: OverloadedError, DeadlineError, UnavailableError.
        """
        keys = await self._keys(texts, truncation)
        wanted = dict(zip(keys, texts, strict=True))
        known: dict[bytes, CachedEmbedding | RolecallError] = {}
        fresh: set[bytes] = set()
        while missing := [key for key in wanted if key not in known]:
            cached = {key: entry for key in missing if (entry := self._shared.cache.get(key))}
            known.update(cached)
            others = {key: flight for key in missing if key not in cached and (flight := self._flights.under_way(key))}
            mine = {key: wanted[key] for key in missing if key not in cached and key not in others}
            with self._flights.lead(mine) as landed:
                if mine:
                    await self._compute(mine, landed, truncation=truncation, context=context, timing=timing)
            known.update(landed)
            fresh.update(mine)
            if others:
                await asyncio.wait(others.values())
                known.update({key: result for key, flight in others.items() if (result := flight.result())})
        self._shared.observer.on_cache(hits=len(wanted) - len(fresh), misses=len(fresh))
        return [self._answer(known[key], key not in fresh, text) for key, text in zip(keys, texts, strict=True)]

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run `work` on a tokenisation thread."""
        return await asyncio.get_running_loop().run_in_executor(self._shared.tokenization, work)

    async def _keys(self, texts: Sequence[Text], truncation: Truncation) -> list[bytes]:
        def hash_all() -> list[bytes]:
            return [
                content_key(
                    text.content,
                    weights_hash=self.info.weights_hash,
                    prefix=self._tokenizer.prefix(text.kind),
                    truncation=truncation,
                )
                for text in texts
            ]

        large = sum(len(text.content) for text in texts) > INLINE_HASH_CHARS
        return await self.off_loop(hash_all) if large else hash_all()

    def _answer(self, found: CachedEmbedding | RolecallError, hit: bool, text: Text) -> Encoded | RolecallError:
        if isinstance(found, InvalidInputError):
            return InvalidInputError(text.path, found.description)
        if isinstance(found, RolecallError):
            return found
        return Encoded(found.vector, found.usage, hit)

    async def _compute(
        self,
        texts: Mapping[bytes, Text],
        landed: dict[bytes, CachedEmbedding | RolecallError],
        *,
        truncation: Truncation,
        context: RequestContext,
        timing: Timing,
    ) -> None:
        """Tokenise, admit, run; fills `landed` and the cache."""
        self._admit(0, context)  # what has no chance is not even tokenised
        tokenized = await self._tokenize(list(texts.values()), truncation, timing)
        work: dict[bytes, Windows] = {}
        for key, result in zip(texts, tokenized, strict=True):
            if isinstance(result, TextTooLong):
                reason = f"has {result.tokens} tokens; the model takes {result.max_tokens}"
                landed[key] = InvalidInputError("", reason)
            else:
                work[key] = result
        sequences = [window for windows in work.values() for window in windows.windows]
        if not sequences:
            return
        self._admit(sum(len(window) for window in sequences), context)
        outcomes = iter(await self._run(sequences, context))
        for key, windows in work.items():
            landed[key] = _join(windows, [next(outcomes) for _ in windows.windows], timing)
            if isinstance(entry := landed[key], CachedEmbedding):
                self._shared.cache.put(key, entry)

    async def _run(self, sequences: Sequence[TokenIds], context: RequestContext) -> list[Outcome]:
        return await self._shared.batcher.run(self.info.key, sequences, context)

    def _admit(self, tokens: int, context: RequestContext) -> None:
        self._shared.admission.check_tokens(
            tokens,
            queued=self._shared.batcher.queued_tokens(),
            throughput=self._shared.batcher.throughput,
            now=self._shared.clock(),
            deadline=context.deadline,
        )

    async def _tokenize(self, texts: list[Text], truncation: Truncation, timing: Timing) -> list[Windows | TextTooLong]:
        """Tokenise on worker threads, large requests in pieces."""
        loop = asyncio.get_running_loop()
        started = self._shared.clock()
        pieces: list[tuple[TextKind, list[int]]] = []
        for kind in TextKind:
            places = [place for place, text in enumerate(texts) if text.kind is kind]
            starts = range(0, len(places), TEXTS_A_PIECE)
            pieces.extend((kind, places[start : start + TEXTS_A_PIECE]) for start in starts)

        def encode(kind: TextKind, places: list[int]) -> list[Windows | TextTooLong]:
            return self._tokenizer.encode([texts[p].content for p in places], kind=kind, truncation=truncation)

        calls = [loop.run_in_executor(self._shared.tokenization, encode, *piece) for piece in pieces]
        results: dict[int, Windows | TextTooLong] = {}
        for (_, places), encoded in zip(pieces, await asyncio.gather(*calls), strict=True):
            results.update(zip(places, encoded, strict=True))
        seconds = self._shared.clock() - started
        timing.tokenize_seconds += seconds
        truncated = sum(isinstance(r, Windows) and r.truncated_tokens > 0 for r in results.values())
        self._shared.observer.on_tokenized(seconds, truncated_inputs=truncated)
        return [results[place] for place in range(len(texts))]


def _join(windows: Windows, outcomes: Sequence[Outcome], timing: Timing) -> CachedEmbedding | RolecallError:
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
