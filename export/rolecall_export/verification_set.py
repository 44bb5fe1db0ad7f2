"""The texts and rankings on which every export is verified: resumes, jobs and job titles in English and Chinese."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from typing import Any

QUERY, DOCUMENT = "query", "document"


@dataclass(frozen=True, slots=True)
class Text:
    """One text and the side of a match that it is encoded for."""

    id: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """A query and the documents to rank for it, the expected best one first; ids of texts."""

    language: str
    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerificationSet:
    """What a model is judged on."""

    texts: tuple[Text, ...]
    cases: tuple[Case, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(sorted({text.language for text in self.texts}))

    def judged(self, declared: Collection[str]) -> VerificationSet:
        """The part in languages that a model declares; all of it when it declares none of ours.

        Codes may carry a region or script ("zh-Hans"). A conversion can be held to its float model in any language, so
        a model that declares nothing we know is not let off.
        """
        known = {code.lower().partition("-")[0] for code in declared} & set(self.languages)
        wanted = known or set(self.languages)
        return VerificationSet(
            texts=tuple(text for text in self.texts if text.language in wanted),
            cases=tuple(case for case in self.cases if case.language in wanted),
        )


def load() -> VerificationSet:
    """The set that ships with the exporter."""
    raw: Any = json.loads(resources.files(__package__).joinpath("data/verify.json").read_text(encoding="utf8"))
    texts = tuple(Text(**each) for each in raw["texts"])
    languages = {text.id: text.language for text in texts}
    cases = tuple(Case(languages[each["query"]], each["query"], tuple(each["documents"])) for each in raw["cases"])
    return VerificationSet(texts, cases)
