"""How far the texts of a converted T5 are from those of a reference. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from rolecall_export.t5_reference import Written

TIE = 1e-3
"""Logits of the reference that are closer than this have no order that float32 arithmetic has to keep."""


def agreement(reference: Sequence[Written], found: Sequence[Sequence[int]]) -> dict[str, float]:
    """`equal_tokens`: share of places that hold the same token, over the longer one of each two texts. `equal_texts`:
    share of texts that are equal as a whole. `edit_distance`: insertions, deletions and exchanges of tokens that make
    one of the other, in parts of the longer text, mean. `ties`: texts that part where the reference itself had no
    preference; up to there they are compared, and then they count as equal. `distinct_texts`: share of different
    texts of the reference; a model that writes the same for every source proves nothing.
    """
    equal = places = same = ties = 0
    distances = []
    for expected, tokens in zip(reference, found, strict=True):
        theirs, ours = _comparable(expected, tokens)
        ties += len(theirs) < len(expected.tokens)
        longer = max(len(theirs), len(ours), 1)
        equal += sum(a == b for a, b in zip(theirs, ours, strict=False))
        places += max(len(theirs), len(ours))
        same += theirs == ours
        distances.append(edit_distance(theirs, ours) / longer)
    return {
        "equal_tokens": equal / places if places else 1.0,
        "equal_texts": same / len(reference),
        "edit_distance": float(np.mean(distances)),
        "ties": float(ties),
        "distinct_texts": len({each.tokens for each in reference}) / len(reference),
    }


def next_tokens(reference: Sequence[Written], followed: Sequence[Sequence[int]]) -> float:
    """Share of places at which `followed` has the reference's token; places without a preference are left out."""
    equal = places = 0
    for expected, tokens in zip(reference, followed, strict=True):
        for place, (ours, theirs) in enumerate(zip(tokens, expected.tokens, strict=True)):
            if expected.margins is None or expected.margins[place] >= TIE:
                equal += ours == theirs
                places += 1
    return equal / places if places else 1.0


def differing(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> int:
    """How many texts are not the same token for token."""
    return sum(tuple(a) != tuple(b) for a, b in zip(one, other, strict=True))


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Least number of insertions, deletions and exchanges. Method: Wagner and Fischer 1974, row by row."""
    if len(one) < len(other):
        one, other = other, one
    row = np.arange(len(other) + 1)
    places = np.arange(len(other) + 1)
    values = np.asarray(other)
    for number, token in enumerate(one, 1):
        exchanged = row[:-1] + (values != token)
        best = np.concatenate([[number], np.minimum(exchanged, row[1:] + 1)])
        row = np.minimum.accumulate(best - places) + places  # insertions run along the row
    return int(row[-1])


def _comparable(expected: Written, found: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both texts, cut where they first part if the reference had no preference there."""
    theirs, ours = expected.tokens, tuple(found)
    parting = next((place for place, (a, b) in enumerate(zip_longest(theirs, ours)) if a != b), None)
    if parting is None or expected.margins is None or parting >= len(expected.margins):
        return theirs, ours
    return (theirs[:parting], ours[:parting]) if expected.margins[parting] < TIE else (theirs, ours)
