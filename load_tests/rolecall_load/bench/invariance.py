"""Whether a text's embedding and score depend on what it is batched with: over the wire, alone against in company.

Each text is embedded alone, one call after the other, with nothing else in the server. Then all texts go again,
shuffled into calls of random size, a random number of calls at a time, once by Embed and once by Match. The scores of
Match are compared with a Match of that one document alone, given as its own embedding (no model runs) and, for some,
as text.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub

from rolecall_load.bench.embedders import UNLIMITED, Vectors, read_vectors
from rolecall_load.errors import LoadError
from rolecall_load.texts.source import TextSource

if TYPE_CHECKING:
    from rolecall.v1.matching_pb2_grpc import MatchingServiceAsyncStub

_Response = TypeVar("_Response")

LIMIT = 1e-6
_CALL_SECONDS = 600.0
_QUERY = "I have led teams in software development and logistics for ten years. 我也熟悉财务和人事工作。"

Advance = Callable[[str, int], None]
"""Called with the name of a pass and the number of texts that it has finished since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariancePlan:
    """`texts` in all; calls of 1 to `most_texts`, 1 to `most_calls` at a time; `by_text` of them also matched alone."""

    address: str
    texts: int = 2000
    length: float | None = None
    most_texts: int = 32
    most_calls: int = 16
    by_text: int = 200
    seed: int = 0
    tag: str = ""


@dataclass(frozen=True, slots=True)
class InvarianceResult:
    """Largest absolute differences. `batch_sizes`: the largest batch of each call in company, as the server tells."""

    texts: int
    embedding_difference: float
    score_difference: float
    score_difference_by_text: float
    identical: int
    batch_sizes: tuple[int, ...] = field(repr=False)

    @property
    def largest(self) -> float:
        return max(self.embedding_difference, self.score_difference, self.score_difference_by_text)

    def passed(self, limit: float = LIMIT) -> bool:
        return self.largest <= limit


def random_calls(count: int, *, most: int, generator: random.Random) -> list[list[int]]:
    """The numbers 0 to count - 1, shuffled into groups of 1 to `most`."""
    numbers = list(range(count))
    generator.shuffle(numbers)
    groups = []
    while numbers:
        size = generator.randint(1, most)
        groups.append(numbers[:size])
        del numbers[:size]
    return groups


def largest_difference(alone: NDArray[np.float32], company: NDArray[np.float32]) -> float:
    """Largest absolute difference; infinite where one is no number."""
    found = np.abs(alone.astype(np.float64) - company.astype(np.float64))
    return float(found.max()) if np.isfinite(found).all() else float("inf")


async def measure_invariance(plan: InvariancePlan, advance: Advance) -> InvarianceResult:
    """LoadError when a call fails, or when an answer came from the cache and so proves nothing."""
    source = TextSource("job", ("en", "zh"), tokens=plan.length, seed=plan.seed, tag=plan.tag)
    texts = [source.text(number) for number in range(plan.texts)]
    generator = random.Random(f"invariance:{plan.seed}")
    async with grpc.aio.insecure_channel(plan.address, options=UNLIMITED) as channel:
        passes = _Passes(MatchingServiceStub(channel), texts, plan.address, advance)
        query, _ = await passes.embed_call([_QUERY], kind=pb.EMBED_KIND_QUERY)
        alone = await passes.embed_alone()
        company, sizes = await passes.embed_in_company(_waves(plan, generator))
        scores_alone = await passes.match_embeddings(query[0], alone)
        scores, more_sizes = await passes.match_in_company(_waves(plan, generator))
        chosen = sorted(generator.sample(range(plan.texts), min(plan.by_text, plan.texts)))
        by_text = await passes.match_texts(chosen)
    return InvarianceResult(
        texts=plan.texts,
        embedding_difference=largest_difference(alone, company),
        score_difference=largest_difference(scores_alone, scores),
        score_difference_by_text=largest_difference(by_text, scores[chosen]),
        identical=int((alone == company).all(axis=1).sum()),
        batch_sizes=(*sizes, *more_sizes),
    )


def _waves(plan: InvariancePlan, generator: random.Random) -> list[list[list[int]]]:
    """Calls in groups that are sent together: a random number at a time."""
    calls = random_calls(plan.texts, most=plan.most_texts, generator=generator)
    waves = []
    while calls:
        size = generator.randint(1, plan.most_calls)
        waves.append(calls[:size])
        del calls[:size]
    return waves


@dataclass(frozen=True)
class _Passes:
    """The passes over the texts; each returns arrays in the order of the texts."""

    stub: MatchingServiceAsyncStub
    texts: Sequence[str]
    address: str
    advance: Advance

    async def embed_alone(self) -> Vectors:
        found = []
        for text in self.texts:
            vectors, _ = await self.embed_call([text])
            found.append(vectors[0])
            self.advance("alone", 1)
        return np.stack(found)

    async def embed_in_company(self, waves: Iterable[list[list[int]]]) -> tuple[Vectors, list[int]]:
        found: dict[int, NDArray[np.float32]] = {}
        sizes = []
        for wave in waves:
            answers = await asyncio.gather(*(self.embed_call([self.texts[i] for i in call]) for call in wave))
            for call, (vectors, size) in zip(wave, answers, strict=True):
                found |= dict(zip(call, vectors, strict=True))
                sizes.append(size)
                self.advance("embed in company", len(call))
        return np.stack([found[index] for index in range(len(self.texts))]), sizes

    async def match_in_company(self, waves: Iterable[list[list[int]]]) -> tuple[NDArray[np.float32], list[int]]:
        scores = np.full(len(self.texts), np.nan, np.float32)
        sizes = []
        for wave in waves:
            answers = await asyncio.gather(*(self._match_texts(call) for call in wave))
            for call, (found, size) in zip(wave, answers, strict=True):
                scores[call] = found
                sizes.append(size)
                self.advance("match in company", len(call))
        return scores, sizes

    async def match_embeddings(self, query: NDArray[np.float32], vectors: Vectors) -> NDArray[np.float32]:
        """Each document alone, both sides ready embeddings."""
        asked = types_pb2.Profile(embedding=query.astype("<f4").tobytes())
        scores = []
        for vector in vectors:
            document = types_pb2.Profile(embedding=vector.astype("<f4").tobytes())
            found, _ = await self._match(asked, [document])
            scores.append(found[0])
            self.advance("match embeddings alone", 1)
        return np.array(scores, np.float32)

    async def match_texts(self, chosen: Sequence[int]) -> NDArray[np.float32]:
        """Each of the chosen alone, both sides texts."""
        scores = []
        for index in chosen:
            found, _ = await self._match_texts([index])
            scores.append(found[0])
            self.advance("match texts alone", 1)
        return np.array(scores, np.float32)

    async def embed_call(
        self, texts: Sequence[str], *, kind: pb.EmbedKind = pb.EMBED_KIND_DOCUMENT
    ) -> tuple[Vectors, int]:
        """Vectors in the order of the texts, and the size of the largest batch they ran in."""
        request = pb.EmbedRequest(inputs=[types_pb2.Profile(text=text) for text in texts], kind=kind)
        response = await self._answer(self.stub.Embed(request, timeout=_CALL_SECONDS))
        _refuse_cached(item.cache_hit for item in response.embeddings)
        return read_vectors(response), response.timing.batch_size

    async def _match_texts(self, call: Sequence[int]) -> tuple[list[float], int]:
        documents = [types_pb2.Profile(text=self.texts[index]) for index in call]
        return await self._match(types_pb2.Profile(text=_QUERY), documents)

    async def _match(self, query: types_pb2.Profile, documents: Sequence[types_pb2.Profile]) -> tuple[list[float], int]:
        """Scores in the order of the documents."""
        request = pb.MatchRequest(query=query, documents=documents)
        response = await self._answer(self.stub.Match(request, timeout=_CALL_SECONDS))
        _refuse_cached(result.cache_hit for result in response.results)
        failed = [result for result in response.results if result.status.code]
        if failed or len(response.results) != len(documents):
            raise LoadError(f"{len(failed)} of {len(documents)} documents were not matched")
        scores = {result.index: result.score for result in response.results}
        return [scores[index] for index in range(len(documents))], response.timing.batch_size

    async def _answer(self, call: Awaitable[_Response]) -> _Response:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise LoadError(f"{self.address}: {error.code().name}: {error.details()}") from error


def _refuse_cached(hits: Iterable[bool]) -> None:
    if any(hits):
        raise LoadError("an embedding came from the cache and proves nothing: serve with --embedding-cache-mb 0")
