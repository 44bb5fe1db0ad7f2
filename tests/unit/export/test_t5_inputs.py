"""The sources of the verification: many, of all lengths, in both languages, always the same."""

import numpy as np
from rolecall_export import t5_inputs
from rolecall_export.sources.t5_tokenizer import byte_tokenizer


def test_they_are_the_same_every_time_and_of_all_lengths():
    chosen = t5_inputs.texts(())
    assert chosen == t5_inputs.texts(())
    assert len(chosen) == 200
    assert len({text for _, text in chosen}) > 190
    for language, low, high in (("en", 20, 800), ("zh", 8, 250)):
        lengths = sorted(len(text) for own, text in chosen if own == language)
        assert len(lengths) == 100
        assert lengths[0] < low
        assert lengths[-1] > high
        assert low < lengths[50] < high / 2


def test_languages_narrow_the_choice():
    assert {language for language, _ in t5_inputs.texts(("zh-Hans",), count=20)} == {"zh"}
    assert {language for language, _ in t5_inputs.texts(("fr",), count=20)} == {"en", "zh"}


def test_tokens_end_with_the_end_and_keep_to_the_limit():
    long, short = t5_inputs.tokenize(byte_tokenizer().to_str(), ["a" * 50, "b"], max_tokens=10)
    assert long.tolist() == [ord("a") + 3] * 9 + [1]
    assert short.tolist() == [ord("b") + 3, 1]
    assert long.dtype == np.int64
