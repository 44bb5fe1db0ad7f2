"""Match: one query against N documents."""

from dataclasses import dataclass

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Profile
from rolecall_server.types import Metric, ModelInfo, RequestContext, Timing, TokenUsage, Truncation


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
    async def run(self, request: MatchInput, context: RequestContext) -> MatchOutput: ...
