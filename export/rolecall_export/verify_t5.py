"""Compare the texts of a converted T5 with those of its float model, before anybody is served by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rolecall_export.errors import VerificationError
from rolecall_export.progress import Advance
from rolecall_export.t5_compare import agreement, differing, next_tokens
from rolecall_export.t5_presets import T5Tolerance
from rolecall_export.t5_reference import Written

MAX_NEW_TOKENS = 64
"""Tokens that each text may get: enough for an error to show, few enough for 200 texts thrice."""
FEW_DISTINCT = 0.5
"""A reference whose texts differ less than this says little about a conversion."""
Sources = Sequence[npt.NDArray[np.int64]]


class Generator(Protocol):
    """An exported T5, run as the server will run it."""

    def alone(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> list[tuple[int, ...]]:
        """The greedy text of each source, one after the other; one advance for each."""
        ...

    def together(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> list[tuple[int, ...]]:
        """The same in company that changes at random, in random order."""
        ...

    def follow(self, sources: Sources, texts: Sequence[Sequence[int]], *, advance: Advance) -> list[list[int]]:
        """The most likely token at each place of `texts`, after their own tokens before it; one advance for each."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """What was measured, for the manifest, and what of it is beyond the tolerance, in words."""

    measured: dict[str, float]
    failures: tuple[str, ...]

    def require(self) -> None:
        """VerificationError that names every figure beyond the tolerance."""
        if self.failures:
            raise VerificationError(
                "the converted model writes other texts than the float model: "
                f"{', '.join(self.failures)}; a checkpoint with random or poor weights drifts at the least rounding. "
                "--accept-drift publishes it all the same"
            )


def check(
    candidate: Generator,
    reference: Sequence[Written] | None,
    sources: Sources,
    *,
    languages: Sequence[str],
    max_new_tokens: int,
    tolerance: T5Tolerance,
    advance: Advance,
) -> Checked:
    """Measure `candidate` alone and in batches; `languages` are those of the sources, in their order.

    Figures: against `reference` those of t5_compare.agreement, `equal_texts_LANGUAGE` for each language, and
    `next_tokens`, the share of the reference's tokens that are the most likely ones after the reference's beginning
    (one early difference weighs no more than a late one there); and with or without a reference `batch_changes`, the
    share of texts that are others in a batch than alone. `advance` gets three for each source.
    """
    alone = candidate.alone(sources, max_new_tokens=max_new_tokens, advance=advance)
    together = candidate.together(sources, max_new_tokens=max_new_tokens, advance=advance)
    measured: dict[str, float] = {}
    if reference is not None:
        measured |= agreement(reference, alone)
        for language in sorted(set(languages)):
            own = [index for index, each in enumerate(languages) if each == language]
            part = agreement([reference[index] for index in own], [alone[index] for index in own])
            measured[f"equal_texts_{language}"] = part["equal_texts"]
        followed = candidate.follow(sources, [each.tokens for each in reference], advance=advance)
        measured["next_tokens"] = next_tokens(reference, followed)
    measured["batch_changes"] = differing(alone, together) / len(alone)
    return Checked(measured, failures(measured, tolerance))


def failures(measured: Mapping[str, float], tolerance: T5Tolerance) -> tuple[str, ...]:
    """Every figure beyond the tolerance, in words; figures that were not measured are not judged."""
    found = []
    for name, least in (
        ("next_tokens", tolerance.next_tokens),
        ("equal_tokens", tolerance.equal_tokens),
        ("equal_texts", tolerance.equal_texts),
    ):
        value = measured.get(name)
        if value is not None and not value >= least:
            found.append(f"{name} {value:.4f} < {least}")
    for name, most in (("edit_distance", tolerance.edit_distance), ("batch_changes", tolerance.batch_changes)):
        value = measured.get(name)
        if value is not None and not value <= most:
            found.append(f"{name} {value:.4f} > {most}")
    return tuple(found)
