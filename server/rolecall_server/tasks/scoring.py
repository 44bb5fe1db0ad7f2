"""Scores of documents for a query. Pointwise: a row's score depends on that row and the query, on nothing else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rolecall_server.types import Metric, Vector

SCORING_VERSION = "dense-1"
"""Named in every answer's stamp; changes whenever a score could change for the same embeddings."""


def score(query: Vector, documents: Sequence[Vector], metric: Metric) -> NDArray[np.float32]:
    """Float32 scores [documents], larger is better; computed in float64 and rounded once.

    Sums run along each row by itself rather than through a matrix product, whose order of additions depends on how
    many rows there are.
    """
    if not documents:
        return np.zeros(0, np.float32)
    rows = np.stack(documents).astype(np.float64)
    one = query.astype(np.float64)
    scores: NDArray[np.float64] = (rows * one).sum(axis=1)
    if metric is Metric.EUCLIDEAN:
        scores = 0.0 - np.sqrt(((rows - one) ** 2).sum(axis=1))
    elif metric is Metric.COSINE:
        lengths = np.sqrt((rows * rows).sum(axis=1)) * np.sqrt((one * one).sum())
        scores = np.clip(scores / lengths, -1.0, 1.0)
    return scores.astype(np.float32)


def rank(scores: NDArray[np.float32], *, top_k: int, min_score: float | None) -> list[int]:
    """Positions best first, ties by position; at most `top_k` (0 for all) of those that reach `min_score`."""
    order = np.argsort(-scores, kind="stable")
    kept = [int(i) for i in order if min_score is None or scores[i] >= min_score]
    return kept[:top_k] if top_k else kept
