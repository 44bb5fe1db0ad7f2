"""The four sessions of a T5 version made for a device: encoder, prefill, step, and rows, which moves caches there.

The same code runs with the device "cpu": slower than the version made for it, but the same in every number.
"""

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import onnxruntime as ort

from rolecall_server.engine.ort.create import SessionSettings, create_session, engine_errors
from rolecall_server.engine.ort.placement import Placement, read_placement
from rolecall_server.engine.ort.providers import CUDA, ORT_NAMES, TENSORRT, choose
from rolecall_server.engine.ort.t5_device_slots import DeviceCache, DeviceSlotShape
from rolecall_server.engine.padding import pad
from rolecall_server.errors import EngineError
from rolecall_server.repository import Artifact
from rolecall_server.types import TokenIds

ROWS_GRAPH = "rows.onnx"
"""The file that only versions made for a device have."""
_KINDS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
_WIDTH = 16
"""Texts are padded to multiples of this: attention on tensor cores wants lengths divisible by 8."""


def made_for_device(artifact: Artifact) -> bool:
    """Whether the caches of this version are to lie on a device."""
    return (artifact.folder / ROWS_GRAPH).is_file()


class T5DeviceSessions:
    """EngineError on a bad artifact, a missing provider, or a call that failed."""

    def __init__(self, artifact: Artifact, settings: SessionSettings) -> None:
        artifact.verify()
        self.artifact = artifact
        wanted = choose(settings.providers, artifact.provider)
        self.device = "cuda" if {CUDA, TENSORRT} & set(wanted) else "cpu"

        def session(name: str, *, cuda_graph: bool = False) -> ort.InferenceSession:
            graph = artifact.folder / f"{name}.onnx"
            return create_session(graph, artifact.info.key, wanted, settings=settings, cuda_graph=cuda_graph)

        self._encoder, self._prefill = session("encoder"), session("prefill")
        self.rows = session("rows")
        self.step = session("step", cuda_graph=settings.cuda_graphs)
        sessions = (self._encoder, self._prefill, self.rows, self.step)
        self.placements: tuple[Placement, ...] = tuple(read_placement(s, ORT_NAMES[wanted[0]]) for s in sessions)
        self.shape = self._slot_shape()
        self.graph_ids = itertools.count(1)
        """Numbers for captured steps: one for each place in memory, so never the same for two steppers."""

    def prefill(self, sources: Sequence[TokenIds], pad_token_id: int, *, cache: DeviceCache, first: int) -> None:
        """Encode sources and write them into the slots of `cache` from row `first` on; hidden states stay where they
        are computed."""
        ids, mask = pad(sources, pad_token_id, max_length=self.artifact.info.max_tokens)
        spare = min(-ids.shape[1] % _WIDTH, self.artifact.info.max_tokens - ids.shape[1])
        encoding = self._encoder.io_binding()
        encoding.bind_cpu_input("input_ids", np.pad(ids, ((0, 0), (0, spare)), constant_values=pad_token_id))
        encoding.bind_cpu_input("attention_mask", np.pad(mask, ((0, 0), (0, spare))))
        for name in ("hidden_states", "spans"):
            encoding.bind_output(name, self.device)
        self._encoder.run_with_iobinding(encoding)
        binding = self._prefill.io_binding()
        for name, value in zip(("hidden_states", "spans"), encoding.get_outputs(), strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input("capacity", np.array(cache.capacity, np.int64))
        names = [f"cross_{part}.{layer}" for layer in range(self.shape.layers) for part in ("key", "value")]
        cache.bind_outputs(binding, names, first=first, rows=len(sources))
        self._prefill.run_with_iobinding(binding)

    def errors(self) -> AbstractContextManager[None]:
        """What a call throws, as EngineError."""
        return engine_errors(self.artifact.info.key)

    def _slot_shape(self) -> DeviceSlotShape:
        """From the step graph's own inputs."""
        caches = {item.name: item for item in self.step.get_inputs() if item.name.startswith("self_key.")}
        first = caches.get("self_key.0")
        if first is None or first.type not in _KINDS:
            raise EngineError(f"model {self.artifact.info.key}: step.onnx has no caches of a type that is known")
        return DeviceSlotShape(kind=first.type, layers=len(caches), heads=first.shape[1], head_size=first.shape[3])
