"""Batches as the graphs read them."""

import numpy as np
from rolecall_export.padding import padded


def test_padding_beyond_need_stops_at_the_widest() -> None:
    assert padded([[5, 6], [7]], 1)["input_ids"].shape == (2, 2)
    assert padded([[5, 6], [7]], 1, widest=10)["input_ids"].shape == (2, 10)
    wide = padded([[5, 6], [7]], 1, widest=512)
    assert wide["input_ids"].shape == (2, 18)
    np.testing.assert_array_equal(wide["attention_mask"].sum(1), [2, 1])
    assert wide["input_ids"][1, 1] == 1
