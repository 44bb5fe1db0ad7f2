"""Which language a text is in, as far as Rolecall needs to know: English, Chinese, or another.

By scripts and by the commonest little words, from the beginning of the text only: no model, the same answer always.
"""

import re
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["en", "zh", "und"]
"""BCP-47; `und` (undetermined) for every other language and for texts without letters."""

_SAMPLE_CHARS = 4096
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# Katakana's middle dot and long mark are left out: Chinese texts use the dot in foreign names.
_KANA_OR_HANGUL = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3\uff66-\uff9d]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")
# Letters of none of the scripts above: Cyrillic, Arabic, Devanagari, Thai...
_OTHER = re.compile(
    r"[^\W\d_A-Za-z\u00aa\u00ba\u00c0-\u024f\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\uffff\U00010000-\U0003ffff]"
)


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


_ENGLISH = _words(
    "the and of to in for with is are a an on at by as from or we you our your my have has be will this that i not"
)
# German, French, Spanish, Portuguese, Italian, Dutch, Swedish, Polish, Turkish, Indonesian, Vietnamese. Words that turn
# up in English ones (names of places, "per", "est", "no") are left out.
_FOREIGN = _words(
    "der das und mit für wir sie ist eine einer zur zum les des une dans pour avec nous vous aux el del con para por "
    "que como uma não da das nas ao di della sono nel gli och att som är för på het een voor zijn wij jest oraz "
    "dla bir için yang untuk dengan của và"
)
# A Han character carries about half as much as a Latin word, and Chinese job texts are full of Latin product names.
_LATIN_WORDS_PER_HAN = 2
# Japanese always has some kana among its Han characters; Chinese has one or two in a brand name at most.
_KANA_SHARE = 0.1
_ACCENTED_SHARE = 0.08


def detect_language(text: str) -> Language:
    """The language of a text by its first 4,096 characters. For a mixed one, that of its larger part."""
    sample = text[:_SAMPLE_CHARS]
    words = _LATIN_WORD.findall(sample)
    if sample.isascii():
        return "en" if words and _is_english(words) else "und"
    han = len(_HAN.findall(sample))
    kana_or_hangul = len(_KANA_OR_HANGUL.findall(sample))
    other = len(_OTHER.findall(sample))
    if han * _LATIN_WORDS_PER_HAN > len(words) and han > other:
        return "und" if kana_or_hangul > _KANA_SHARE * (han + kana_or_hangul) else "zh"
    latin = sum(map(len, words))
    if latin > 2 * (other + kana_or_hangul) and _is_english(words):
        return "en"
    return "und"


def _is_english(words: list[str]) -> bool:
    """Latin words are English unless their little words or their accents speak against it."""
    lowered = [word.lower() for word in words]
    english = sum(word in _ENGLISH for word in lowered)
    foreign = sum(word in _FOREIGN for word in lowered)
    if english or foreign:
        return english > foreign
    accented = sum(not word.isascii() for word in lowered)
    return accented <= _ACCENTED_SHARE * len(words)
