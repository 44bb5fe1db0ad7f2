"""Rounding of matrices in blocks along a row, each block with a scale."""

from __future__ import annotations

import numpy as np

from rolecall_export.weights import Array

EIGHT_BIT_ZERO = 128


def eight_bits(matrix: Array, *, block: int) -> tuple[Array, Array]:
    """Round float32 [rows, columns] to uint8 [rows, blocks, block] around 128, with float32 scales [rows, blocks].

    The scales are float16 numbers, so that they can be stored as such.
    """
    rows, columns = matrix.shape
    if columns % block:
        raise ValueError(f"rows of {columns} weights do not divide into blocks of {block}")
    blocks = matrix.reshape(rows, columns // block, block)
    scales = (np.abs(blocks).max(axis=-1) / 127).astype(np.float16).astype(np.float32)
    steps = np.maximum(scales, np.finfo(np.float16).tiny)[..., None]
    values = np.clip(np.rint(blocks / steps), -127, 127) + EIGHT_BIT_ZERO
    return values.astype(np.uint8), scales
