"""Embed: the embeddings of texts, resumes and jobs."""

from dataclasses import dataclass

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Profile
from rolecall_server.types import ModelInfo, RequestContext, TextKind, Timing, TokenUsage, Truncation, Vector


@dataclass(frozen=True, slots=True)
class EmbedInput:
    """An input that could not be understood stands as its error in its place; the others are embedded."""

    inputs: tuple[Profile | InvalidInputError, ...]
    kind: TextKind = TextKind.DOCUMENT
    truncation: Truncation = Truncation.CHUNK
    model: str = ""
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedInput:
    """One input's embedding, or the error it failed with."""

    vector: Vector | None = None
    usage: TokenUsage = TokenUsage()
    cache_hit: bool = False
    error: RolecallError | None = None


@dataclass(frozen=True, slots=True)
class EmbedOutput:
    """embeddings: one for each input, in their order."""

    embeddings: tuple[EmbeddedInput, ...]
    model: ModelInfo
    timing: Timing


class EmbedTask:
    async def run(self, request: EmbedInput, context: RequestContext) -> EmbedOutput: ...
