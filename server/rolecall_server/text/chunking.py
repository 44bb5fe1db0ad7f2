"""Where to cut a long text into windows: after sentences, lines and list items, never by what any other text says.

Pure functions of one text and its tokens. Positions in the text are code points, spans are half open.
"""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_CLOSERS = "\"'’”»)\\]}」』）】》〉］｝"
_BULLETS = "•●▪■◆◦‣▶➢✓✔"
# Each pattern begins with one character of a set, which the matcher finds fast, and gives nothing back: time is linear
# in the text whatever it holds.
_TERMINATED = re.compile(rf"(?P<marks>[.!?…。！？；｡؟۔।][.!?…。！？；｡؟۔।]*+)(?P<closers>[{_CLOSERS}]*+)\s*+")
_LINE = re.compile(r"\n\s*+")
_ITEM = re.compile(rf"[{_BULLETS}]")
_WANTS_SPACE = ".!?…"
# After these a full stop ends no sentence. "etc." and "Inc." are left out: they end sentences often enough.
_ABBREVIATION = re.compile(
    r"\w|\d\d|adm|approx|attn|capt|cf|col|dept|dr|eg|eng|esp|est|ext|fig|gen|gov|hon|ie|jr|lt|max|min|mr|mrs|ms|nr|no|"
    r"pp|prof|ref|rep|rev|sen|sgt|sr|st|tel|vol|vs",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"\w++$")
_LONGEST_ABBREVIATION = 8
_LONGEST_WORD = 64  # tokens; what is longer is no word, and is cut anywhere
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Breaks:
    """Places where a sentence, a line or a list item ends, in order.

    ends[k]: one past its last character. starts[k]: the first character of what follows, white space skipped.
    """

    ends: Positions
    starts: Positions


def find_breaks(text: str) -> Breaks:
    """The sentence borders of a text, by the punctuation of English and Chinese, line breaks and bullets."""
    found: dict[int, int] = {}
    for match in _TERMINATED.finditer(text):
        if _ends_sentence(text, match):
            found[match.end()] = match.end("closers")
    for match in _LINE.finditer(text):
        found.setdefault(match.end(), match.start())
    for match in _ITEM.finditer(text):
        if match.start() > 0 and text[match.start() - 1].isspace():
            found.setdefault(match.start(), match.start())
    found.pop(len(text), None)
    starts = np.array(sorted(found), dtype=np.int64)
    return Breaks(np.array([found[start] for start in starts.tolist()], dtype=np.int64), starts)


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether this run of punctuation ends a sentence.

    Western marks want white space after them; a full stop that belongs to an abbreviation, an initial or the number
    of a list item, or goes on in lower case, ends nothing.
    """
    mark = text[match.end("marks") - 1]
    end, start = match.end("closers"), match.end()
    if start == end:
        return mark not in _WANTS_SPACE
    if mark != "." or "\n" in text[end:start]:
        return True
    if text[start : start + 1].islower():
        return False
    word = _LAST_WORD.search(text, max(0, match.start() - _LONGEST_ABBREVIATION), match.start())
    return word is None or _ABBREVIATION.fullmatch(word.group()) is None


def split_pieces(text: str, breaks: Breaks, *, limit: int) -> list[tuple[int, int]]:
    """Spans that cover the text in order, each of at most `limit` characters, cut at sentences where there are any.

    They keep the memory of one tokenizer call bounded; `limit` is many windows long.
    """
    pieces = []
    first = 0
    while len(text) - first > limit:
        at = int(np.searchsorted(breaks.starts, first + limit, side="right")) - 1
        cut = int(breaks.starts[at]) if at >= 0 else 0
        if cut <= first + limit // 2:
            space = text.rfind(" ", first + limit // 2, first + limit)
            cut = space if space > first else _outside_character(text, first + limit, lowest=first + limit // 2)
        pieces.append((first, cut))
        first = cut
    pieces.append((first, len(text)))
    return pieces


def plan_windows(
    text: str, starts: Positions, ends: Positions, *, breaks: Breaks, capacity: int
) -> list[tuple[int, int]]:
    """Spans of tokens, in order, that hold every token exactly once and at most `capacity` each.

    starts, ends: the characters of `text` that each token stands for. A window ends where a sentence does, and
    among its sentences where windows come out about equally long; a sentence that no window can hold is cut between
    words, or inside one where it has no such place. Without tokens there is one empty window.
    """
    count = len(ends)
    ends = np.maximum.accumulate(ends)
    borders = _sentence_borders(starts, ends, breaks)
    windows = []
    first = 0
    while count - first > capacity:
        target = first + _balanced(count - first, capacity)
        cut = _sentence_cut(borders, first, target=target, count=count, capacity=capacity)
        if cut is None:
            cut = _word_cut(text, starts, ends, first=first, target=target, capacity=capacity)
        windows.append((first, cut))
        first = cut
    windows.append((first, count))
    return windows


def _balanced(count: int, capacity: int) -> int:
    """The size of windows when as few as possible share `count` tokens."""
    return -(-count // -(-count // capacity))


def _sentence_borders(starts: Positions, ends: Positions, breaks: Breaks) -> Positions:
    """Indices of tokens that begin a sentence, ascending, without 0 and without the count."""
    borders = np.searchsorted(ends, breaks.starts, side="right")
    inside = borders < len(ends)
    borders, sentence_ends = borders[inside], breaks.ends[inside]
    # A token may begin with the white space before its sentence; one that holds the end of the last one stays there.
    borders = np.unique(borders + (starts[borders] < sentence_ends))
    return borders[(borders > 0) & (borders < len(ends))].astype(np.int64)


def _sentence_cut(borders: Positions, first: int, *, target: int, count: int, capacity: int) -> int | None:
    """The border nearest to the target within reach; None where there is none worth a window."""
    low, high = np.searchsorted(borders, (first, first + capacity), side="right")
    if low == high:
        return None
    reachable = borders[low:high]
    last = int(reachable[-1])
    following = int(borders[high]) if high < len(borders) else count
    if following - last > capacity and last - first < capacity // 4:
        # The next sentence has to be split anyway: a window of a few words before it would gain nothing.
        return None
    return int(reachable[np.argmin(np.abs(reachable - target))])


def _word_cut(text: str, starts: Positions, ends: Positions, *, first: int, target: int, capacity: int) -> int:
    """The place between words nearest to the target in the upper half of the window, else the target itself."""
    lowest, highest = first + (capacity + 1) // 2, first + capacity
    for distance in range(_LONGEST_WORD):
        for cut in (target - distance, target + distance):
            if lowest <= cut <= highest and _is_between_words(text, int(ends[cut - 1]), int(starts[cut])):
                return cut
    return target


def _is_between_words(text: str, end: int, start: int) -> bool:
    """Whether a token that ends at `end` and its successor that starts at `start` belong to different words."""
    if start != end or not 0 < start < len(text):
        return start >= end
    before, after = text[start - 1], text[start]
    if _continues_character(before, after):
        return False
    letters = before.isalnum() and after.isalnum()
    return not letters or _CJK.match(before) is not None or _CJK.match(after) is not None


def _continues_character(before: str, after: str) -> bool:
    """Whether a cut between the two would tear a combining mark or a joined emoji from its base."""
    return _ZERO_WIDTH_JOINER in (before, after) or unicodedata.category(after).startswith("M")


def _outside_character(text: str, cut: int, *, lowest: int) -> int:
    """The nearest place at or before `cut` that tears no character; `cut` where there is none above `lowest`."""
    for place in range(cut, lowest, -1):
        if not _continues_character(text[place - 1], text[place]):
            return place
    return cut
