"""One shape of the decoder step on a device: what it reads and writes lies where it lay the step before.

So a step costs one copy to the device (tokens, positions, source lengths) and one back (the chosen ids), and ONNX
Runtime can capture it as a CUDA graph: one launch for the whole step instead of one for each kernel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rolecall_server.engine.ort.t5_device_slots import DeviceCache
from rolecall_server.generation.stepper import TOP, Need, StepOutput

_FINE_ROWS = 8
"""Rows are rounded up to powers of two up to here, and to multiples beyond."""
NOT_CAPTURED = -1
"""The graph id with which ONNX Runtime captures nothing."""


def rounded_rows(rows: int) -> int:
    """1, 2, 4, 8, 16, 24, 32...: few shapes, and at most half of a step for nobody."""
    return 1 << (rows - 1).bit_length() if rows <= _FINE_ROWS else -(-rows // _FINE_ROWS) * _FINE_ROWS


def rounded_width(width: int) -> int:
    """1, 2, 4, 8, 16..."""
    return 1 << (width - 1).bit_length()


class DeviceStep:
    """The step graph bound for so many rows and so many tokens each; rows beyond those there are count for nothing."""

    def __init__(
        self,
        session: ort.InferenceSession,
        caches: tuple[DeviceCache, DeviceCache],
        *,
        rows: int,
        width: int,
        vocabulary: int,
        graph_id: int,
        with_logits: bool,
    ) -> None:
        """caches: of self-attention and of cross-attention. with_logits: they come to the host too, and no graph is
        captured then: they are new memory each time."""
        self._session = session
        self._device = caches[0].device
        self._options = ort.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(NOT_CAPTURED if with_logits else graph_id))
        self._with_logits = with_logits
        cells = rows * width
        # One block for all that a step is told, so that it takes one copy.
        self._told = np.zeros(cells + 2 * rows, np.int64)
        self._tokens = self._told[:cells].reshape(rows, width)
        self._positions = self._told[cells : cells + rows]
        self._source_lengths = self._told[cells + rows :]
        self._source_lengths[:] = 1
        self._input = ort.OrtValue.ortvalue_from_shape_and_type(self._told.shape, np.int64, self._device, 0)
        count = min(TOP, vocabulary)
        self._best = self._output((rows, width), np.int64)
        self._top_ids = self._output((rows, width, count), np.int64)
        self._top_logits = self._output((rows, width, count), np.float32)
        self._log_sum_exp = self._output((rows, width), np.float32)
        self._binding = self._bound(caches, rows=rows)

    def run(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        source_lengths: Sequence[int],
        *,
        need: Need,
    ) -> StepOutput:
        """One step; shapes as in StepInput, and a length for each row. Logits come where they are bound."""
        rows, width = tokens.shape
        self._tokens[:rows, :width] = tokens
        self._positions[:rows] = positions
        self._positions[rows:] = 0
        self._source_lengths[:rows] = source_lengths
        self._source_lengths[rows:] = 1
        self._input.update_inplace(self._told)
        self._session.run_with_iobinding(self._binding, self._options)

        def fetched(value: ort.OrtValue) -> NDArray[Any]:
            whole: NDArray[Any] = value.numpy()
            return whole[:rows, :width]

        if need == Need.BEST:
            return StepOutput(fetched(self._best))
        return StepOutput(
            fetched(self._best),
            top_ids=fetched(self._top_ids),
            top_logits=fetched(self._top_logits),
            log_sum_exp=fetched(self._log_sum_exp),
            logits=fetched(self._binding.get_outputs()[-1]) if self._with_logits else None,
        )

    def _output(self, shape: tuple[int, ...], kind: type[np.generic]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)

    def _bound(self, caches: tuple[DeviceCache, DeviceCache], *, rows: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        start = int(self._input.data_ptr())
        for name, part in (
            ("token_ids", self._tokens),
            ("positions", self._positions),
            ("source_lengths", self._source_lengths),
        ):
            offset = int(part.ctypes.data - self._told.ctypes.data)
            binding.bind_input(name, self._device, 0, np.int64, part.shape, start + offset)
        for kind, cache in zip(("self", "cross"), caches, strict=True):
            cache.bind_inputs(binding, cache_names(self._session, kind), rows=rows)
        own = [f"present_{name}" for name in cache_names(self._session, "self")]
        caches[0].bind_outputs(binding, own, first=0, rows=rows)
        binding.bind_ortvalue_output("best", self._best)
        binding.bind_ortvalue_output("top_ids", self._top_ids)
        binding.bind_ortvalue_output("top_logits", self._top_logits)
        binding.bind_ortvalue_output("log_sum_exp", self._log_sum_exp)
        if self._with_logits:
            binding.bind_output("logits", "cpu")
        return binding


def cache_names(session: ort.InferenceSession, kind: str) -> list[str]:
    """Inputs of a step graph with the caches of "self" or "cross": key and value of each layer."""
    layers = sum(item.name.startswith(f"{kind}_key.") for item in session.get_inputs())
    return [f"{kind}_{part}.{layer}" for layer in range(layers) for part in ("key", "value")]
