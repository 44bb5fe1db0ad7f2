"""The sources on which every export of a T5 is verified: parts of the verification texts, of varied length."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rolecall_export import verification_set

COUNT = 200
_SEED = 11
_LENGTHS = (8, 1200)
"""Characters of the shortest and the longest source; Chinese ones say as much in a third of them."""
_DENSE = {"zh": 3}
_BREAKS = re.compile(r"(?<=[.!?。！？；\n])\s*")


def texts(languages: Collection[str], *, count: int = COUNT) -> list[tuple[str, str]]:
    """`count` pairs of language and text, the same in every export; the languages take turns.

    Lengths are spread evenly on a logarithmic scale, so that short sources are as many as long ones. Languages that a
    model declares narrow the choice, as in VerificationSet.judged.
    """
    chooser = random.Random(_SEED)
    known = verification_set.load().judged(languages)
    sentences = {
        language: [
            part for text in known.texts if text.language == language for part in _BREAKS.split(text.text) if part
        ]
        for language in known.languages
    }
    turns = [known.languages[index % len(known.languages)] for index in range(count)]
    low, high = _LENGTHS
    found = []
    for language in turns:
        wanted = low * (high / low) ** chooser.random() / _DENSE.get(language, 1)
        found.append((language, _compose(sentences[language], int(wanted), chooser)))
    return found


def tokenize(tokenizer: str, chosen: Sequence[str], *, max_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Ids of each text with the end-of-sequence token, cut at the model's length. `tokenizer`: of tokenizer.json."""
    encoder = Tokenizer.from_str(tokenizer)
    encoder.enable_truncation(max_tokens)
    return [np.array(each.ids, dtype=np.int64) for each in encoder.encode_batch(list(chosen))]


def _compose(sentences: Sequence[str], length: int, chooser: random.Random) -> str:
    """Sentences that follow each other in the set, cut to `length` characters."""
    parts: list[str] = []
    place = chooser.randrange(len(sentences))
    while sum(map(len, parts)) < length:
        parts.append(sentences[place % len(sentences)])
        place += 1
    return " ".join(parts)[: max(length, 1)].strip() or sentences[0]
