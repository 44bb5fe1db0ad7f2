"""Texts to windows of token ids, around the `tokenizers` library.

Safe to call from several threads at once, which is how it gets its speed: the library releases the interpreter's lock
while it works. Its own thread pool would fight with those threads: TOKENIZERS_PARALLELISM=false switches it off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from rolecall_server.errors import EngineError
from rolecall_server.text.chunking import Positions, find_breaks, plan_windows, split_pieces
from rolecall_server.types import TextKind, TokenIds, Truncation

# Texts of fewer characters per token of the window are tried without offsets first, which costs half as much; longer
# ones hardly ever fit, and go once through the tokenizer, with offsets.
_SHORT_CHARS_PER_TOKEN = 2
# Longer texts go through the tokenizer in pieces: it needs some 500 bytes a character, and handing over the offsets
# of a million characters at a time would hold the interpreter's lock for a tenth of a second.
_PIECE_CHARS = 32_768


@dataclass(frozen=True, slots=True)
class Windows:
    """What the model reads for one text.

    windows: one or more sequences of token ids, special tokens and the kind's prefix included in each.
    weights: tokens of the text itself in each window, at least 1. truncated_tokens: tokens of the text in no window.
    """

    windows: tuple[TokenIds, ...]
    weights: tuple[int, ...]
    truncated_tokens: int = 0

    @property
    def input_tokens(self) -> int:
        """Tokens over all windows, as the model gets them."""
        return sum(map(len, self.windows))


@dataclass(frozen=True, slots=True)
class TextTooLong:
    """Stands for a text that needs more than one window, where that was ruled out. Tokens as the model would read."""

    tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class _Tokens:
    """One whole text: the ids of the prefix, those of the text, and the characters of the text each stands for."""

    prefix: TokenIds
    body: TokenIds
    starts: Positions
    ends: Positions


class Tokenizer:
    """The tokenizer of one model version."""

    def __init__(self, backend: tokenizers.Tokenizer, *, max_tokens: int, prefixes: Mapping[str, str]) -> None:
        """`backend` is this object's own from here on: padding and truncation are switched off in it."""
        backend.no_padding()
        backend.no_truncation()
        # "[SEP]" or "</s>" in a text is what someone wrote, not a border for the model.
        backend.encode_special_tokens = True
        self._backend = backend
        self._max_tokens = max_tokens
        self._prefixes = {kind: prefixes.get(kind.value, "") for kind in TextKind}
        mask = backend.encode("a").special_tokens_mask
        ids = np.array(backend.encode("a").ids, dtype=np.int64)
        text_at = mask.index(0)
        text_end = len(mask) - mask[::-1].index(0)
        self._head, self._tail = ids[:text_at], ids[text_end:]
        self._overhead = {
            kind: len(backend.encode(prefix.rstrip()).ids) if prefix else len(self._head) + len(self._tail)
            for kind, prefix in self._prefixes.items()
        }
        # One more for the space that some tokenizers make a token of its own after the prefix, and one of the text.
        if max_tokens < max(self._overhead.values()) + 2:
            raise EngineError(
                f"a window of {max_tokens} tokens leaves no room for text beside prefix and special tokens"
            )

    @classmethod
    def load(cls, path: Path, *, max_tokens: int, prefixes: Mapping[str, str]) -> "Tokenizer":
        """Read a tokenizer.json. EngineError where it is missing or damaged.

        max_tokens: the model's window, special tokens included. prefixes: what goes before a text, by the value of
        its TextKind; none where the kind is missing.
        """
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            raise EngineError(f"unreadable {path.name}: {error}") from error
        return cls(backend, max_tokens=max_tokens, prefixes=prefixes)

    def prefix(self, kind: TextKind) -> str:
        """What goes before a text of this kind."""
        return self._prefixes[kind]

    def encode(self, texts: Sequence[str], *, kind: TextKind, truncation: Truncation) -> list[Windows | TextTooLong]:
        """The windows of each text, in their order.

        CHUNK: as many as it takes, every token in exactly one. TRUNCATE: the first one, filled to its last token.
        REJECT: TextTooLong for a text that needs more than one.
        """
        prefix = self._prefixes[kind]
        short = [text for text in texts if len(text) <= _SHORT_CHARS_PER_TOKEN * self._max_tokens]
        encodings = iter(self._backend.encode_batch_fast([prefix + text for text in short]) if short else ())
        results: list[Windows | TextTooLong] = []
        for text in texts:
            if len(text) <= _SHORT_CHARS_PER_TOKEN * self._max_tokens:
                ids = next(encodings).ids
                if len(ids) <= self._max_tokens:
                    weight = max(1, len(ids) - self._overhead[kind])
                    results.append(Windows((np.array(ids, dtype=np.int64),), (weight,)))
                    continue
            results.append(self._encode_long(text, prefix, truncation))
        return results

    def _encode_long(self, text: str, prefix: str, truncation: Truncation) -> Windows | TextTooLong:
        breaks = find_breaks(text)
        tokens = self._tokenize(text, prefix, split_pieces(text, breaks, limit=_PIECE_CHARS))
        surrounding = len(self._head) + len(tokens.prefix) + len(self._tail)
        capacity = self._max_tokens - surrounding
        count = len(tokens.body)
        if count <= capacity:
            return self._windows(tokens, [(0, count)])
        if truncation is Truncation.REJECT:
            return TextTooLong(tokens=count + surrounding, max_tokens=self._max_tokens)
        if truncation is Truncation.TRUNCATE:
            return self._windows(tokens, [(0, capacity)])
        return self._windows(tokens, plan_windows(text, tokens.starts, tokens.ends, breaks=breaks, capacity=capacity))

    def _tokenize(self, text: str, prefix: str, pieces: Sequence[tuple[int, int]]) -> _Tokens:
        """Tokenise piece by piece, each behind the prefix, so that a piece begins as the model has seen texts begin."""
        prefix_ids = np.empty(0, dtype=np.int64)
        bodies: list[TokenIds] = []
        spans: list[Positions] = []
        for first, last in pieces:
            # A batch of one: the call for a single text would hold the interpreter's lock.
            encoding = self._backend.encode_batch([prefix + text[first:last]], add_special_tokens=False)[0]
            ids = np.array(encoding.ids, dtype=np.int64)
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            # A token that reaches beyond the prefix is the text's, even where it begins with the prefix's last space.
            own = int(np.count_nonzero(np.maximum.accumulate(offsets[:, 1]) <= len(prefix))) if prefix else 0
            if first == 0:
                prefix_ids = ids[:own]
            bodies.append(ids[own:])
            spans.append(np.maximum(offsets[own:] - len(prefix), 0) + first)
        span = np.concatenate(spans)
        return _Tokens(prefix_ids, np.concatenate(bodies), starts=span[:, 0], ends=span[:, 1])

    def _windows(self, tokens: _Tokens, spans: Sequence[tuple[int, int]]) -> Windows:
        windows = tuple(
            np.concatenate((self._head, tokens.prefix, tokens.body[first:last], self._tail)) for first, last in spans
        )
        return Windows(windows, tuple(max(1, last - first) for first, last in spans), len(tokens.body) - spans[-1][1])
