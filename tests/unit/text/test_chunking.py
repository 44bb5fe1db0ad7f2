from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.text.chunking import Breaks, find_breaks, plan_windows, split_pieces


def sentences(text: str) -> list[str]:
    cuts = [0, *find_breaks(text).starts.tolist(), len(text)]
    return [text[first:last].strip() for first, last in pairwise(cuts)]


def characters(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of one character each."""
    return np.arange(len(text)), np.arange(1, len(text) + 1)


def plan(text: str, capacity: int) -> list[str]:
    windows = plan_windows(text, *characters(text), breaks=find_breaks(text), capacity=capacity)
    return [text[first:last] for first, last in windows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("一句。第二句！第三句？还有；完", ["一句。", "第二句！", "第三句？", "还有；", "完"]),
        ("他说：“好的。”然后走了。", ["他说：“好的。”", "然后走了。"]),
        ('He said "yes." Then he left.', ['He said "yes."', "Then he left."]),
        ("Really?! Yes... Well", ["Really?!", "Yes...", "Well"]),
        ("Dr. Smith and J. Doe met at No. 5 with Node.js 3.5 today.", None),
        ("tools, e.g. hammers, approx. 3 kg, vs. none", None),
        ("wait... and see", None),
        ("see the co. website", None),
        ("1. Cook meals 2. Wash up", None),
        ("1. Cook meals.\n2. Wash up", ["1. Cook meals.", "2. Wash up"]),
        ("first line\nsecond line\r\n\n  third", ["first line", "second line", "third"]),
        ("We offer: • tea • cake ● pay", ["We offer:", "• tea", "• cake", "● pay"]),
        ("1、管理仓库；2、盘点货物。", ["1、管理仓库；", "2、盘点货物。"]),
        ("مرحبا؟ نعم۔ شكرا", ["مرحبا؟", "نعم۔", "شكرا"]),
        ("•tea", None),
        ("", None),
        (".", None),
        ("。。。", None),
    ],
)
def test_sentences(text: str, expected: list[str] | None) -> None:
    assert sentences(text) == (expected or [text])


def test_breaks_skip_white_space() -> None:
    text = "One.  \n\n Two"
    breaks = find_breaks(text)
    assert breaks.ends.tolist() == [4]
    assert breaks.starts.tolist() == [text.index("Two")]


@st.composite
def tokenised(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray]:
    """Any text with spans that are ordered but may overlap, leave gaps, or be empty, as real tokenizers give them."""
    text = draw(st.text(alphabet="ab .。!\n•中\u0301\u200d👩", max_size=200))
    place = st.integers(0, len(text))
    ends = sorted(draw(st.lists(place, max_size=200)))
    starts = [max(0, end - draw(st.integers(0, 3))) for end in ends]
    return text, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)


@given(tokenised(), st.integers(1, 40))
def test_windows_hold_every_token_once_and_fit(given_text: tuple[str, np.ndarray, np.ndarray], capacity: int) -> None:
    text, starts, ends = given_text
    windows = plan_windows(text, starts, ends, breaks=find_breaks(text), capacity=capacity)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(ends)
    assert all(last == first for (_, last), (first, _) in pairwise(windows))
    assert all(last - first <= capacity for first, last in windows)
    assert len(ends) == 0 or all(last > first for first, last in windows)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(33, 80))
def test_no_sentence_that_fits_is_cut(lengths: list[int], capacity: int) -> None:
    text = " ".join("A" + "b" * length + "." for length in lengths)
    for window in plan(text, capacity):
        assert window.strip().startswith("A")
        assert window.strip().endswith(".")


@given(st.integers(1, 2000), st.integers(4, 60))
def test_text_without_sentences_is_cut_evenly(length: int, capacity: int) -> None:
    sizes = [len(window) for window in plan("中" * length, capacity)]
    assert len(sizes) == -(-length // capacity)
    assert max(sizes) - min(sizes) <= 1 + capacity // 8


@given(st.integers(2, 60), st.integers(3, 9))
def test_the_last_window_is_no_stump(count: int, sentences_a_window: int) -> None:
    sentence = "Nine char. "
    windows = plan(sentence * count, sentences_a_window * len(sentence))
    assert len(windows[-1]) >= max(map(len, windows)) // 2 or len(windows) == 1


def test_a_sentence_longer_than_a_window_is_cut_between_words() -> None:
    text = "Title. " + "word " * 50 + "end. Short one."
    windows = plan(text, 40)
    assert "".join(windows) == text
    assert all(window.strip().split(" ")[0] in {"Title.", "word", "end.", "Short"} for window in windows)
    assert len(windows[0]) > 10, "a title alone is no window where the next sentence is cut anyway"


def test_a_cut_tears_no_character() -> None:
    for base in ("e\u0301\u0301", "👩\u200d👩\u200d👧"):
        windows = plan(base * 30, 20)
        assert "".join(windows) == base * 30
        assert all(window.startswith(base[0]) for window in windows)


def test_bytes_of_one_character_stay_together() -> None:
    text = "中" * 40
    at = np.repeat(np.arange(40), 3)
    windows = plan_windows(text, at, at + 1, breaks=find_breaks(text), capacity=50)
    assert all(first % 3 == 0 for first, _ in windows)


@given(st.text(alphabet="ab .。\n中e\u0301", max_size=300), st.integers(8, 50))
def test_pieces_cover_the_text(text: str, limit: int) -> None:
    pieces = split_pieces(text, find_breaks(text), limit=limit)
    assert "".join(text[first:last] for first, last in pieces) == text
    assert all(last - first <= limit for first, last in pieces)
    assert all(last > first for first, last in pieces[:-1])


def test_pieces_end_at_sentences_words_or_whole_characters() -> None:
    none = Breaks(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    text = "Some words. " * 20
    assert all(text[first:last].endswith(". ") for first, last in split_pieces(text, find_breaks(text), limit=50)[:-1])
    words = "word " * 30
    assert all(words[first] == " " for first, _ in split_pieces(words, none, limit=50)[1:])
    marks = "e\u0301\u0301" * 40
    assert all(marks[first] == "e" for first, _ in split_pieces(marks, none, limit=50))


@pytest.mark.parametrize("unit", [".", "\n", " ", "•", "a", "。", ".'", "• ", '"', "中", "\u0301", "1. "])
def test_planning_takes_linear_time_whatever_repeats(unit: str) -> None:
    # Anything quadratic would not come back from this for minutes.
    text = (unit * 300_000)[:300_000]
    windows = plan_windows(text, *characters(text), breaks=find_breaks(text), capacity=500)
    assert windows[-1][1] == len(text)
    assert len(windows) >= 600
