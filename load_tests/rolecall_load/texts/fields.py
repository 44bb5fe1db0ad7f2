"""Fields of work: what titles, skills, tools and duties of generated texts are drawn from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """Words of one field in one language. Duties are infinitives without "to" in English."""

    titles: tuple[str, ...]
    skills: tuple[str, ...]
    tools: tuple[str, ...]
    duties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """All that a language's texts are made of. Templates name what is put in: {title}, {duty}, {years}..."""

    fields: tuple[Field, ...]
    companies: tuple[str, ...]
    cities: tuple[str, ...]
    results: tuple[str, ...]
    degrees: tuple[str, ...]
    resume: tuple[str, ...]
    job: tuple[str, ...]
    mark: str
    """Makes a text unlike all others; {mark} is a short code."""
