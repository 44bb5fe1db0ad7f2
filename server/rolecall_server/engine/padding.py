"""Token id sequences to the rectangular arrays that a graph takes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rolecall_server.types import TokenIds


def pad(
    sequences: Sequence[TokenIds], pad_token_id: int, *, length_multiple: int = 1, max_length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right-pad sequences to one length: (input_ids, attention_mask), int64 [batch, padded length].

    The padded length is the longest sequence's, rounded up to a multiple of `length_multiple`, but no more than
    `max_length` (the positions that the model has). The mask is 1 for a token, 0 for padding. ValueError for no
    sequences, an empty one, or one beyond `max_length`.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    if lengths.size == 0 or lengths.min() == 0:
        raise ValueError("a batch needs at least one sequence, and a sequence at least one token")
    longest = int(lengths.max())
    if max_length is not None and longest > max_length:
        raise ValueError(f"a sequence of {longest} tokens is longer than the model's {max_length}")
    padded = -(-longest // length_multiple) * length_multiple
    if max_length is not None:
        padded = min(padded, max_length)
    mask = np.arange(padded) < lengths[:, None]
    input_ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    # Row by row, left to right: the order in which the sequences lie one after the other.
    input_ids[mask] = np.concatenate(sequences)
    return input_ids, mask.astype(np.int64)
