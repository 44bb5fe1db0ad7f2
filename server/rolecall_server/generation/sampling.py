"""Sampling: temperature, top_k and top_p in transformers' order, and random numbers that belong to one request."""

import numpy as np
from numpy.typing import NDArray

from rolecall_server.generation.processors import Ids, Scores
from rolecall_server.generation.types import Decoding


def distribution(scores: Scores, ids: Ids | None, decoding: Decoding) -> tuple[Ids, NDArray[np.float64]]:
    """Tokens that may be drawn and their probabilities, both [kept].

    scores: [tokens], processed logits, one of them finite; of the tokens `ids`, or of all of the vocabulary. What ties
    with the last of the top_k stays, as in transformers. Of equal tokens at the edge of top_p the lower ids stay;
    transformers leaves that to its sort.
    """
    scaled = scores / np.float32(decoding.temperature)
    least = np.float32(-np.inf)
    if 0 < decoding.top_k < len(scaled):
        at = len(scaled) - decoding.top_k
        least = np.partition(scaled, at)[at]
    index = np.flatnonzero((scaled >= least) & (scaled > -np.inf))
    kept = index if ids is None else ids[index]
    weights = np.exp(scaled[index].astype(np.float64) - float(scaled[index].max()))
    probabilities = weights / weights.sum()
    if decoding.top_p < 1.0:
        kept, probabilities = _nucleus(kept, probabilities, decoding.top_p)
    return kept, probabilities


def _nucleus(ids: Ids, probabilities: NDArray[np.float64], top_p: float) -> tuple[Ids, NDArray[np.float64]]:
    """The fewest most likely tokens that hold `top_p` together (Holtzman et al., 2019), scaled to 1 again."""
    # All tokens this unlikely hold less than 1 - top_p together: not worth sorting.
    likely = probabilities > (1.0 - top_p) / len(probabilities)
    likely[probabilities.argmax()] = True
    ids, probabilities = ids[likely], probabilities[likely]
    order = np.lexsort((ids, -probabilities))
    ids, probabilities = ids[order], probabilities[order]
    before = np.cumsum(probabilities) - probabilities
    count = max(1, int(np.count_nonzero(before < top_p)))
    return ids[:count], probabilities[:count] / probabilities[:count].sum()


def draw(ids: Ids, probabilities: NDArray[np.float64], number: float) -> int:
    """The token at which the probabilities, added up in order, exceed `number`, which lies in [0, 1)."""
    cumulative = np.cumsum(probabilities)
    at = np.searchsorted(cumulative, number * cumulative[-1], side="right")
    return int(ids[min(int(at), len(ids) - 1)])


def uniform(seed: int, *, row: int, position: int) -> float:
    """A number in [0, 1) that depends on the arguments alone.

    Counter-based (Philox, Salmon et al., 2011): nothing is drawn in order, so what else runs, and how often a step is
    tried again, changes nothing.
    """
    generator = np.random.Philox(key=np.array([seed, row], np.uint64), counter=np.array([position, 0, 0, 0], np.uint64))
    return float(int(generator.random_raw()) >> 11) * 2.0**-53
