"""The texts that exports are judged on: enough of them, both languages, all lengths, and cases that refer to them."""

from collections import Counter

import pytest
from rolecall_export import verification_set
from rolecall_export.verification_set import VerificationSet

CHECKS = verification_set.load()


def test_there_are_enough_texts_in_both_languages():
    counts = Counter(text.language for text in CHECKS.texts)
    assert counts["en"] >= 60
    assert counts["zh"] >= 60
    assert len({text.text for text in CHECKS.texts}) == len(CHECKS.texts)
    assert Counter(case.language for case in CHECKS.cases) == {"en": 12, "zh": 12}


def test_lengths_reach_from_one_word_to_beyond_a_window():
    words = sorted(len(text.text.split()) for text in CHECKS.texts if text.language == "en")
    characters = sorted(len(text.text) for text in CHECKS.texts if text.language == "zh")
    assert words[0] == 1
    assert words[-1] > 400
    assert characters[0] <= 2
    assert characters[-1] > 800


def test_chinese_texts_are_chinese_and_english_ones_ascii():
    for text in CHECKS.texts:
        chinese = any("一" <= character <= "鿿" for character in text.text)
        assert chinese == (text.language == "zh"), text.id
        assert "  " not in text.text


def test_cases_rank_documents_of_one_language_without_the_query():
    ids = {text.id for text in CHECKS.texts}
    for case in CHECKS.cases:
        assert len(set(case.documents)) == len(case.documents) >= 5
        assert case.query not in case.documents
        assert {case.query, *case.documents} <= ids
        assert all(name.startswith(case.language) for name in (case.query, *case.documents))


@pytest.mark.parametrize(
    ("declared", "judged"),
    [
        (("en",), ("en",)),
        (("zh-Hans", "de"), ("zh",)),
        (("EN", "zh"), ("en", "zh")),
        ((), ("en", "zh")),
        (("de", "fr"), ("en", "zh")),
        (("multilingual",), ("en", "zh")),
    ],
)
def test_a_model_is_judged_in_what_it_declares(declared: tuple[str, ...], judged: tuple[str, ...]):
    chosen: VerificationSet = CHECKS.judged(declared)
    assert chosen.languages == judged
    assert {case.language for case in chosen.cases} == set(judged)
