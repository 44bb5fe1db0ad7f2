"""The texts of the speed bench, and how they are put into batches."""

from __future__ import annotations

from collections.abc import Sequence

from rolecall_load.bench.embedders import DirectEncoder, Tokens
from rolecall_load.errors import LoadError
from rolecall_load.texts.source import TextSource

WINDOW = 32


def choose_texts(encoder: DirectEncoder, count: int, *, mean_tokens: float, seed: int) -> list[str]:
    """Job posts in both languages with a spread of lengths like that of real ones, none cut by the model's window.

    What a server would split into windows and others cut is left out: all have to do the same work.
    """
    source = TextSource("job", ("en", "zh"), tokens=mean_tokens, seed=seed)
    texts = [source.text(number) for number in range(2 * count)]
    lengths = [len(ids) for ids in encoder.tokenize([marked(text, 0) for text in texts], "document").ids]
    chosen = [text for text, length in zip(texts, lengths, strict=True) if length < encoder.max_tokens][:count]
    if len(chosen) < count:
        raise LoadError(f"texts of {mean_tokens:g} tokens on average do not fit a window of {encoder.max_tokens}")
    return chosen


def marked(text: str, number: int) -> str:
    """The text as it goes out in turn `number`, so that a cache never saw it; the mark hardly changes its length."""
    return f"{number:03d} {text}"


def windowed_batches(tokens: Tokens, size: int, *, window: int = WINDOW) -> list[list[int]]:
    """Indexes in batches of at most `size`: texts as they arrive, sorted by length within each `window` of them."""
    lengths: Sequence[int] = [len(ids) for ids in tokens.ids]
    batches = []
    for start in range(0, len(lengths), window):
        order = sorted(range(start, min(start + window, len(lengths))), key=lambda index: lengths[index])
        batches += [order[first : first + size] for first in range(0, len(order), size)]
    return batches
