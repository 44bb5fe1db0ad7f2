import random
from collections import Counter

import numpy as np
import pytest
from rolecall_load.texts.chinese import CHINESE
from rolecall_load.texts.english import ENGLISH
from rolecall_load.texts.lengths import CHINESE_JOBS, ENGLISH_RESUMES, length_table
from rolecall_load.texts.source import TextSource, write


def test_table_gives_its_own_points():
    assert [ENGLISH_RESUMES.at(share) for share in (0.1, 0.5, 0.9, 0.95, 1.0)] == pytest.approx(
        [75, 331, 937, 1153, 2209]
    )


def test_mean_of_a_table_is_that_of_many_draws():
    generator = random.Random(0)
    draws = [CHINESE_JOBS.draw(generator) for _ in range(20_000)]
    assert np.mean(draws) == pytest.approx(CHINESE_JOBS.mean(), rel=0.02)
    assert np.median(draws) == pytest.approx(428, rel=0.03)


def test_scaled_table_keeps_its_shape():
    scaled = ENGLISH_RESUMES.scaled(100.0)
    assert scaled.mean() == pytest.approx(100.0)
    assert scaled.at(0.9) / scaled.at(0.5) == pytest.approx(937 / 331)


def test_length_in_tokens_means_fewer_words():
    assert length_table("en", "job", tokens=118).mean() == pytest.approx(118 / 1.25)


@pytest.mark.parametrize("side", ["resume", "job"])
def test_texts_have_the_length_asked_for(side):
    generator = random.Random(3)
    assert len(write("en", side, length=137, generator=generator).split()) == 137
    assert len(write("zh", side, length=137, generator=generator)) == 137


def test_same_seed_same_texts_other_seed_other_texts():
    one, same, other = (TextSource("job", ("en", "zh"), seed=seed) for seed in (1, 1, 2))
    assert [one.text(n) for n in range(20)] == [same.text(n) for n in range(20)]
    assert not {one.text(n) for n in range(20)} & {other.text(n) for n in range(20)}


def test_languages_alternate():
    texts = [TextSource("resume", ("en", "zh")).text(number) for number in range(4)]
    assert [text.isascii() for text in texts] == [True, False, True, False]


def test_no_text_comes_twice_unless_asked_for():
    unique = TextSource("job", tokens=40, tag="a")
    assert len({unique.text(number) for number in range(3000)}) == 3000
    later = TextSource("job", tokens=40, tag="b")
    assert not {unique.text(number) for number in range(100)} & {later.text(number) for number in range(100)}


def test_share_of_repeated_texts_is_as_asked_for():
    source = TextSource("job", tokens=40, repeat=0.5)
    texts = [source.text(number) for number in range(4000)]
    counts = Counter(texts)
    once = sum(count == 1 for count in counts.values())
    assert once / len(texts) == pytest.approx(0.5, abs=0.03)
    assert len(counts) - once == 64


def test_resumes_and_jobs_differ():
    assert TextSource("resume").text(0) != TextSource("job").text(0)


@pytest.mark.parametrize("wrong", [{"repeat": 1.1}, {"languages": ()}, {"languages": ("fr",)}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"share|languages"):
        TextSource("job", **wrong)


@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_each_field_can_fill_every_template(words):
    assert all(len(field.duties) >= 2 and len(field.skills) >= 2 and field.tools for field in words.fields)
    assert len({title for field in words.fields for title in field.titles}) == 3 * len(words.fields)
