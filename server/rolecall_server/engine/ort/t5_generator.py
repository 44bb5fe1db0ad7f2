"""A loaded version of a T5: its sessions, what it says of itself, and as many steppers as are asked for."""

from collections.abc import Callable
from functools import partial

import numpy as np

from rolecall_server.engine.base import LoadedModel
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_device_sessions import T5DeviceSessions, made_for_device
from rolecall_server.engine.ort.t5_device_stepper import T5DeviceStepper
from rolecall_server.engine.ort.t5_sessions import T5Sessions
from rolecall_server.engine.ort.t5_slots import bytes_of_row
from rolecall_server.engine.ort.t5_stepper import T5Stepper
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import Need, StepInput, Stepper, StepperInfo
from rolecall_server.repository import Artifact

MAX_WIDTH = 16
"""Tokens of a row that one step may take: one that is certain and 15 drafted ones."""


class T5Generator:
    """EngineError on a bad artifact, a missing provider, or a model that gives nonsense."""

    def __init__(
        self, artifact: Artifact, settings: SessionSettings, *, rows: int, cache_bytes: int | None = None
    ) -> None:
        """rows: the most rows of each stepper; fewer where their caches at their longest would pass `cache_bytes`."""
        facts = artifact.generator
        if facts is None:
            raise EngineError(f"model {artifact.info.key}: the manifest is not that of a generator")
        self._new_stepper: Callable[[StepperInfo], Stepper]
        if made_for_device(artifact):
            on_device = T5DeviceSessions(artifact, settings)
            self._new_stepper, placements = partial(T5DeviceStepper, on_device), on_device.placements
            step = on_device.step
        else:
            sessions = T5Sessions(artifact, settings)
            self._new_stepper, placements = partial(T5Stepper, sessions), sessions.placements
            step = sessions.step
        row_bytes = bytes_of_row(
            step, capacity=artifact.info.max_new_tokens + MAX_WIDTH, source_capacity=artifact.info.max_tokens
        )
        if cache_bytes is not None:
            rows = min(rows, cache_bytes // row_bytes)
        if not rows:
            raise EngineError(
                f"model {artifact.info.key}: the caches of one sequence may take {row_bytes >> 20} MB, "
                f"more than a generation worker's part of --kv-cache-mb"
            )
        self.info = StepperInfo(
            rows=rows,
            max_source_tokens=artifact.info.max_tokens,
            max_new_tokens=artifact.info.max_new_tokens,
            max_width=MAX_WIDTH,
            vocabulary=facts.vocabulary_size,
            start_token_id=facts.decoder_start_token_id,
            eos_token_id=facts.eos_token_id,
            pad_token_id=artifact.pad_token_id,
            row_bytes=row_bytes,
        )
        fallbacks = sum(len(placement.fallbacks) for placement in placements)
        self.loaded = LoadedModel(artifact.info, placements[-1].provider, fallbacks, generation=self.info)
        self.warm_up()

    def stepper(self) -> Stepper:
        """A new one, with slots of its own."""
        return self._new_stepper(self.info)

    def warm_up(self) -> None:
        """Decode one token: what gives nonsense is better seen now."""
        stepper = self.stepper()
        stepper.prefill([np.array([self.info.eos_token_id])])
        start = np.array([[self.info.start_token_id]])
        output = stepper.decode(StepInput(start, np.zeros(1, np.int64), Need.LOGITS))
        assert output.logits is not None
        if output.logits.shape != (1, 1, self.info.vocabulary):
            raise EngineError(
                f"model {self.loaded.info.key}: gives {output.logits.shape[-1]} logits, the manifest says "
                f"{self.info.vocabulary}"
            )
        if not np.isfinite(output.logits).all():
            raise EngineError(f"model {self.loaded.info.key}: gives numbers that are not finite")
