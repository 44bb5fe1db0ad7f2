"""Texts of different lengths as one batch, as the graphs read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MARGIN = 16
"""Columns of padding that a batch gets beyond its longest text, as far as `widest` allows."""


def padded(rows: Sequence[Sequence[int]], pad_token_id: int, *, widest: int = 0) -> dict[str, npt.NDArray[np.int64]]:
    """input_ids and attention_mask, [rows, columns]: padded at the right to the longest row.

    With `widest`, MARGIN columns further, but not beyond that width.
    """
    needed = max(len(row) for row in rows)
    width = max(needed, min(needed + MARGIN, widest))
    ids = np.full((len(rows), width), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
