"""What verification measures of a generator, and what it lets pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from rolecall_export.errors import VerificationError
from rolecall_export.progress import Advance
from rolecall_export.t5_presets import PRESETS, T5Tolerance
from rolecall_export.t5_reference import Written
from rolecall_export.verify_t5 import Checked, Sources, check, failures

STRICT = T5Tolerance(next_tokens=1.0, equal_tokens=1.0, equal_texts=1.0, edit_distance=0.0)
Texts = list[tuple[int, ...]]
GOOD: Texts = [(3, 4, 1), (5, 6, 1), (7, 1), (8, 9, 1)]


@dataclass
class Scripted:
    """A generator that writes what the test says."""

    texts: Texts
    batched: Texts

    def alone(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> Texts:
        advance(len(sources))
        return self.texts

    def together(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> Texts:
        advance(len(sources))
        return self.batched

    def follow(self, sources: Sources, texts: Sequence[Sequence[int]], *, advance: Advance) -> list[list[int]]:
        """As if it always wrote the last token of its own text there."""
        advance(len(sources))
        return [[*text[:-2], own[-2], own[-1]] for text, own in zip(texts, self.texts, strict=True)]


def checked(
    texts: Texts, *, batched: Texts | None = None, reference: Texts | None = GOOD, tolerance: T5Tolerance = STRICT
) -> Checked:
    passes: list[float] = []
    result = check(
        Scripted(texts, batched or texts),
        None if reference is None else [Written(tokens) for tokens in reference],
        [np.array([1])] * len(texts),
        languages=["en", "zh", "en", "zh"],
        max_new_tokens=8,
        tolerance=tolerance,
        advance=passes.append,
    )
    assert sum(passes) == (2 if reference is None else 3) * len(texts)
    return result


def test_equal_texts_pass():
    result = checked(GOOD)
    assert result.measured["equal_texts_en"] == result.measured["equal_texts_zh"] == 1
    assert result.measured["batch_changes"] == 0
    result.require()


def test_a_text_that_differs_fails_with_its_figures():
    result = checked([*GOOD[:3], (8, 2, 1)])
    assert (result.measured["equal_texts_en"], result.measured["equal_texts_zh"]) == (1, 0.5)
    with pytest.raises(
        VerificationError,
        match=r"next_tokens 0\.9091 < 1\.0, equal_tokens 0\.9091 < 1\.0, equal_texts 0\.7500 < 1\.0, edit_distance",
    ):
        result.require()
    checked(
        [*GOOD[:3], (8, 2, 1)],
        tolerance=T5Tolerance(next_tokens=0.9, equal_tokens=0.9, equal_texts=0.7, edit_distance=0.1),
    ).require()


def test_a_text_that_depends_on_its_company_fails():
    result = checked(GOOD, batched=[(3, 4, 4, 1), *GOOD[1:]])
    assert result.failures == ("batch_changes 0.2500 > 0.0",)


def test_without_a_reference_only_the_company_is_judged():
    assert checked(GOOD, reference=None).measured == {"batch_changes": 0}
    assert checked(GOOD, reference=None, batched=GOOD[::-1]).failures


def test_a_figure_that_is_no_number_fails():
    assert (
        len(
            failures({"next_tokens": float("nan"), "equal_tokens": float("nan"), "edit_distance": float("nan")}, STRICT)
        )
        == 3
    )


def test_every_preset_has_a_reason_and_a_sensible_tolerance():
    assert PRESETS["cpu-fp32"].tolerance == STRICT
    for name, preset in PRESETS.items():
        assert name == preset.name
        assert preset.reason.endswith(".")
        assert name.startswith({"cpu": "cpu-", "cuda": "gpu-"}[preset.provider])
        limits: Sequence[float] = (preset.tolerance.equal_tokens, preset.tolerance.equal_texts)
        assert all(0 < limit <= 1 for limit in limits)
        assert 0 <= preset.tolerance.edit_distance < 0.5
        assert preset.tolerance.batch_changes == 0 or preset.provider == "cuda"
