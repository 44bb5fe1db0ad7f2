"""Profiles of the contract -> profiles of the domain. Checks structure only; what is empty, tasks decide."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rolecall.v1 import types_pb2 as pb

from rolecall_server.errors import InvalidInputError
from rolecall_server.profiles import Content, Education, Embedded, Experience, Job, Profile, Resume, Salary
from rolecall_server.transport.convert_fields import check_amount, check_chars, check_id, check_language, known
from rolecall_server.transport.pacing import paced


def _words(names: Sequence[tuple[str, int]], prefix: str) -> dict[int, str]:
    """EMPLOYMENT_TYPE_FULL_TIME -> "full time"; the unspecified value is the empty string."""
    return {number: name.removeprefix(prefix).replace("_", " ").lower() if number else "" for name, number in names}


_EMPLOYMENT_TYPES = _words(pb.EmploymentType.items(), "EMPLOYMENT_TYPE_")
_SALARY_PERIODS = _words(pb.SalaryPeriod.items(), "SALARY_PERIOD_")


async def to_profiles(
    messages: Sequence[pb.Profile], field: str, *, max_text_chars: int
) -> tuple[Profile | InvalidInputError, ...]:
    """Convert each on its own; one that can't be understood becomes its error."""
    converted: list[Profile | InvalidInputError] = []
    async for index, message in paced(enumerate(messages)):
        try:
            converted.append(to_profile(message, f"{field}[{index}]", max_text_chars=max_text_chars))
        except InvalidInputError as error:
            converted.append(error.with_traceback(None))  # its frames would keep the whole request alive
    return tuple(converted)


def to_profile(message: pb.Profile, path: str, *, max_text_chars: int) -> Profile:
    """InvalidInputError with the path of the field that breaks the contract."""
    identifier = check_id(message.id, f"{path}.id")
    language = check_language(message.language, f"{path}.language")
    return Profile(path, identifier, _content(message, path, max_text_chars), language)


def _content(message: pb.Profile, path: str, max_text_chars: int) -> Content:
    match message.WhichOneof("content"):
        case "text":
            text = message.text
            check_chars(len(text), f"{path}.text", max_text_chars)
            return text
        case "resume":
            return _Structured(f"{path}.resume", max_text_chars).resume(message.resume)
        case "job":
            return _Structured(f"{path}.job", max_text_chars).job(message.job)
        case "embedding":
            return _embedding(message.embedding, f"{path}.embedding")
        case _:
            raise InvalidInputError(path, "has no content: set text, resume, job or embedding")


def _embedding(data: bytes, path: str) -> Embedded:
    if not data or len(data) % 4:
        raise InvalidInputError(path, "is not packed little-endian float32")
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    if not np.isfinite(vector).all():
        raise InvalidInputError(path, "holds NaN or infinity")
    if not vector.any():
        raise InvalidInputError(path, "is all zero")
    return Embedded(vector)


class _Structured:
    """One resume or job on its way. Its strings together are held to the limit of a text; an item of a list counts
    as one character more, for what separates it from the next."""

    def __init__(self, path: str, max_text_chars: int) -> None:
        self._path = path
        self._limit = max_text_chars
        self._chars = 0

    def resume(self, message: pb.Resume) -> Resume:
        self._count(len(message.experience) + len(message.education))
        return Resume(
            headline=self._text(message.headline),
            summary=self._text(message.summary),
            goal=self._text(message.goal),
            location=self._text(message.location),
            skills=self._texts(message.skills),
            languages=self._texts(message.languages),
            experience=tuple(map(self._experience, message.experience)),
            education=tuple(map(self._education, message.education)),
            years_experience=_amount(message, "years_experience", self._path),
        )

    def _experience(self, message: pb.Experience) -> Experience:
        return Experience(
            title=self._text(message.title),
            company=self._text(message.company),
            location=self._text(message.location),
            start=self._text(message.start),
            end=self._text(message.end),
            description=self._text(message.description),
            skills=self._texts(message.skills),
        )

    def _education(self, message: pb.Education) -> Education:
        return Education(
            degree=self._text(message.degree),
            field=self._text(message.field),
            institution=self._text(message.institution),
            start=self._text(message.start),
            end=self._text(message.end),
            description=self._text(message.description),
        )

    def job(self, message: pb.Job) -> Job:
        return Job(
            title=self._text(message.title),
            description=self._text(message.description),
            company=self._text(message.company),
            location=self._text(message.location),
            duties=self._texts(message.duties),
            required_skills=self._texts(message.required_skills),
            preferred_skills=self._texts(message.preferred_skills),
            languages=self._texts(message.languages),
            min_years=_amount(message, "min_years", self._path),
            education=self._text(message.education),
            salary=self._salary(message.salary, f"{self._path}.salary") if message.HasField("salary") else None,
            remote=message.remote if message.HasField("remote") else None,
            employment_type=known(message.employment_type, _EMPLOYMENT_TYPES, f"{self._path}.employment_type"),
        )

    def _salary(self, message: pb.SalaryRange, path: str) -> Salary:
        return Salary(
            min=_amount(message, "min", path),
            max=_amount(message, "max", path),
            currency=self._text(message.currency),
            period=known(message.period, _SALARY_PERIODS, f"{path}.period"),
        )

    def _text(self, text: str) -> str:
        self._count(len(text))
        return text

    def _texts(self, values: Sequence[str]) -> tuple[str, ...]:
        self._count(len(values))
        texts = tuple(values)
        self._count(sum(map(len, texts)))
        return texts

    def _count(self, chars: int) -> None:
        self._chars += chars
        check_chars(self._chars, self._path, self._limit)


def _amount(message: Any, field: str, path: str) -> float | None:
    """An optional number field, None where it is not set."""
    return check_amount(getattr(message, field), f"{path}.{field}") if message.HasField(field) else None
