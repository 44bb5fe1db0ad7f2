"""The measures against their definition, written out plainly, on small made-up sets."""

import random

import numpy as np
import pytest
from rolecall_load.bench.ranking import interval, load_csco, load_esco, measures, ranks
from rolecall_load.errors import LoadError

OCCUPATIONS = """ORIGINURI,PREFERREDLABEL,ALTLABELS
u1,baker,"bread maker
pastry cook
baker
bread maker"
u2,cook,"kitchen cook
pastry cook

chef"
u3,driver,
"""
CLASSES = "code,name\n1-01,护士\n1-02,会计\n"
CASES = "job_name,expected_code,expected_name\n急诊护士,1-01,护士\n出纳,1-02,会计\n演员,9-99,演员\n"


@pytest.fixture
def data(tmp_path):
    for name, content in {
        "esco/occupations.csv": OCCUPATIONS,
        "csco/csco22.csv": CLASSES,
        "csco/testcases.csv": CASES,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf8")
    return tmp_path


def test_esco_leaves_out_shared_empty_and_own_labels(data):
    found = load_esco(data)
    assert found.documents == ("baker", "cook", "driver")
    assert dict(zip(found.queries, found.gold, strict=True)) == {"bread maker": 0, "kitchen cook": 1, "chef": 1}


def test_csco_leaves_out_titles_of_unknown_classes(data):
    found = load_csco(data)
    assert found.documents == ("护士", "会计")
    assert dict(zip(found.queries, found.gold, strict=True)) == {"急诊护士": 0, "出纳": 1}


def test_queries_are_those_that_the_shared_generator_draws_after_seed_0(data):
    pairs = [("bread maker", 0), ("kitchen cook", 1), ("chef", 1)]
    random.seed(0)
    expected = random.sample(pairs, 2)
    found = load_esco(data, size=2)
    assert list(zip(found.queries, found.gold, strict=True)) == expected


def test_loading_leaves_the_shared_generator_alone(data):
    random.seed(7)
    expected = random.random()
    random.seed(7)
    load_esco(data)
    assert random.random() == expected


def plain_rank(scores, gold):
    """The definition: how many documents score at least as high as the right one, itself included."""
    return sum(score >= scores[gold] for score in scores)


def test_ranks_are_those_of_the_definition():
    generator = np.random.default_rng(3)
    # Few distinct values: there are ties.
    queries = generator.integers(-2, 3, (40, 5)).astype(np.float32)
    documents = generator.integers(-2, 3, (25, 5)).astype(np.float32)
    gold = generator.integers(0, 25, 40)
    expected = [plain_rank([float(q @ d) for d in documents], g) for q, g in zip(queries, gold, strict=True)]
    found = ranks(queries, documents, gold=gold)
    assert found.tolist() == expected
    assert (found > 1).any()
    values = measures(found)
    assert values["MRR"].mean() == pytest.approx(sum(1 / rank for rank in expected) / 40)
    assert values["R@1"].mean() == pytest.approx(sum(rank == 1 for rank in expected) / 40)
    assert values["R@10"].mean() == pytest.approx(sum(rank <= 10 for rank in expected) / 40)


def test_a_tie_counts_against_us():
    same = np.ones((3, 2), np.float32)
    assert ranks(same[:1], same, gold=np.array([1])).tolist() == [3]


def test_interval_is_the_percentile_bootstrap_with_seed_0():
    values = np.random.default_rng(1).random(50)
    draws = np.random.default_rng(0).integers(0, 50, (1000, 50))
    low, high = np.percentile(values[draws].mean(1), (2.5, 97.5))
    found = interval(values)
    assert (found.value, found.low, found.high) == (values.mean(), low, high)
    assert found.low < found.value < found.high


def test_missing_and_foreign_files_are_one_sentence(data):
    (data / "csco" / "testcases.csv").unlink()
    with pytest.raises(LoadError, match="can't be read"):
        load_csco(data)
    (data / "esco" / "occupations.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LoadError, match="lacks the columns ALTLABELS, PREFERREDLABEL"):
        load_esco(data)
