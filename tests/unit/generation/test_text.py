"""Text as it comes is the text in the end, cut at stop strings, in whole characters; on real detokenizers."""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rolecall_server.generation.text import TextStream, whole_text
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

TEXTS = st.text(st.sampled_from("ab 你好\n.😀👩‍👩‍👧é̄\ufffd<▁"), max_size=24) | st.text(max_size=12)
SPECIALS = ["<pad>", "</s>", "<extra_id_0>"]


class Adapter:
    """A tokenizer as a detokenizer that counts what it decodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoded = 0

    def decode(self, ids: Sequence[int], /) -> str:
        self.decoded += len(ids)
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


@cache
def metaspace() -> Tokenizer:
    """As T5 and mT5, with byte pieces as in UMT5: Unigram, "▁" for spaces, bytes for what is not in the vocabulary."""
    pieces = ["<pad>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "b", "▁a", "ab", "▁ab", "你", "你好", ".", "▁."]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(at)) for at, piece in enumerate(pieces)], 2, True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@cache
def strip() -> Tokenizer:
    """The same pieces with the other decoder of SentencePiece models: replace, fuse, strip the first space."""
    tokenizer = Tokenizer.from_str(metaspace().to_str())
    tokenizer.normalizer = normalizers.Replace(Regex("▁"), "_")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@cache
def byte_level() -> Tokenizer:
    """As byT5: a token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: at for at, piece in enumerate([*SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


FAMILIES = pytest.mark.parametrize("family", [metaspace, strip, byte_level])


def parts(detokenizer: Adapter, tokens: Sequence[int], stop: Sequence[str] = ()) -> list[str]:
    stream = TextStream(detokenizer, stop)
    return [*(stream.push(token) for token in tokens), stream.finish()]


@FAMILIES
@given(text=TEXTS)
@example(text="你好😀 ab")
@example(text=" a")
@example(text="\n\n你")
@example(text="\ufffd" * 50)
@example(text="\ufffd好")
@settings(deadline=None)
def test_the_parts_make_the_whole_text(family: Callable[[], Tokenizer], text: str) -> None:
    detokenizer = Adapter(family())
    tokens = detokenizer.ids(text)
    assert "".join(parts(detokenizer, tokens)) == detokenizer.decode(tokens)


@FAMILIES
@given(text=TEXTS, data=st.data())
@settings(deadline=None)
def test_special_tokens_anywhere_add_nothing(family: Callable[[], Tokenizer], text: str, data: st.DataObject) -> None:
    detokenizer = Adapter(family())
    tokens = detokenizer.ids(text)
    specials = [detokenizer.tokenizer.token_to_id(token) for token in SPECIALS]
    mixed = list(tokens)
    for special in data.draw(st.lists(st.sampled_from(specials), max_size=6)):
        mixed.insert(data.draw(st.integers(0, len(mixed))), special)
    assert "".join(parts(detokenizer, mixed)) == detokenizer.decode(tokens)


@given(tokens=st.lists(st.integers(0, 258), max_size=90))
@settings(deadline=None)
def test_any_bytes_come_as_they_decode_in_one_piece(tokens: list[int]) -> None:
    detokenizer = Adapter(byte_level())
    assert whole_text(detokenizer, tokens) == detokenizer.decode(tokens)


@given(data=st.binary(max_size=12), after=st.sampled_from(["", "a"]))
@settings(deadline=None)
def test_bytes_that_are_no_text_leave_whole_characters_be(data: bytes, after: str) -> None:
    """A run of byte pieces decodes to nothing but U+FFFD if any of it is wrong; what was shown can't be taken back."""
    detokenizer = Adapter(metaspace())
    tokens = detokenizer.ids("ab") + [3 + byte for byte in data] + [detokenizer.tokenizer.token_to_id(t) for t in after]
    text = whole_text(detokenizer, tokens)
    assert text.startswith("ab")
    assert text.endswith(after)
    if "\ufffd" not in detokenizer.decode(tokens):
        assert text == detokenizer.decode(tokens)
    elif "\ufffd" not in data.decode("utf-8", errors="replace"):
        assert "\ufffd" not in text


@FAMILIES
def test_no_part_holds_half_a_character(family: Callable[[], Tokenizer]) -> None:
    detokenizer = Adapter(family())
    text = "工程师😀 ab 好"
    tokens = detokenizer.ids(text)
    given_so_far = ""
    for part in parts(detokenizer, tokens):
        given_so_far += part
        assert text.startswith(given_so_far)
    assert given_so_far == text


def test_a_character_comes_with_its_last_byte() -> None:
    detokenizer = Adapter(byte_level())
    assert parts(detokenizer, detokenizer.ids("a😀é")) == ["a", "", "", "", "😀", "", "é", ""]


def test_what_never_becomes_a_character_does_not_wait_for_ever() -> None:
    detokenizer = Adapter(byte_level())
    start = detokenizer.ids("😀")[0]
    stream = TextStream(detokenizer)
    shown = [stream.push(start) for _ in range(200)]
    assert 130 <= len("".join(shown)) <= 200
    assert "".join(shown) + stream.finish() == detokenizer.decode([start] * 200)


@FAMILIES
def test_the_work_of_a_token_does_not_grow_with_the_text(family: Callable[[], Tokenizer]) -> None:
    detokenizer = Adapter(family())
    tokens = detokenizer.ids("ab 你好。" * 400)
    parts(detokenizer, tokens)
    assert detokenizer.decoded <= 8 * len(tokens)


def test_the_work_on_nonsense_is_bounded_too() -> None:
    detokenizer = Adapter(byte_level())
    parts(detokenizer, detokenizer.ids("😀")[:1] * 2000)
    assert detokenizer.decoded <= 150 * 2000
    detokenizer.decoded = 0
    parts(detokenizer, [0] * 2000)
    assert detokenizer.decoded <= 4 * 2000


def cut(text: str, stops: Sequence[str]) -> str:
    """Before the stop string that is complete first, of several the longest."""
    ends = [(text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    return text[: sum(min(ends))] if ends else text


STOPS = st.lists(st.text("ab 你\n", min_size=1, max_size=4), max_size=4)


@FAMILIES
@given(text=st.text("ab 你\n", max_size=30), stops=STOPS)
@example(text="aab", stops=["ab"])
@example(text="abcd", stops=["abcd", "bc"])
@settings(deadline=None)
def test_text_ends_before_the_first_stop_string(family: Callable[[], Tokenizer], text: str, stops: list[str]) -> None:
    detokenizer = Adapter(family())
    tokens = detokenizer.ids(text)
    given_parts = parts(detokenizer, tokens, stops)
    expected = cut(detokenizer.decode(tokens), stops)
    assert "".join(given_parts) == expected
    so_far = ""
    for part in given_parts:
        so_far += part
        assert expected.startswith(so_far)


def test_what_may_begin_a_stop_string_waits_and_comes_if_it_does_not() -> None:
    detokenizer = Adapter(byte_level())
    assert parts(detokenizer, detokenizer.ids("a###b"), ["###!"]) == ["a", "", "", "", "###b", ""]
    assert parts(detokenizer, detokenizer.ids("a##"), ["###"]) == ["a", "", "", "##"]
    stream = TextStream(detokenizer, ["###"])
    assert [stream.push(token) for token in detokenizer.ids("a###b")] == ["a", "", "", "", ""]
    assert stream.stopped
    assert stream.finish() == ""


def test_a_copy_goes_its_own_way() -> None:
    detokenizer = Adapter(byte_level())
    first, *rest = detokenizer.ids("你")
    stream = TextStream(detokenizer, ["ab"])
    assert stream.push(detokenizer.ids("a")[0]) == ""
    other = stream.copy()
    assert [stream.push(token) for token in (first, *rest)] == ["", "", "a你"]
    assert other.push(detokenizer.ids("b")[0]) == ""
    assert (other.stopped, stream.stopped) == (True, False)
