"""The three sessions of a T5 version: encoder, prefill, step. Thread-safe; all steppers of the version share them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from rolecall_server.engine.ort.create import SessionSettings, create_session, engine_errors
from rolecall_server.engine.ort.placement import Placement, read_placement
from rolecall_server.engine.ort.providers import ORT_NAMES, choose
from rolecall_server.engine.ort.t5_slots import Place, slots_of
from rolecall_server.repository import Artifact

_GRAPHS = ("encoder", "prefill", "step")


class T5Sessions:
    """EngineError on a bad artifact, a missing provider, or a call that failed."""

    def __init__(self, artifact: Artifact, settings: SessionSettings) -> None:
        artifact.verify()
        self.artifact = artifact
        wanted = choose(settings.providers, artifact.provider)
        sessions = [
            create_session(artifact.folder / f"{name}.onnx", artifact.info.key, wanted, settings=settings)
            for name in _GRAPHS
        ]
        self._encoder, self._prefill, self.step = sessions
        self.placements: tuple[Placement, ...] = tuple(read_placement(s, ORT_NAMES[wanted[0]]) for s in sessions)
        with self.errors():
            self.own_slots, self.source_slots = slots_of(self.step, "self_"), slots_of(self.step, "cross_")
        self.written = frozenset(item.name.removeprefix("present_") for item in self.step.get_outputs())
        """Slots that a step writes to."""

    def prefill(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        *,
        capacity: int,
        places: Iterable[Place],
    ) -> None:
        """Encode sources, int64 [batch, length], and write what steps read of them to the places where it belongs."""
        hidden, spans = self._encoder.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})
        binding = self._prefill.io_binding()
        binding.bind_cpu_input("hidden_states", hidden)
        binding.bind_cpu_input("spans", spans)
        binding.bind_cpu_input("capacity", np.array(capacity, np.int64))
        for place in places:
            binding.bind_output(place.name, "cpu", 0, place.dtype, place.shape, place.address)
        self._prefill.run_with_iobinding(binding)

    def errors(self) -> AbstractContextManager[None]:
        """What a call throws, as EngineError."""
        return engine_errors(self.artifact.info.key)
