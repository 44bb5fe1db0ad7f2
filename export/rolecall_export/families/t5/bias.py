"""T5's relative position bias as tables over the distance, so that graphs need no logarithms."""

from __future__ import annotations

import math

import numpy as np

from rolecall_export.weights import Array

MASKED = np.float32(-1e9)
"""Added to the score of what may not be seen: its weight is exactly zero, and padding in a softmax stays finite."""


def encoder_table(bias: Array, *, max_distance: int) -> Array:
    """Float32 [2 * max_distance + 1, heads]: row key - query + max_distance, for distances clipped to max_distance.

    bias: [buckets, heads]. Beyond max_distance all distances of a side share one bucket.
    """
    distances = np.arange(-max_distance, max_distance + 1)
    half = len(bias) // 2
    buckets = np.where(distances > 0, half, 0) + _buckets(np.abs(distances), buckets=half, max_distance=max_distance)
    return np.ascontiguousarray(bias[buckets], dtype=np.float32)


def decoder_table(bias: Array, *, max_distance: int) -> Array:
    """Float32 [max_distance + 2, heads]: row 0 for keys that lie ahead (masked), row 1 + query - key for the others."""
    seen = bias[_buckets(np.arange(max_distance + 1), buckets=len(bias), max_distance=max_distance)]
    return np.concatenate([np.full((1, bias.shape[1]), MASKED), seen]).astype(np.float32)


def _buckets(distances: Array, *, buckets: int, max_distance: int) -> Array:
    """The bucket of each distance >= 0. Method: Raffel et al. 2020, half of them exact, the others logarithmic.

    In float32, as the checkpoints were trained: at the borders of buckets a float64 rounds to other ones.
    """
    exact = buckets // 2
    ratio = np.maximum(distances, 1).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + steps.astype(np.int64), buckets - 1)
    return np.where(distances < exact, distances, far)
