"""From tokens to text while they come: no half characters, right spaces, nothing of a stop string."""

from collections.abc import Iterable, Sequence
from typing import Protocol

_UNDECODED = "\ufffd"
_LONGEST_WAIT = 64
"""Tokens that may wait for a whole character; so many without one are no text."""
_STILL_OPEN = 3
"""A character of UTF-8 has at most four bytes, so of those tokens this many may yet become one."""


class Detokenizer(Protocol):
    """Gives the text of tokens. Special ones (padding, end, sentinels) are left out, undecodable bytes are U+FFFD."""

    def decode(self, ids: Sequence[int], /) -> str: ...


class TextStream:
    """Text of one row, token by token: `push` them all, then `finish`; what they return, joined, is the row's text.

    That is what the detokenizer gives for all tokens at once, cut before the first stop string to be complete. One
    exception: where byte pieces in a row are not UTF-8, ByteFallback gives up on all of them, while the characters
    that were whole stay here, as they may be with the client already.

    A token costs one decoding of the few tokens since the last whole character, after a token of the same text so
    that they don't count as its beginning, where detokenizers drop a space.
    """

    def __init__(self, detokenizer: Detokenizer, stop: Iterable[str] = ()) -> None:
        self._detokenizer = detokenizer
        self._stops = _StopFinder(tuple(stop))
        self._context: list[int] = []
        self._context_text = ""
        self._pending: list[int] = []
        self._shown = 0  # characters of the pending tokens' text that were given already

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete; nothing comes any more."""
        return self._stops.found

    def push(self, token: int) -> str:
        """The text that is sure after one more token; often of an earlier one, often empty."""
        if self.stopped:
            return ""
        self._pending.append(token)
        text = self._text(self._pending)
        if not text:
            # Nothing before any text may be the space that the beginning swallows; twice it would show.
            if self._context or not self._detokenizer.decode([token, token]):
                self._pending.pop()
            return ""
        if not text.endswith(_UNDECODED):
            new = self._settle(len(self._pending), text)
        elif len(self._pending) > _LONGEST_WAIT:
            count = self._cut()
            new = self._settle(count, self._text(self._pending[:count]))
        else:
            new = self._show(text.rstrip(_UNDECODED))
        return self._stops.feed(new)

    def finish(self) -> str:
        """The rest, once no token comes any more: half characters as U+FFFD, and what might have begun a stop."""
        if self.stopped:
            return ""
        rest = self._show(self._text(self._pending)) if self._pending else ""
        self._pending = []
        return self._stops.feed(rest) + self._stops.flush()

    def copy(self) -> "TextStream":
        """An independent stream in the same state, for a beam that forks."""
        other = TextStream(self._detokenizer)
        other._stops = self._stops.copy()
        other._context, other._context_text = self._context, self._context_text
        other._pending, other._shown = self._pending.copy(), self._shown
        return other

    def _text(self, tokens: list[int]) -> str:
        text = self._detokenizer.decode(self._context + tokens)
        if text.startswith(self._context_text):
            return text[len(self._context_text) :]
        # Byte pieces of the context and of these tokens make one run, and it is not UTF-8.
        return self._detokenizer.decode(tokens)

    def _show(self, text: str) -> str:
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return new

    def _settle(self, count: int, text: str) -> str:
        """Be done with the first `count` pending tokens, whose text is `text`; gives what was not shown of it.

        They become the context if there is no better; best is a single one that is a text of its own.
        """
        tokens, self._pending = self._pending[:count], self._pending[count:]
        new = self._show(text)
        self._shown = 0
        if len(self._context) != 1:
            alone = self._detokenizer.decode(tokens[-1:])
            if alone and _UNDECODED not in alone:
                self._context, self._context_text = tokens[-1:], alone
            elif not self._context:
                self._context, self._context_text = tokens, text
        return new

    def _cut(self) -> int:
        """How many pending tokens to give up on: cutting a character would make more U+FFFD of it."""
        tokens = self._pending
        return min(
            range(len(tokens) - _STILL_OPEN, len(tokens) + 1),
            key=lambda count: len(self._text(tokens[:count])) + len(self._text(tokens[count:])),
        )


def whole_text(detokenizer: Detokenizer, tokens: Iterable[int], stop: Sequence[str] = ()) -> str:
    """The text that a TextStream gives for these tokens, in one piece."""
    stream = TextStream(detokenizer, stop)
    parts = [stream.push(token) for token in tokens]
    return "".join(parts) + stream.finish()


class _StopFinder:
    """Looks for the first stop string to be complete, in text that comes in parts, and holds back what may begin one.

    For each string the length of its longest beginning that the text ends in (Knuth, Morris and Pratt, 1977).
    Of strings complete with the same character the longest counts, so the parts don't matter.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._tables = tuple(_borders(stop) for stop in stops)
        self._states = [0] * len(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The text that is sure now."""
        if not self._stops:
            return text
        for at, character in enumerate(text):
            longest = self._advance(character)
            if longest:
                self.found = True
                whole = self._held + text[: at + 1]
                self._held = ""
                return whole[: len(whole) - longest]
        whole = self._held + text
        sure = len(whole) - max(self._states)
        self._held = whole[sure:]
        return whole[:sure]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held

    def copy(self) -> "_StopFinder":
        other = _StopFinder(())
        other._stops, other._tables = self._stops, self._tables
        other._states, other._held, other.found = self._states.copy(), self._held, self.found
        return other

    def _advance(self, character: str) -> int:
        """Length of the longest stop string that ends with this character; 0 for none."""
        longest = 0
        for index, (stop, table) in enumerate(zip(self._stops, self._tables, strict=True)):
            state = self._states[index]
            while state and stop[state] != character:
                state = table[state - 1]
            if stop[state] == character:
                state += 1
            self._states[index] = state
            if state == len(stop):
                longest = max(longest, state)
        return longest


def _borders(stop: str) -> tuple[int, ...]:
    """For each beginning of `stop`, the length of its longest proper beginning that is also its end."""
    table = [0] * len(stop)
    state = 0
    for at in range(1, len(stop)):
        while state and stop[state] != stop[at]:
            state = table[state - 1]
        if stop[state] == stop[at]:
            state += 1
        table[at] = state
    return tuple(table)
