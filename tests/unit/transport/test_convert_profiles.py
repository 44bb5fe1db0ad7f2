"""Profiles of the contract become profiles of the domain, or an error with the path of what is wrong."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rolecall.v1 import types_pb2 as pb
from rolecall_server.errors import InvalidInputError
from rolecall_server.profiles import Education, Embedded, Experience, Job, Profile, Resume, Salary
from rolecall_server.transport.convert_profiles import to_profile, to_profiles

from tests.unit.transport.messages import messages

LIMIT = 1000

words = st.text(max_size=12)
lists = st.lists(words, max_size=3).map(tuple)
amounts = st.none() | st.floats(0, 1e6, width=32)

resumes = st.builds(
    Resume,
    headline=words,
    summary=words,
    goal=words,
    location=words,
    skills=lists,
    languages=lists,
    experience=st.lists(st.builds(Experience, words, words, words, words, words, words, lists), max_size=3).map(tuple),
    education=st.lists(st.builds(Education, words, words, words, words, words, words), max_size=3).map(tuple),
    years_experience=amounts,
)
jobs = st.builds(
    Job,
    title=words,
    description=words,
    company=words,
    location=words,
    duties=lists,
    required_skills=lists,
    preferred_skills=lists,
    languages=lists,
    min_years=amounts,
    education=words,
    salary=st.none()
    | st.builds(Salary, amounts, amounts, words, st.sampled_from(["", "hour", "day", "month", "year"])),
    remote=st.none() | st.booleans(),
    employment_type=st.sampled_from(["", "full time", "part time", "contract", "temporary", "internship"]),
)


def convert(message: pb.Profile) -> Profile:
    return to_profile(message, "query", max_text_chars=LIMIT)


def outcome(message: pb.Profile) -> Profile | InvalidInputError:
    try:
        return convert(message)
    except InvalidInputError as error:
        return error


def path_of_error(message: pb.Profile) -> str:
    with pytest.raises(InvalidInputError) as caught:
        convert(message)
    return caught.value.field


def employment(words: str) -> str:
    return f"EMPLOYMENT_TYPE_{words.replace(' ', '_').upper() or 'UNSPECIFIED'}"


@settings(deadline=None)
@given(words, st.sampled_from(["", "en", "zh-Hans", "de-CH-1996"]))
def test_a_text_goes_through_unchanged(text: str, language: str) -> None:
    profile = convert(pb.Profile(id="a", text=text, language=language))
    assert profile == Profile("query", "a", text, language)


@settings(deadline=None)
@given(resumes)
def test_a_resume_keeps_every_field(resume: Resume) -> None:
    assert convert(pb.Profile(resume=pb.Resume(**asdict(resume)))).content == resume


@settings(deadline=None)
@given(jobs)
def test_a_job_keeps_every_field(job: Job) -> None:
    fields = asdict(job)
    fields["employment_type"] = employment(job.employment_type)
    if job.salary is not None:
        fields["salary"]["period"] = f"SALARY_PERIOD_{job.salary.period.upper() or 'UNSPECIFIED'}"
    assert convert(pb.Profile(job=pb.Job(**fields))).content == job


@settings(deadline=None)
@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=1, max_size=8
    ).filter(any)
)
def test_an_embedding_keeps_every_number(numbers: list[float]) -> None:
    content = convert(pb.Profile(embedding=np.array(numbers, "<f4").tobytes())).content
    assert isinstance(content, Embedded)
    assert content.vector.dtype == np.float32
    assert content.vector.tolist() == numbers


@settings(deadline=None)
@given(messages(pb.Profile.DESCRIPTOR))
def test_any_profile_converts_or_is_invalid_with_a_path_below_its_own(message: pb.Profile) -> None:
    result = outcome(message)
    if isinstance(result, InvalidInputError):
        assert result.field == "query" or result.field.startswith("query.")
    else:
        assert (result.id, result.language) == (message.id, message.language)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (pb.Profile(id="a"), "query"),
        (pb.Profile(id="x" * 257, text="t"), "query.id"),
        (pb.Profile(id="资" * 86, text="t"), "query.id"),
        (pb.Profile(text="t", language="english, mostly"), "query.language"),
        (pb.Profile(text="t" * (LIMIT + 1)), "query.text"),
        (pb.Profile(embedding=b""), "query.embedding"),
        (pb.Profile(embedding=b"12345"), "query.embedding"),
        (pb.Profile(embedding=bytes(8)), "query.embedding"),
        (pb.Profile(embedding=np.array([1.0, np.nan], "<f4").tobytes()), "query.embedding"),
        (pb.Profile(embedding=np.array([1.0, -np.inf], "<f4").tobytes()), "query.embedding"),
        (pb.Profile(resume=pb.Resume(years_experience=-1)), "query.resume.years_experience"),
        (pb.Profile(resume=pb.Resume(years_experience=float("nan"))), "query.resume.years_experience"),
        (pb.Profile(job=pb.Job(min_years=float("inf"))), "query.job.min_years"),
        (pb.Profile(job=pb.Job(employment_type=99)), "query.job.employment_type"),
        (pb.Profile(job=pb.Job(salary=pb.SalaryRange(max=-1))), "query.job.salary.max"),
        (pb.Profile(job=pb.Job(salary=pb.SalaryRange(period=-3))), "query.job.salary.period"),
        (pb.Profile(resume=pb.Resume(summary="s" * LIMIT, goal="g")), "query.resume"),
        (pb.Profile(resume=pb.Resume(skills=[""] * (LIMIT + 1))), "query.resume"),
        (pb.Profile(resume=pb.Resume(experience=[pb.Experience(description="d" * LIMIT)])), "query.resume"),
        (pb.Profile(job=pb.Job(title="t", duties=["d" * 500, "d" * 500])), "query.job"),
    ],
)
def test_each_breach_is_named_by_its_path(message: pb.Profile, path: str) -> None:
    assert path_of_error(message) == path


def test_what_is_just_within_the_limits_passes() -> None:
    assert convert(pb.Profile(id="资" * 85, text="t" * LIMIT)).id == "资" * 85
    assert convert(pb.Profile(resume=pb.Resume(summary="s" * LIMIT))).content == Resume(summary="s" * LIMIT)


def test_errors_hold_none_of_the_text() -> None:
    with pytest.raises(InvalidInputError) as caught:
        convert(pb.Profile(text="Zebra " * LIMIT))
    assert "Zebra" not in caught.value.message


async def test_a_bad_profile_stands_as_its_error_between_its_neighbours() -> None:
    good = pb.Profile(text="a")
    first, second, third = await to_profiles([good, pb.Profile(), good], "documents", max_text_chars=LIMIT)
    assert isinstance(first, Profile)
    assert isinstance(second, InvalidInputError)
    assert isinstance(third, Profile)
    assert (first.path, second.field, third.path) == ("documents[0]", "documents[1]", "documents[2]")
    assert second.__traceback__ is None
