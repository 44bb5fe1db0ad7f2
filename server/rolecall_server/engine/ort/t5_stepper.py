"""A T5 on ONNX Runtime as a Stepper: rows in slots, advanced together, each independent of the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rolecall_server.engine.ort.t5_sessions import T5Sessions
from rolecall_server.engine.ort.t5_slots import STEP, Cache, rounded
from rolecall_server.engine.padding import pad
from rolecall_server.generation.stepper import Need, StepInput, StepOutput, StepperInfo
from rolecall_server.types import TokenIds

_SHRINK_RATIO = 1.5
"""Cross-attention reads whole slots: they shrink when this much larger than the longest source for some steps."""
_SHRINK_AFTER = 16
_FETCHED = ("top_ids", "top_logits", "log_sum_exp", "logits")


@dataclass(slots=True, eq=False)
class _Row:
    """source: whose cross-attention caches the row has. used: places of its slot that may hold something."""

    source: int
    source_length: int
    used: int = 0


@dataclass(slots=True)
class _Bound:
    """What the binding was made for; when it changes, the binding is made anew."""

    key: tuple[object, ...]
    binding: ort.IOBinding
    fetched: tuple[str, ...]
    """Outputs that come in new memory, in the order in which they were bound, after those that are in place."""


class T5Stepper:
    """See generation.stepper.Stepper. One thread at a time; the sessions are shared by all steppers of a model."""

    def __init__(self, sessions: T5Sessions, info: StepperInfo) -> None:
        self._sessions = sessions
        self._info = info
        self._rows: list[_Row] = []
        self._own = Cache(sessions.own_slots, rows=info.rows)
        self._cross = Cache(sessions.source_slots, rows=info.rows)
        self._sources = 0
        # Slots with something in them that is no number: it would come through to whoever has the slot next.
        self._spoilt: set[int] = set()
        self._wide_steps = 0
        self._token_ids = np.zeros(info.rows * info.max_width, np.int64)
        self._positions = np.zeros(info.rows, np.int64)
        self._source_lengths = np.zeros(info.rows, np.int64)
        self._best = np.zeros(info.rows * info.max_width, np.int64)
        self._ranked = np.zeros((), np.bool_)
        self._bound: _Bound | None = None

    @property
    def info(self) -> StepperInfo:
        return self._info

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def cache_bytes(self) -> int:
        """Memory that the slots hold now."""
        return self._own.nbytes + self._cross.nbytes

    def prefill(self, sources: Sequence[TokenIds]) -> None:
        first, count = len(self._rows), len(sources)
        if first + count > self._info.rows:
            raise ValueError(f"{first} rows and {count} more; there is room for {self._info.rows}")
        longest = max(len(source) for source in sources)
        with self._sessions.errors():
            ids, mask = pad(sources, self._info.pad_token_id, max_length=self._info.max_source_tokens)
            if not first:
                self._own.resize(STEP, rows=0)
            if longest > self._cross.capacity or not first:
                self._cross.resize(longest, rows=first)
            places = self._cross.places(first, count)
            self._sessions.prefill(ids, mask, capacity=self._cross.capacity, places=places)
        for source in sources:
            self._source_lengths[len(self._rows)] = len(source)
            self._rows.append(_Row(self._sources, len(source)))
            self._sources += 1

    def decode(self, step: StepInput) -> StepOutput:
        rows, width = step.tokens.shape
        if rows != len(self._rows) or not 1 <= width <= self._info.max_width:
            raise ValueError(f"a step of {rows} rows and width {width}; there are {len(self._rows)} rows")
        with self._sessions.errors():
            self._make_room(int(step.positions.max()) + width)
            self._token_ids[: rows * width].reshape(rows, width)[:] = step.tokens
            self._positions[:rows] = step.positions
            self._ranked[()] = step.need >= Need.TOP
            bound = self._bind(rows, width, need=step.need)
            self._sessions.step.run_with_iobinding(bound.binding)
            output = _output(bound, self._best[: rows * width].reshape(rows, width))
        for row, position in zip(self._rows, step.positions.tolist(), strict=True):
            row.used = position + width
        if output.best.min() < 0:
            self._spoilt.update(np.flatnonzero((output.best < 0).any(axis=1)).tolist())
        return output

    def keep(self, rows: Sequence[int]) -> None:
        old = self._rows
        if self._spoilt:
            left = self._spoilt.difference(rows)
            self._own.clear(left)
            self._cross.clear(left)
            self._spoilt = {target for target, source in enumerate(rows) if source in self._spoilt}
        moved = [(source, target) for target, source in enumerate(rows) if source != target]
        if moved:
            used = max((old[source].used for source, _ in moved), default=0)
            self._own.move([source for source, _ in moved], [target for _, target in moved], used=used)
            other = [(s, t) for s, t in moved if t >= len(old) or old[s].source != old[t].source]
            longest = max((old[source].source_length for source, _ in other), default=0)
            if other:
                self._cross.move([source for source, _ in other], [target for _, target in other], used=longest)
        self._rows = [_Row(old[row].source, old[row].source_length, old[row].used) for row in rows]
        self._source_lengths[: len(rows)] = [row.source_length for row in self._rows]

    def _make_room(self, places: int) -> None:
        """Slots grow by doubling, so that growing costs little in the long run; an empty batch starts small again."""
        if places > self._own.capacity:
            most = self._info.max_new_tokens + self._info.max_width
            self._own.resize(max(places, min(2 * self._own.capacity, most)), rows=len(self._rows))
        needed = rounded(max(row.source_length for row in self._rows))
        self._wide_steps = self._wide_steps + 1 if self._cross.capacity >= _SHRINK_RATIO * needed else 0
        if self._wide_steps >= _SHRINK_AFTER:
            self._wide_steps = 0
            self._cross.resize(needed, rows=len(self._rows))

    def _bind(self, rows: int, width: int, *, need: Need) -> _Bound:
        key = (rows, width, need, self._own.relocations, self._cross.relocations)
        if self._bound is None or self._bound.key != key:
            binding = self._new_binding(rows, width)
            fetched = _FETCHED[: (0, 3, 4)[need]]
            for name in fetched:
                binding.bind_output(name, "cpu")
            self._bound = _Bound(key, binding, fetched)
        return self._bound

    def _new_binding(self, rows: int, width: int) -> ort.IOBinding:
        """Inputs, caches and `best` at the places in memory where they stay from step to step."""
        binding = self._sessions.step.io_binding()
        fixed = [
            ("token_ids", self._token_ids, (rows, width)),
            ("positions", self._positions, (rows,)),
            ("source_lengths", self._source_lengths, (rows,)),
            ("ranked", self._ranked, ()),
        ]
        for name, array, shape in fixed:
            binding.bind_input(name, "cpu", 0, array.dtype.type, shape, array.ctypes.data)
        binding.bind_output("best", "cpu", 0, np.int64, (rows, width), self._best.ctypes.data)
        for place in (*self._own.places(0, rows), *self._cross.places(0, rows)):
            memory = ("cpu", 0, place.dtype, place.shape, place.address)
            binding.bind_input(place.name, *memory)
            if place.name in self._sessions.written:
                binding.bind_output(f"present_{place.name}", *memory)
        return binding


def _output(bound: _Bound, best: NDArray[np.int64]) -> StepOutput:
    values = bound.binding.get_outputs()
    found = {name: value.numpy() for name, value in zip(reversed(bound.fetched), reversed(values), strict=False)}
    return StepOutput(best, **found)
