"""Texts to windows of token ids on worker threads, so that the event loop does not wait for it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rolecall_server.errors import EngineError
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import TextKind, Truncation

T = TypeVar("T")

PIECE_CHARS = 50_000
"""A request is tokenised in pieces of about so many characters, one after the other, and others get in between."""

LONG_CHARS = 200_000
"""A text of more characters takes a thread for a while: one thread is kept free of these."""


@dataclass(frozen=True, slots=True)
class Text:
    """`path` is the field it came from, for errors."""

    content: str
    kind: TextKind
    path: str


class TokenizationThreads:
    """The worker threads for text. Made on the event loop, which owns it."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, "tokenize")
        self._long = asyncio.Semaphore(max(1, workers - 1))

    def close(self) -> None:
        """Take no more work, and don't wait for what runs: nobody is there to hear of it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread. EngineError where it ends in something no caller could catch."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _guarded, work)

    async def tokenize(
        self, texts: Sequence[Text], tokenizer: Tokenizer, truncation: Truncation, *, enough: int
    ) -> dict[int, Windows | TextTooLong]:
        """The windows of each text by its position.

        Once texts of at most `enough` tokens each hold more than that together, the request is too large anyway, and
        those that follow are left out.
        """
        found: dict[int, Windows | TextTooLong] = {}
        tokens = 0
        for kind, places in _pieces(texts):
            contents = [texts[place].content for place in places]
            work = partial(tokenizer.encode, contents, kind=kind, truncation=truncation)
            if len(contents[0]) > LONG_CHARS:
                async with self._long:
                    encoded = await self.run(work)
            else:
                encoded = await self.run(work)
            found.update(zip(places, encoded, strict=True))
            counts = [windows.input_tokens for windows in encoded if isinstance(windows, Windows)]
            tokens += sum(count for count in counts if count <= enough)
            if tokens > enough:
                break
        return found


def _pieces(texts: Sequence[Text]) -> Iterator[tuple[TextKind, list[int]]]:
    """Positions of texts of one kind, together of about PIECE_CHARS; a text longer than that alone."""
    for kind in TextKind:
        piece: list[int] = []
        chars = 0
        for place, text in enumerate(texts):
            if text.kind is not kind:
                continue
            if piece and chars + len(text.content) > PIECE_CHARS:
                yield kind, piece
                piece, chars = [], 0
            piece.append(place)
            chars += len(text.content)
        if piece:
            yield kind, piece


def _guarded(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception:
        raise
    except BaseException as error:  # a panic of native code: left alone, it would reach nobody
        raise EngineError(f"{type(error).__name__} on a worker thread") from error
