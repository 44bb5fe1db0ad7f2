"""A T5 on a device as a Stepper: caches never leave it, shapes are few, and rows move there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rolecall_server.engine.ort.t5_device_sessions import T5DeviceSessions
from rolecall_server.engine.ort.t5_device_slots import DeviceCache
from rolecall_server.engine.ort.t5_device_step import DeviceStep, rounded_rows, rounded_width
from rolecall_server.generation.stepper import Need, StepInput, StepOutput, StepperInfo
from rolecall_server.types import TokenIds


@dataclass(frozen=True, slots=True)
class _Row:
    """source: whose cross-attention caches the row has."""

    source: int
    source_length: int


class T5DeviceStepper:
    """See generation.stepper.Stepper. One thread at a time, and with CUDA graphs always the same one: what ONNX Runtime
    captured it keeps for each thread apart."""

    def __init__(self, sessions: T5DeviceSessions, info: StepperInfo) -> None:
        self._sessions = sessions
        self._info = info
        self._rows: list[_Row] = []
        self._sources = 0
        # Slots with something in them that is no number: it would come through to whoever has the slot next, masked
        # or not. A float16 that overflows is what does it.
        self._spoilt: set[int] = set()
        most = rounded_rows(info.rows)
        places = info.max_new_tokens + rounded_width(info.max_width)
        with sessions.errors():
            self._own = DeviceCache(sessions.shape, rows=most, capacity=places, device=sessions.device)
            self._cross = DeviceCache(
                sessions.shape, rows=most, capacity=info.max_source_tokens, device=sessions.device
            )
        self._steps: dict[tuple[int, int, bool], DeviceStep] = {}

    @property
    def info(self) -> StepperInfo:
        return self._info

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def cache_bytes(self) -> int:
        """Memory of the slots, all of it from the beginning."""
        return self._own.nbytes + self._cross.nbytes

    def prefill(self, sources: Sequence[TokenIds]) -> None:
        first, count = len(self._rows), len(sources)
        if first + count > self._info.rows:
            raise ValueError(f"{first} rows and {count} more; there is room for {self._info.rows}")
        with self._sessions.errors():
            self._sessions.prefill(sources, self._info.pad_token_id, cache=self._cross, first=first)
        for source in sources:
            self._rows.append(_Row(self._sources, len(source)))
            self._sources += 1

    def decode(self, step: StepInput) -> StepOutput:
        rows, width = step.tokens.shape
        if rows != len(self._rows) or not 1 <= width <= self._info.max_width:
            raise ValueError(f"a step of {rows} rows and width {width}; there are {len(self._rows)} rows")
        if int(step.positions.max()) + rounded_width(width) > self._own.capacity:
            raise ValueError(f"a step beyond the {self._own.capacity} places of a row")
        lengths = [row.source_length for row in self._rows]
        with self._sessions.errors():
            bound = self._step(rounded_rows(rows), rounded_width(width), with_logits=step.need == Need.LOGITS)
            output = bound.run(step.tokens, step.positions, lengths, need=step.need)
        self._spoilt.update(np.flatnonzero((output.best < 0).any(axis=1)).tolist())
        return output

    def keep(self, rows: Sequence[int]) -> None:
        old = self._rows
        moved = [(source, target) for target, source in enumerate(rows) if source != target]
        other = [(s, t) for s, t in moved if t >= len(old) or old[s].source != old[t].source]
        with self._sessions.errors():
            for cache, pairs in ((self._own, moved), (self._cross, other)):
                if pairs:
                    cache.move(self._sessions.rows, [source for source, _ in pairs], [target for _, target in pairs])
            # Those that are still in use go with their rows, and moved ones were written over.
            left = [slot for slot in self._spoilt if slot >= len(rows)]
            if left:
                self._own.clear(self._sessions.rows, left)
        self._spoilt = {target for target, source in enumerate(rows) if source in self._spoilt}
        self._rows = [old[row] for row in rows]

    def _step(self, rows: int, width: int, *, with_logits: bool) -> DeviceStep:
        key = (rows, width, with_logits)
        if key not in self._steps:
            self._steps[key] = DeviceStep(
                self._sessions.step,
                (self._own, self._cross),
                rows=rows,
                width=width,
                vocabulary=self._info.vocabulary,
                graph_id=next(self._sessions.graph_ids),
                with_logits=with_logits,
            )
        return self._steps[key]
