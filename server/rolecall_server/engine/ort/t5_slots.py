"""The caches of a T5 decoder's rows: fixed slots in memory that the graphs read and write in place."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

STEP = 64
"""Capacities are multiples of this. Sums over a slot then run in blocks that don't depend on its capacity, so that a
row's results stay the same to the last bit whatever capacity other rows ask for."""

_TYPES: dict[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
}

_SIZES = {"tensor(float)": 4, "tensor(float16)": 2, "tensor(bfloat16)": 2, "tensor(int8)": 1}


def rounded(capacity: int) -> int:
    """The least capacity of at least so many places."""
    return -(-capacity // STEP) * STEP


@dataclass(frozen=True, slots=True)
class Slot:
    """An input of the step graph of which each row has its own part.

    shape: of one row; [heads, None, head_size] where the second axis is the capacity, or all numbers.
    """

    name: str
    dtype: type[Any]
    shape: tuple[int | None, ...]

    def of(self, rows: int, capacity: int) -> tuple[int, ...]:
        """The shape of so many rows with this capacity."""
        return rows, *(capacity if size is None else size for size in self.shape)


def slots_of(step: ort.InferenceSession, prefix: str) -> tuple[Slot, ...]:
    """The inputs of a step graph whose names begin so, in its order. ValueError for a type that has no numpy."""
    found = [item for item in step.get_inputs() if item.name.startswith(prefix)]
    unknown = {item.type for item in found} - set(_TYPES)
    if unknown or not found:
        raise ValueError(f"step graph: no slots {prefix!r} of a known type (types: {', '.join(sorted(unknown))})")
    return tuple(
        Slot(item.name, _TYPES[item.type], tuple(size if isinstance(size, int) else None for size in item.shape[1:]))
        for item in found
    )


def bytes_of_row(step: ort.InferenceSession, *, capacity: int, source_capacity: int) -> int:
    """Memory of one row's slots where they hold so many places."""
    total = 0
    for item in step.get_inputs():
        places = {"self_": capacity, "cross_": source_capacity}.get(item.name.split("_")[0] + "_")
        if places is not None:
            sizes = [size if isinstance(size, int) else rounded(places) for size in item.shape[1:]]
            total += math.prod(sizes) * _SIZES[item.type]
    return total


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows of a slot lie: what a binding wants to know."""

    name: str
    dtype: type[Any]
    shape: tuple[int, ...]
    address: int


class Cache:
    """The slots of one kind of attention, with room for `rows` rows.

    The first n rows of a slot are one piece of memory, so a step over n rows is given just those. relocations: how
    often the slots got other memory; what is bound to them is valid while this stays the same.
    """

    def __init__(self, slots: Sequence[Slot], *, rows: int) -> None:
        self._slots = slots
        self._rows = rows
        self.capacity = 0
        self.relocations = 0
        self._buffers = [np.zeros(slot.of(rows, 0), slot.dtype) for slot in slots]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def places(self, first: int, count: int) -> Iterator[Place]:
        """Where `count` rows from row `first` on lie, slot by slot."""
        for slot, buffer in zip(self._slots, self._buffers, strict=True):
            address = int(buffer.ctypes.data + first * buffer.strides[0])
            yield Place(slot.name, slot.dtype, slot.of(count, self.capacity), address)

    def resize(self, capacity: int, *, rows: int) -> None:
        """Give every slot another capacity; the contents of the first `rows` rows move, as far as they fit."""
        capacity = rounded(capacity)
        if capacity == self.capacity:
            return
        kept = min(capacity, self.capacity)
        buffers = list(self._buffers)
        for index, (slot, old) in enumerate(zip(self._slots, self._buffers, strict=True)):
            if None not in slot.shape:
                continue
            # Zeros: places that no one wrote yet are read (and masked), and what is no number would come through.
            new = np.zeros(slot.of(self._rows, capacity), slot.dtype)
            new[:rows, :, :kept] = old[:rows, :, :kept]
            buffers[index] = new
        # All or none: where memory ends half-way, slots of two capacities would be read as if they were of one.
        self.capacity, self._buffers = capacity, buffers
        self.relocations += 1

    def clear(self, rows: Iterable[int]) -> None:
        """Zeros in these rows."""
        for buffer in self._buffers:
            buffer[list(rows)] = 0

    def move(self, sources: Sequence[int], targets: Sequence[int], *, used: int) -> None:
        """Row targets[i] becomes what sources[i] was, in its first `used` places."""
        for slot, buffer in zip(self._slots, self._buffers, strict=True):
            part: NDArray[Any] = buffer[:, :, :used] if None in slot.shape else buffer
            part[list(targets)] = part[list(sources)]
