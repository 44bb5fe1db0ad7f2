"""What callers may give as a profile."""

import numpy as np
import pytest
from rolecall.v1 import types_pb2
from rolecall_client import InvalidArgumentError, MatchQuery
from rolecall_client.profiles import to_profile
from rolecall_client.requests import to_profiles


def test_text_mapping_message_and_vector():
    assert to_profile("a resume", "query") == types_pb2.Profile(text="a resume")
    job = to_profile({"id": "j", "job": {"title": "护士", "requiredSkills": ["急救"], "minYears": 2}}, "query")
    assert (job.id, job.job.title, list(job.job.required_skills), job.job.min_years) == ("j", "护士", ["急救"], 2.0)
    message = types_pb2.Profile(text="x")
    assert to_profile(message, "query") is message
    vector = np.arange(6, dtype=np.float64)[::2]
    assert to_profile(vector, "query").embedding == np.array([0, 2, 4], dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"job": {"titel": "x"}}, "documents[0]"),
        ({"text": "x", "job": {}}, "documents[0]"),
        ("\ud800", "documents[0].text"),
        (np.zeros((2, 3)), "documents[0].embedding"),
    ],
)
def test_what_can_not_be_a_profile_names_its_field(value, field):
    with pytest.raises(InvalidArgumentError) as caught:
        to_profiles([value], "documents")
    assert caught.value.field == field


@pytest.mark.parametrize("value", [None, 5, b"bytes"])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match=r"documents\[1\]"):
        to_profiles(["fine", value], "documents")


@pytest.mark.parametrize("value", ["one text", {"text": "x"}])
def test_a_lone_profile_is_no_sequence(value):
    with pytest.raises(TypeError, match="sequence"):
        to_profiles(value, "documents")


def test_options_are_checked_before_anything_is_sent():
    with pytest.raises(ValueError, match="expected one of cosine, dot, euclidean"):
        MatchQuery("q", [], metric="manhattan").to_message()
    with pytest.raises(ValueError, match="negative"):
        MatchQuery("q", [], top_k=-1).to_message()


def test_min_score_of_zero_is_sent_and_none_is_not():
    assert MatchQuery("q", [], min_score=0.0).to_message().HasField("min_score")
    assert not MatchQuery("q", []).to_message().HasField("min_score")
