"""Texts to windows of token ids on worker threads, so that the event loop does not wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rolecall_server.errors import EngineError
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import TextKind, Truncation

T = TypeVar("T")

TEXTS_A_PIECE = 16
"""Texts tokenised in one go by one worker; larger requests are spread over the workers."""


@dataclass(frozen=True, slots=True)
class Text:
    """`path` is the field it came from, for errors."""

    content: str
    kind: TextKind
    path: str


async def off_loop(threads: Executor, work: Callable[[], T]) -> T:
    """Run `work` on a worker thread. EngineError where it ends in something no caller could catch."""

    def guarded() -> T:
        try:
            return work()
        except Exception:
            raise
        except BaseException as error:  # a panic of native code: left alone, it would reach nobody
            raise EngineError(f"{type(error).__name__} on a worker thread") from error

    return await asyncio.get_running_loop().run_in_executor(threads, guarded)


async def tokenize(
    texts: Sequence[Text], tokenizer: Tokenizer, truncation: Truncation, *, threads: Executor
) -> list[Windows | TextTooLong]:
    """The windows of each text, in their order."""
    pieces: list[tuple[TextKind, list[int]]] = []
    for kind in TextKind:
        places = [place for place, text in enumerate(texts) if text.kind is kind]
        starts = range(0, len(places), TEXTS_A_PIECE)
        pieces.extend((kind, places[start : start + TEXTS_A_PIECE]) for start in starts)

    def encode(kind: TextKind, places: list[int]) -> list[Windows | TextTooLong]:
        return tokenizer.encode([texts[place].content for place in places], kind=kind, truncation=truncation)

    work = [off_loop(threads, partial(encode, *piece)) for piece in pieces]
    results: dict[int, Windows | TextTooLong] = {}
    for (_, places), encoded in zip(pieces, await asyncio.gather(*work), strict=True):
        results.update(zip(places, encoded, strict=True))
    return [results[place] for place in range(len(texts))]
