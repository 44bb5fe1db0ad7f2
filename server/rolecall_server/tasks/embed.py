"""Embed: the embeddings of texts, resumes and jobs."""

from dataclasses import dataclass

import numpy as np

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Profile
from rolecall_server.tasks.catalog import Section
from rolecall_server.tasks.encoder import Encoder
from rolecall_server.tasks.inputs import Vectorized, vectorize
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
    def __init__(self, encoders: Section[Encoder]) -> None:
        self._encoders = encoders

    async def run(self, request: EmbedInput, context: RequestContext) -> EmbedOutput:
        """Embed the inputs. Raises what concerns the whole request; see errors.py."""
        timing = Timing()
        async with self._encoders.use(request.model, request.model_version) as encoder:
            sides = [(profile, request.kind) for profile in request.inputs]
            found = await vectorize(encoder, sides, truncation=request.truncation, context=context, timing=timing)
        return EmbedOutput(tuple(_embedded(item) for item in found), encoder.info, timing)


def _embedded(item: Vectorized | RolecallError) -> EmbeddedInput:
    if isinstance(item, RolecallError):
        return EmbeddedInput(error=item)
    if item.usage.chunks:
        return EmbeddedInput(item.vector, item.usage, item.cache_hit)
    given = item.vector.astype(np.float64)  # came with the request, of any length
    return EmbeddedInput((given / np.linalg.norm(given)).astype(np.float32))
