"""Sampling: temperature, top_k and top_p in transformers' order, and random numbers that belong to one request."""

import numpy as np

from rolecall_server.generation.processors import Ids, Scores
from rolecall_server.generation.types import Decoding


def distribution(scores: Scores, ids: Ids | None, decoding: Decoding) -> tuple[Ids, Scores]:
    """Tokens that may be drawn and their weights, both [kept]; weights are probabilities but for a factor.

    scores: [tokens], processed logits, one of them finite; of the tokens `ids`, or of all of the vocabulary. What ties
    with the last of the top_k stays, as in transformers. Of equal tokens at the edge of top_p the lower ids stay;
    transformers leaves that to its sort.
    """
    scaled = scores / np.float32(decoding.temperature)
    kept = np.arange(len(scaled), dtype=np.int64) if ids is None else ids
    if 0 < decoding.top_k < len(scaled):
        at = len(scaled) - decoding.top_k
        stays = scaled >= np.partition(scaled, at)[at]
        kept, scaled = kept[stays], scaled[stays]
    weights = np.exp(scaled - scaled.max())  # 0 for what is banned
    return _nucleus(kept, weights, decoding.top_p) if decoding.top_p < 1.0 else (kept, weights)


def _nucleus(ids: Ids, weights: Scores, top_p: float) -> tuple[Ids, Scores]:
    """The fewest most likely tokens that hold `top_p` of all together (Holtzman et al., 2019)."""
    total = weights.sum(dtype=np.float64)
    # All tokens this unlikely hold less than 1 - top_p together: not worth sorting. The most likely one has weight 1.
    likely = weights > min((1.0 - top_p) * total / len(weights), 0.5)
    ids, weights = ids[likely], weights[likely]
    order = np.lexsort((ids, -weights))
    ids, weights = ids[order], weights[order]
    before = np.cumsum(weights, dtype=np.float64) - weights
    count = max(1, int(np.count_nonzero(before < top_p * total)))
    return ids[:count], weights[:count]


def draw(ids: Ids, weights: Scores, number: float) -> int:
    """The token at which the weights, added up in order, exceed `number` times their sum; it lies in [0, 1)."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    at = np.searchsorted(cumulative, number * cumulative[-1], side="right")
    return int(ids[min(int(at), len(ids) - 1)])


def uniform(seed: int, *, row: int, position: int) -> float:
    """A number in [0, 1) that depends on the arguments alone.

    Counter-based (Philox, Salmon et al., 2011): nothing is drawn in order, so what else runs, and how often a step is
    tried again, changes nothing.
    """
    generator = np.random.Philox(key=np.array([seed, row], np.uint64), counter=np.array([position, 0, 0, 0], np.uint64))
    return float(int(generator.random_raw()) >> 11) * 2.0**-53
