"""The comparison of presets, on a small random encoder."""

import pytest
from rolecall_export.compare import compare
from rolecall_export.families.encoder import build
from rolecall_export.presets import PRESETS

from tests.unit.export.random_encoder import random_texts, random_weights


def test_rows_say_what_presets_cost() -> None:
    presets = [PRESETS["cpu-int8"], PRESETS["cpu-fp32"]]
    texts = {"en": random_texts(lengths=(2, 9, 48, 5)), "zh": random_texts(1, lengths=(3, 30))}
    int8, fp32 = compare(build(random_weights(q4=True)), presets, token_ids=texts, pad_token_id=1, rounds=2)
    assert (int8.preset, fp32.preset) == ("cpu-int8", "cpu-fp32")
    assert fp32.cosine_min == pytest.approx(1, abs=1e-6)
    assert 0.98 < int8.cosine_min <= int8.cosine_mean < 1
    assert int8.alone_vs_batched == fp32.alone_vs_batched == 0
    assert int8.megabytes < fp32.megabytes
    assert int8.speed > 0
