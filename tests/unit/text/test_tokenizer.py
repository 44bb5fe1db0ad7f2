import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from rolecall_server.errors import EngineError
from rolecall_server.text import tokenizer as module
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import TextKind, Truncation

from tests.unit.text.small_tokenizers import FAMILIES, trained

PREFIXES = {"query": "query: ", "document": "passage: "}
MAX_TOKENS = 24
HEAD, TAIL = 0, 2
families = pytest.mark.parametrize("family", FAMILIES)


@cache
def reference(family: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(trained(family))


@cache
def tokenizer(family: str, max_tokens: int = MAX_TOKENS, *, prefixed: bool = True) -> Tokenizer:
    backend = tokenizers.Tokenizer.from_str(trained(family))
    return Tokenizer(backend, max_tokens=max_tokens, prefixes=PREFIXES if prefixed else {})


def encode(family: str, text: str, truncation: Truncation, *, prefixed: bool = True) -> Windows | TextTooLong:
    encoder = tokenizer(family, prefixed=prefixed)
    (result,) = encoder.encode([text], kind=TextKind.QUERY, truncation=truncation)
    return result


def windows_of(family: str, text: str, truncation: Truncation = Truncation.CHUNK, *, prefixed: bool = True) -> Windows:
    result = encode(family, text, truncation, prefixed=prefixed)
    assert isinstance(result, Windows)
    return result


def bodies(windows: Windows) -> list[int]:
    """The text's own tokens of all windows: each window's last `weight` ones before the final special token."""
    return [
        token
        for window, weight in zip(windows.windows, windows.weights, strict=True)
        for token in window[len(window) - 1 - weight : -1].tolist()
    ]


WORDS = re.findall(
    r"\S+",
    "engineer nurse the Python 五年 经验。 负责 设计； Dr. e.g. works. • - 👩‍👩‍👧 🇨🇳 é e\u0301 ＡＢＣ ﷺ ½ مرحبا . "
    "! </s> <pad> query:",
)
SPACES = ["\n", " \n\n", "\t", "   ", "\u3000", "\u200b", "\u200f"]
words = st.sampled_from([*WORDS, *SPACES])
texts = st.lists(st.one_of(words, st.text(max_size=8)), max_size=120).map(" ".join) | st.lists(words).map("".join)


@families
@pytest.mark.parametrize("prefixed", [True, False])
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_chunks_hold_every_token_once_and_fit(family: str, prefixed: bool, text: str) -> None:
    prefix = PREFIXES["query"] if prefixed else ""
    whole = tokenizer(family, prefixed=prefixed)._backend.encode(prefix + text).ids
    windows = windows_of(family, text, prefixed=prefixed)
    assert all(len(window) <= MAX_TOKENS for window in windows.windows)
    assert all(window[0] == HEAD and window[-1] == TAIL for window in windows.windows)
    assert all(window.dtype == np.int64 for window in windows.windows)
    assert windows.truncated_tokens == 0
    if len(windows.windows) == 1:
        assert windows.windows[0].tolist() == whole
        return
    own = sum(windows.weights)
    before = whole[1 : len(whole) - 1 - own]
    assert bodies(windows) == whole[len(whole) - 1 - own : -1]
    assert all(
        window[1 : len(window) - 1 - weight].tolist() == before
        for window, weight in zip(windows.windows, windows.weights, strict=True)
    )
    assert "".join(tokenizer(family)._backend.decode(before).split()) == prefix.strip()


@families
@given(text=texts)
@settings(max_examples=30, deadline=None)
def test_truncation_and_rejection_agree_with_chunks(family: str, text: str) -> None:
    chunked = windows_of(family, text)
    cut = windows_of(family, text, Truncation.TRUNCATE)
    refused = encode(family, text, Truncation.REJECT)
    if len(chunked.windows) == 1:
        assert np.array_equal(cut.windows[0], chunked.windows[0])
        assert cut.truncated_tokens == 0
        assert isinstance(refused, Windows)
        return
    assert len(cut.windows) == 1
    assert len(cut.windows[0]) == MAX_TOKENS
    assert bodies(cut) == bodies(chunked)[: cut.weights[0]]
    assert cut.weights[0] + cut.truncated_tokens == sum(chunked.weights)
    assert isinstance(refused, TextTooLong)
    assert refused.tokens == MAX_TOKENS + cut.truncated_tokens
    assert refused.max_tokens == MAX_TOKENS


@families
def test_windows_end_at_sentences(family: str) -> None:
    text = (
        "The nurse works nights. Python and Java. We need a plant. Dr. Smith runs the ward. The engineer teaches. " * 3
    )
    encoder = tokenizer(family, 64)
    (result,) = encoder.encode([text.strip()], kind=TextKind.QUERY, truncation=Truncation.CHUNK)
    assert isinstance(result, Windows)
    assert len(result.windows) > 1
    ends = [encoder._backend.decode(window.tolist()).strip()[-1] for window in result.windows]
    assert set(ends) == {"."}


@families
@pytest.mark.parametrize("text", ["", "   ", "\u200b", "x", "具", "👍"])
def test_tiny_texts_are_one_window(family: str, text: str) -> None:
    windows = windows_of(family, text)
    assert len(windows.windows) == 1
    assert windows.weights[0] >= 1


@families
def test_a_long_text_in_pieces_loses_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "We need a careful engineer for our new plant. 负责公司后端服务的设计与开发。\n" * 40
    whole = windows_of(family, text)
    monkeypatch.setattr(module, "_PIECE_CHARS", 500)
    pieced = windows_of(family, text)
    # Borders of pieces are borders of sentences, where these tokenizers begin anew; spaces at them may differ.
    decode = tokenizer(family)._backend.decode
    assert "".join(decode(bodies(pieced)).split()) == "".join(decode(bodies(whole)).split())
    assert max(len(window) for window in pieced.windows) <= MAX_TOKENS


@pytest.mark.parametrize("family", ["bpe", "wordpiece"])  # a unigram vocabulary holds them as pieces of their own
def test_special_tokens_in_a_text_do_not_act_as_such(family: str) -> None:
    assert TAIL not in windows_of(family, "the </s> nurse").windows[0][:-1]


def test_each_kind_has_its_prefix_and_its_place_in_a_batch_changes_nothing() -> None:
    encoder = tokenizer("unigram")
    short, long = "Python and Java", "The nurse works nights. " * 30
    both = encoder.encode([short, long, short], kind=TextKind.DOCUMENT, truncation=Truncation.CHUNK)
    assert [len(result.windows) > 1 for result in both if isinstance(result, Windows)] == [False, True, False]
    for text, result in zip((short, long, short), both, strict=True):
        (alone,) = encoder.encode([text], kind=TextKind.DOCUMENT, truncation=Truncation.CHUNK)
        assert isinstance(alone, Windows)
        assert isinstance(result, Windows)
        assert all(np.array_equal(one, other) for one, other in zip(alone.windows, result.windows, strict=True))
    first = both[0]
    assert isinstance(first, Windows)
    assert first.windows[0].tolist() == reference("unigram").encode("passage: Python and Java").ids
    assert encoder.encode([], kind=TextKind.QUERY, truncation=Truncation.CHUNK) == []


def test_padding_and_truncation_of_the_file_are_off(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(trained("unigram"))
    backend.enable_truncation(8)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path / "tokenizer.json", max_tokens=512, prefixes=PREFIXES)
    text = "The nurse works nights and weekends. We need a careful engineer."
    (result,) = loaded.encode([text], kind=TextKind.QUERY, truncation=Truncation.CHUNK)
    assert isinstance(result, Windows)
    assert result.windows[0].tolist() == reference("unigram").encode("query: " + text).ids


def test_an_unusable_file_or_window_is_an_engine_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(EngineError, match=r"unreadable tokenizer\.json"):
        Tokenizer.load(path, max_tokens=512, prefixes={})
    path.write_text("{}", encoding="utf8")
    with pytest.raises(EngineError, match=r"unreadable tokenizer\.json"):
        Tokenizer.load(path, max_tokens=512, prefixes={})
    with pytest.raises(EngineError, match="no room for text"):
        Tokenizer(reference("unigram"), max_tokens=5, prefixes=PREFIXES)


def test_threads_get_what_one_thread_gets() -> None:
    encoder = tokenizer("unigram")
    inputs = [
        f"{word} {number} years of experience. " * (number % 7 + 1) for number, word in enumerate(["the", "设计"] * 30)
    ]

    def run(text: str) -> list[list[int]]:
        (result,) = encoder.encode([text], kind=TextKind.QUERY, truncation=Truncation.CHUNK)
        assert isinstance(result, Windows)
        return [window.tolist() for window in result.windows]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, inputs)) == [run(text) for text in inputs]


def test_other_threads_run_while_a_long_text_is_tokenised() -> None:
    encoder = tokenizer("unigram", 128)
    text = "The nurse works nights and weekends. " * 9_000
    done = threading.Event()
    turns = 0

    def tokenise() -> None:
        encoder.encode([text], kind=TextKind.QUERY, truncation=Truncation.CHUNK)
        done.set()

    thread = threading.Thread(target=tokenise)
    thread.start()
    while not done.wait(0.001):
        turns += 1
    thread.join()
    # The text makes ten pieces; with a lock held through each call there would be no turn between any two.
    assert turns >= 10


def test_input_tokens_counts_all_windows() -> None:
    windows = windows_of("bpe", "The nurse works nights. " * 20)
    assert windows.input_tokens == sum(len(window) for window in windows.windows)
    overheads = {len(w) - weight for w, weight in zip(windows.windows, windows.weights, strict=True)}
    assert len(overheads) == 1
    assert all(abs(one - other) <= MAX_TOKENS // 2 for one, other in pairwise(windows.weights))
