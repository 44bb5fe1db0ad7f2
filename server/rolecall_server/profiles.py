"""Resumes and jobs in domain terms. Field meanings are those of the contract (types.proto)."""

from dataclasses import dataclass
from typing import TypeAlias

from rolecall_server.types import Vector


@dataclass(frozen=True, slots=True)
class Experience:
    title: str = ""
    company: str = ""
    location: str = ""
    start: str = ""
    end: str = ""
    description: str = ""
    skills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Education:
    degree: str = ""
    field: str = ""
    institution: str = ""
    start: str = ""
    end: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    headline: str = ""
    summary: str = ""
    goal: str = ""
    location: str = ""
    skills: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    experience: tuple[Experience, ...] = ()
    education: tuple[Education, ...] = ()
    years_experience: float | None = None


@dataclass(frozen=True, slots=True)
class Salary:
    min: float | None = None
    max: float | None = None
    currency: str = ""
    period: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    title: str = ""
    description: str = ""
    company: str = ""
    location: str = ""
    duties: tuple[str, ...] = ()
    required_skills: tuple[str, ...] = ()
    preferred_skills: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    min_years: float | None = None
    education: str = ""
    salary: Salary | None = None
    remote: bool | None = None
    employment_type: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A ready embedding that came with the request, as given (not normalised)."""

    vector: Vector


Content: TypeAlias = "str | Resume | Job | Embedded"


@dataclass(frozen=True, slots=True)
class Profile:
    """`path` is the field path in the request, for errors, for example `documents[3]`."""

    path: str
    id: str
    content: Content
    language: str = ""
