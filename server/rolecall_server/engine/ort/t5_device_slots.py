"""The caches of a T5 decoder's rows on a device: slots that keep their size and their place from beginning to end.

On a GPU memory is for whoever asks first, and a captured CUDA graph reads and writes the addresses that it has seen. So
slots here are as long as the model allows, and rows move by a graph of their own, on the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from rolecall_server.engine.ort.t5_slots import rounded

# ONNX's numbers of the types that caches have, and what holds a zero of the same size for those that numpy lacks.
_TYPES = {
    "tensor(float)": (1, np.uint32),
    "tensor(float16)": (10, np.uint16),
    "tensor(bfloat16)": (16, np.uint16),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSlotShape:
    """What the step graph wants: [rows, heads, capacity, head_size] of `kind`, ONNX Runtime's name of a type, for keys
    and values of each layer."""

    kind: str
    layers: int
    heads: int
    head_size: int


class DeviceCache:
    """Keys and values of one kind of attention, for each layer two tensors [rows + 1, heads, capacity, head_size].

    The last row is never written: it is there to clear others with.
    """

    def __init__(self, shape: DeviceSlotShape, *, rows: int, capacity: int, device: str) -> None:
        """device: "cpu" or "cuda". capacity: the least number of places."""
        self._shape = shape
        self._rows = rows + 1
        self.device = device
        self.capacity = rounded(capacity)
        self.element_type, holder = _TYPES[shape.kind]
        # Zeros: places that no one wrote yet are read (and masked), and what is no number would come through.
        zeros = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.zeros(self.shape(self._rows), holder), self.element_type
        )
        self._values: list[ort.OrtValue] = []
        for _ in range(2 * shape.layers):
            value = ort.OrtValue.ortvalue_from_shape_and_type(self.shape(self._rows), self.element_type, device, 0)
            value.update_inplace(zeros)
            self._values.append(value)
        self._moving: ort.IOBinding | None = None

    @property
    def nbytes(self) -> int:
        return sum(int(value.tensor_size_in_bytes()) for value in self._values)

    def shape(self, rows: int) -> tuple[int, int, int, int]:
        """Of the first rows of a tensor."""
        return rows, self._shape.heads, self.capacity, self._shape.head_size

    def addresses(self, row: int) -> Iterator[int]:
        """Where this row begins in memory: key and value of the first layer, of the second, and so on."""
        for value in self._values:
            yield int(value.data_ptr()) + row * (int(value.tensor_size_in_bytes()) // self._rows)

    def bind_inputs(self, binding: ort.IOBinding, names: Sequence[str], *, rows: int) -> None:
        """The first `rows` rows, as these inputs of a graph."""
        for name, address in zip(names, self.addresses(0), strict=True):
            binding.bind_input(name, self.device, 0, self.element_type, self.shape(rows), address)

    def bind_outputs(self, binding: ort.IOBinding, names: Sequence[str], *, first: int, rows: int) -> None:
        """`rows` rows from `first` on, as these outputs of a graph."""
        for name, address in zip(names, self.addresses(first), strict=True):
            binding.bind_output(name, self.device, 0, self.element_type, self.shape(rows), address)

    def clear(self, session: ort.InferenceSession, targets: Sequence[int]) -> None:
        """Zeros in these rows. session: of the rows graph."""
        self.move(session, [self._rows - 1] * len(targets), targets)

    def move(self, session: ort.InferenceSession, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Row targets[i] becomes what sources[i] was, all at once. session: of the rows graph."""
        if self._moving is None:
            self._moving = session.io_binding()
            count = len(self._values)
            self.bind_inputs(self._moving, [f"cache.{index}" for index in range(count)], rows=self._rows)
            self.bind_outputs(self._moving, [f"moved.{index}" for index in range(count)], first=0, rows=self._rows)
        self._moving.bind_cpu_input("sources", np.array(sources, np.int64))
        self._moving.bind_cpu_input("targets", np.array(targets, np.int64)[:, None])
        session.run_with_iobinding(self._moving)
