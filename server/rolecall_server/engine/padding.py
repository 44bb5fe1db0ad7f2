"""Token id sequences to the rectangular arrays that a graph takes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rolecall_server.types import TokenIds


def pad(
    sequences: Sequence[TokenIds], pad_token_id: int, *, max_length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right-pad sequences to the longest one's length: (input_ids, attention_mask), int64 [batch, length].

    max_length: the positions that the model has. The mask is 1 for a token, 0 for padding. ValueError for no
    sequences, an empty one, or one beyond `max_length`.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    if lengths.size == 0 or lengths.min() == 0:
        raise ValueError("a batch needs at least one sequence, and a sequence at least one token")
    longest = int(lengths.max())
    if longest > max_length:
        raise ValueError(f"a sequence of {longest} tokens is longer than the model's {max_length}")
    mask = np.arange(longest) < lengths[:, None]
    input_ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    # Row by row, left to right: the order in which the sequences lie one after the other.
    input_ids[mask] = np.concatenate(sequences)
    return input_ids, mask.astype(np.int64)
