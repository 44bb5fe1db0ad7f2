"""The comparison of presets, on a small random encoder."""

import numpy as np
import pytest
from rolecall_export.compare import compare, padded
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


def test_padding_beyond_need_stops_at_the_widest() -> None:
    assert padded([[5, 6], [7]], 1, widest=0)["input_ids"].shape == (2, 2)
    assert padded([[5, 6], [7]], 1, widest=10)["input_ids"].shape == (2, 10)
    wide = padded([[5, 6], [7]], 1, widest=512)
    assert wide["input_ids"].shape == (2, 18)
    np.testing.assert_array_equal(wide["attention_mask"].sum(1), [2, 1])
    assert wide["input_ids"][1, 1] == 1
