"""Match: one query against N documents."""

from dataclasses import dataclass

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Profile
from rolecall_server.tasks.catalog import Section
from rolecall_server.tasks.encoder import Encoder
from rolecall_server.tasks.inputs import Vectorized, vectorize
from rolecall_server.tasks.scoring import rank, score
from rolecall_server.types import (
    Metric,
    ModelInfo,
    Observer,
    RequestContext,
    TextKind,
    Timing,
    TokenUsage,
    Truncation,
)


@dataclass(frozen=True, slots=True)
class MatchInput:
    """A document that could not be understood stands as its error in its place; the others are ranked.

    top_k: 0 for all. model, model_version: empty for the default encoder and its newest loaded version.
    """

    query: Profile
    documents: tuple[Profile | InvalidInputError, ...]
    top_k: int = 0
    min_score: float | None = None
    metric: Metric = Metric.COSINE
    truncation: Truncation = Truncation.CHUNK
    model: str = ""
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class MatchedDocument:
    """One document's result; `error` set means there is no score."""

    index: int
    score: float = 0.0
    usage: TokenUsage = TokenUsage()
    cache_hit: bool = False
    error: RolecallError | None = None


@dataclass(frozen=True, slots=True)
class MatchOutput:
    """results: best first, ties by index, failed documents last."""

    results: tuple[MatchedDocument, ...]
    model: ModelInfo
    timing: Timing


class MatchTask:
    def __init__(self, encoders: Section[Encoder], observer: Observer) -> None:
        self._encoders = encoders
        self._observer = observer

    async def run(self, request: MatchInput, context: RequestContext) -> MatchOutput:
        """Rank the documents. Raises what concerns the query or the whole request; see errors.py."""
        timing = Timing()
        async with self._encoders.use(request.model, request.model_version) as encoder:
            query, *documents = await vectorize(
                encoder,
                [(request.query, TextKind.QUERY), *((document, TextKind.DOCUMENT) for document in request.documents)],
                needed=1,
                truncation=request.truncation,
                context=context,
                timing=timing,
            )
        if isinstance(query, RolecallError):
            raise query
        good = [(i, d) for i, d in enumerate(documents) if isinstance(d, Vectorized)]
        scores = score(query.vector, [d.vector for _, d in good], request.metric)
        if request.metric is Metric.COSINE:  # watched for drift: one metric, or the numbers say nothing
            self._observer.on_scores(scores)
        results = [
            MatchedDocument(good[p][0], float(scores[p]), good[p][1].usage, good[p][1].cache_hit)
            for p in rank(scores, top_k=request.top_k, min_score=request.min_score)
        ]
        failed = [MatchedDocument(i, error=d) for i, d in enumerate(documents) if isinstance(d, RolecallError)]
        return MatchOutput((*results, *failed), encoder.info, timing)
