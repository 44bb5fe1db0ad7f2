"""From profiles to vectors: a profile is a text to embed, or has its embedding already."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Embedded, Job, Profile
from rolecall_server.tasks.encoder import Encoded, Encoder
from rolecall_server.tasks.tokenization import Text
from rolecall_server.text.rendering import is_blank, render
from rolecall_server.types import ModelInfo, RequestContext, TextKind, Timing, TokenUsage, Truncation, Vector

INLINE_CHARS = 50_000
"""Requests with more text are rendered on a worker thread: it would hold the event loop for more than a millisecond."""

STRUCTURED_CHARS = 2_000
"""What a structured profile counts as."""

SHORTEST, LONGEST = 1e-12, 1e12
"""Lengths of embeddings that come with a request, such that no score leaves the range of a float32."""


@dataclass(frozen=True, slots=True)
class Vectorized:
    """`vector` is of unit length unless it came with the request, where it is as given."""

    vector: Vector
    usage: TokenUsage = TokenUsage()
    cache_hit: bool = False


async def vectorize(
    encoder: Encoder,
    sides: Sequence[tuple[Profile | InvalidInputError, TextKind]],
    *,
    needed: int = 0,
    truncation: Truncation,
    context: RequestContext,
    timing: Timing,
) -> list[Vectorized | RolecallError]:
    """A vector or an error for each profile, in their order; all texts go through the encoder together.

    needed: so many of the first profiles have to be readable; InvalidInputError before any work where one is not.
    """

    def read_all() -> list[Text | Vector | InvalidInputError]:
        return [_try_read(profile, kind, encoder.info) for profile, kind in sides]

    large = sum(_size(profile) for profile, _ in sides) > INLINE_CHARS
    given = await encoder.threads.run(read_all) if large else read_all()
    for one in given[:needed]:
        if isinstance(one, InvalidInputError):
            raise one
    texts = [one for one in given if isinstance(one, Text)]
    encoded = iter(await encoder.encode(texts, truncation=truncation, context=context, timing=timing))
    found: list[Vectorized | RolecallError] = []
    for one in given:
        item = next(encoded) if isinstance(one, Text) else one
        if isinstance(item, Encoded):
            found.append(Vectorized(item.vector, item.usage, item.cache_hit))
        else:
            found.append(item if isinstance(item, RolecallError) else Vectorized(item))
    return found


def read(profile: Profile, kind: TextKind, info: ModelInfo) -> Text | Vector:
    """The text to embed, or the given embedding as float32 [dimensions]. InvalidInputError."""
    content = profile.content
    if isinstance(content, Embedded):
        _check_embedding(content.vector, f"{profile.path}.embedding", info)
        return content.vector
    field = "text" if isinstance(content, str) else "job" if isinstance(content, Job) else "resume"
    text = render(content)
    if is_blank(text):
        raise InvalidInputError(f"{profile.path}.{field}", "is empty")
    return Text(text, kind, f"{profile.path}.{field}")


def _try_read(
    profile: Profile | InvalidInputError, kind: TextKind, info: ModelInfo
) -> Text | Vector | InvalidInputError:
    if isinstance(profile, InvalidInputError):
        return profile
    try:
        return read(profile, kind, info)
    except InvalidInputError as error:
        return error


def _check_embedding(vector: Vector, path: str, info: ModelInfo) -> None:
    if vector.shape != (info.dimensions,):
        raise InvalidInputError(path, f"has {vector.size} dimensions; model {info.key} has {info.dimensions}")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not SHORTEST <= length <= LONGEST:
        raise InvalidInputError(path, f"has a length of {length:.3g}; {SHORTEST:g} to {LONGEST:g} are taken")


def _size(profile: Profile | InvalidInputError) -> int:
    """Roughly the characters to look at, without looking at them."""
    if isinstance(profile, InvalidInputError):
        return 0
    return len(profile.content) if isinstance(profile.content, str) else STRUCTURED_CHARS
