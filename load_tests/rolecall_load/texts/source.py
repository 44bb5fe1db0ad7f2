"""Texts of resumes and jobs by number: the same seed and number always give the same text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rolecall_load.texts.chinese import CHINESE
from rolecall_load.texts.english import ENGLISH
from rolecall_load.texts.fields import Field
from rolecall_load.texts.fields import Language as Words
from rolecall_load.texts.lengths import Language, Side, length_table

WORDS: dict[Language, Words] = {"en": ENGLISH, "zh": CHINESE}
_BASES = 512
_REPEATED = 64


def write(language: Language, side: Side, *, length: int, generator: random.Random) -> str:
    """A text of exactly `length` words (en) or characters (zh), whole sentences but for the last."""
    words = WORDS[language]
    field = generator.choice(words.fields)
    templates = words.resume if side == "resume" else words.job
    parts: list[str] = []
    size = 0
    while size < length:
        # In order, so that a text starts like a resume or a job; then again with other words.
        sentence = _sentence(templates[len(parts) % len(templates)], words, field=field, generator=generator)
        parts.append(sentence)
        size += len(sentence.split()) if language == "en" else len(sentence)
    if language == "en":
        return " ".join(" ".join(parts).split()[:length])
    return "".join(parts)[:length]


def _sentence(template: str, words: Words, *, field: Field, generator: random.Random) -> str:
    duty, duty2 = generator.sample(field.duties, 2)
    skill, skill2 = generator.sample(field.skills, 2)
    numbers = {
        "years": generator.randint(2, 15),
        "percent": generator.randint(5, 45),
        "count": generator.randint(2, 30),
    }
    return template.format(
        title=generator.choice(field.titles),
        duty=duty,
        duty2=duty2,
        skill=skill,
        skill2=skill2,
        tool=generator.choice(field.tools),
        company=generator.choice(words.companies),
        city=generator.choice(words.cities),
        degree=generator.choice(words.degrees),
        result=generator.choice(words.results).format(**numbers),
        **numbers,
    )


@dataclass(frozen=True)
class TextSource:
    """Resumes or jobs for a load test.

    Lengths follow the table of real texts, or one scaled to a mean of `tokens`. A share `repeat` of the texts is drawn
    from a few that come again and again; all others are unlike any other of the same `tag`, by a short code in front:
    writing each anew would cost the client more than sending it.
    """

    side: Side
    languages: Sequence[Language] = ("en",)
    tokens: float | None = None
    repeat: float = 0.0
    seed: int = 0
    tag: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.repeat <= 1:
            raise ValueError("the share of repeated texts lies between 0 and 1")
        if not self.languages or any(language not in WORDS for language in self.languages):
            raise ValueError(f"languages are one or more of {', '.join(WORDS)}")

    @cached_property
    def _bases(self) -> list[tuple[Language, str]]:
        return [self._base(number) for number in range(_BASES)]

    def _base(self, number: int) -> tuple[Language, str]:
        generator = random.Random(f"text:{self.seed}:{self.side}:{number}")
        language = self.languages[number % len(self.languages)]
        table = length_table(language, self.side, tokens=self.tokens)
        return language, write(language, self.side, length=table.draw(generator), generator=generator)

    def text(self, number: int) -> str:
        """Text `number`, from 0 on without end."""
        generator = random.Random(f"pick:{self.seed}:{self.side}:{number}")
        if generator.random() < self.repeat:
            return self._bases[generator.randrange(_REPEATED)][1]
        language, base = self._bases[number % _BASES]
        mark = WORDS[language].mark.format(mark=f"{self.tag}{self.side[0]}{number:x}")
        return f"{mark} {base}" if language == "en" else mark + base
