"""From profiles to vectors: a profile is a text to embed, or has its embedding already."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rolecall_server.errors import InvalidInputError, RolecallError
from rolecall_server.profiles import Embedded, Job, Profile
from rolecall_server.tasks.encoder import Encoder, Text
from rolecall_server.text.rendering import is_blank, render
from rolecall_server.types import ModelInfo, RequestContext, TextKind, Timing, TokenUsage, Truncation, Vector


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
    truncation: Truncation,
    context: RequestContext,
    timing: Timing,
) -> list[Vectorized | RolecallError]:
    """A vector or an error for each profile, in their order; all texts go through the encoder together."""
    found: dict[int, Vectorized | RolecallError] = {}
    texts: dict[int, Text] = {}
    for place, (profile, kind) in enumerate(sides):
        try:
            given = profile if isinstance(profile, InvalidInputError) else read(profile, kind, encoder.info)
        except InvalidInputError as error:
            given = error
        if isinstance(given, Text):
            texts[place] = given
        else:
            found[place] = Vectorized(given) if isinstance(given, np.ndarray) else given
    encoded = await encoder.encode(list(texts.values()), truncation=truncation, context=context, timing=timing)
    for place, item in zip(texts, encoded, strict=True):
        found[place] = item if isinstance(item, RolecallError) else Vectorized(item.vector, item.usage, item.cache_hit)
    return [found[place] for place in range(len(sides))]


def read(profile: Profile, kind: TextKind, info: ModelInfo) -> Text | Vector:
    """The text to embed, or the given embedding as float32 [dimensions]. InvalidInputError."""
    content = profile.content
    if isinstance(content, Embedded):
        if content.vector.shape != (info.dimensions,):
            found = content.vector.size
            raise InvalidInputError(
                f"{profile.path}.embedding", f"has {found} dimensions; model {info.key} has {info.dimensions}"
            )
        return content.vector
    field = "text" if isinstance(content, str) else "job" if isinstance(content, Job) else "resume"
    text = render(content)
    if is_blank(text):
        raise InvalidInputError(f"{profile.path}.{field}", "is empty")
    return Text(text, kind, f"{profile.path}.{field}")
