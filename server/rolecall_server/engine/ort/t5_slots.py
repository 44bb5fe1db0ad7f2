"""The caches of a T5 decoder's rows: fixed slots in memory that the graphs read and write in place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 64
"""Capacities are multiples of this. Sums over a slot then run in blocks that don't depend on its capacity, so that a
row's results stay the same to the last bit whatever capacity other rows ask for."""

Buffer = NDArray[np.float32]


def rounded(capacity: int) -> int:
    """The least capacity of at least so many places."""
    return -(-capacity // STEP) * STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotShape:
    """What the step graph wants: float32 [rows, heads, capacity, head_size] for keys and values of each layer."""

    layers: int
    heads: int
    head_size: int


class Cache:
    """Keys and values of one kind of attention: for each layer two buffers, with room for `rows` rows.

    The first n rows of a buffer are one piece of memory, so a step over n rows is given just those.
    """

    def __init__(self, shape: SlotShape, *, rows: int) -> None:
        self._shape = shape
        self._rows = rows
        self.capacity = 0
        self._buffers: list[Buffer] = [np.zeros(self.shape(0), np.float32) for _ in range(2 * shape.layers)]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def __iter__(self) -> Iterator[Buffer]:
        """Key and value of the first layer, of the second, and so on."""
        return iter(self._buffers)

    def shape(self, rows: int) -> tuple[int, int, int, int]:
        """Of the first rows of a buffer."""
        return rows, self._shape.heads, self.capacity, self._shape.head_size

    def resize(self, capacity: int, *, rows: int) -> None:
        """Give every slot another capacity; the contents of the first `rows` rows move, as far as they fit."""
        capacity = rounded(capacity)
        if capacity == self.capacity:
            return
        kept = min(capacity, self.capacity)
        self.capacity = capacity
        for index, old in enumerate(self._buffers):
            # Zeros: places that no one wrote yet are read (and masked), and what is no number would come through.
            new = np.zeros(self.shape(self._rows), np.float32)
            new[:rows, :, :kept] = old[:rows, :, :kept]
            self._buffers[index] = new

    def address(self, buffer: Buffer, row: int) -> int:
        """Where a row begins in memory."""
        return int(buffer.ctypes.data + row * buffer.strides[0])

    def move(self, sources: Sequence[int], targets: Sequence[int], *, used: int) -> None:
        """Row targets[i] becomes what sources[i] was, in its first `used` places."""
        for buffer in self._buffers:
            buffer[list(targets), :, :used] = buffer[list(sources), :, :used]
