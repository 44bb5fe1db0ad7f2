"""Texts by an exported T5 as the server makes them: its own stepper and its own loop.

The one module of the exporter that imports the server: what is verified is what will run.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rolecall_server.engine.ort import providers
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.errors import RolecallError
from rolecall_server.generation.loop import GenerationLoop
from rolecall_server.generation.queue import Queued
from rolecall_server.generation.stepper import Need, StepInput, Stepper
from rolecall_server.generation.types import Decoding, Failed, Finished, GenerationRequest
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey, Priority

from rolecall_export.errors import VerificationError
from rolecall_export.progress import Advance
from rolecall_export.verify_t5 import Sources

_SEED = 5
_ROWS = 12
_JOINING = 4
"""At most so many come in at one step, so that rows of all ages are in company."""


class _NoText:
    """Only tokens are compared."""

    def decode(self, ids: Sequence[int]) -> str:
        return ""


class ServedGenerator:
    """A version folder, loaded as the server loads it. VerificationError where that fails, or a text does."""

    def __init__(self, stepper: Stepper, *, provider: str) -> None:
        self.provider = provider
        """ONNX Runtime's name of what most of the graphs run on."""
        self._stepper = stepper

    def alone(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> list[tuple[int, ...]]:
        """As verify_t5.Generator."""
        order = range(len(sources))
        return self._run(sources, order, rows=1, max_new_tokens=max_new_tokens, advance=advance)

    def together(self, sources: Sources, *, max_new_tokens: int, advance: Advance) -> list[tuple[int, ...]]:
        """As verify_t5.Generator; the same company in every export."""
        order = random.Random(_SEED).sample(range(len(sources)), len(sources))
        rows = self._stepper.info.rows
        return self._run(sources, order, rows=rows, max_new_tokens=max_new_tokens, advance=advance)

    def follow(self, sources: Sources, texts: Sequence[Sequence[int]], *, advance: Advance) -> list[list[int]]:
        """As verify_t5.Generator."""
        found: list[list[int]] = []
        for start in range(0, len(sources), _ROWS):
            group = texts[start : start + _ROWS]
            self._stepper.keep([])
            self._stepper.prefill(list(sources[start : start + _ROWS]))
            steps = max(map(len, group), default=0)
            # Row by row the start and the text; what stands behind a text counts for nothing.
            given = np.full((len(group), steps + 1), self._stepper.info.pad_token_id, np.int64)
            given[:, 0] = self._stepper.info.start_token_id
            for row, text in enumerate(group):
                given[row, 1 : len(text) + 1] = text
            best = np.empty((len(group), steps), np.int64)
            for place in range(steps):
                positions = np.full(len(group), place, np.int64)
                best[:, place] = self._stepper.decode(
                    StepInput(given[:, place : place + 1], positions, Need.BEST)
                ).best[:, 0]
            found += [best[row, : len(text)].tolist() for row, text in enumerate(group)]
            advance(len(group))
        self._stepper.keep([])
        return found

    def _run(
        self, sources: Sources, order: Sequence[int], *, rows: int, max_new_tokens: int, advance: Advance
    ) -> list[tuple[int, ...]]:
        steps = 0.0

        def clock() -> float:
            return steps

        loop = GenerationLoop(self._stepper, _NoText(), clock=clock)
        chooser = random.Random(_SEED)
        waiting = [Queued(_request(index, sources, max_new_tokens)) for index in reversed(order)]
        found: dict[int, tuple[int, ...]] = {}
        while len(found) < len(sources):
            count = min(rows - loop.rows, chooser.randint(0 if loop.rows else 1, _JOINING), len(waiting))
            joining = [waiting.pop() for _ in range(count)]
            for queued in joining:
                queued.started = steps
            outcome = loop.step(joining)
            waiting += outcome.again  # the loop gives them one more try
            for event in outcome.events:
                if isinstance(event, Failed):
                    raise VerificationError(f"the converted model fails: {event.error}") from event.error
                if isinstance(event, Finished):
                    found[event.request_id] = event.hypotheses[0].token_ids
                    advance(1)
            steps += 1
        return [found[index] for index in range(len(sources))]


def available(provider: str) -> bool:
    """Whether this machine has "cpu" or "cuda"."""
    return provider in providers.available()


@contextmanager
def served(folder: Path, *, name: str, version: str, provider: str) -> Iterator[ServedGenerator]:
    """The version in `folder`, which has its manifest, on `provider`, "cpu" or "cuda"."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as root:
        (Path(root) / name).mkdir()
        (Path(root) / name / version).symlink_to(folder.resolve(), target_is_directory=True)
        try:
            artifact = ModelRepository(Path(root)).artifact(ModelKey(name, version))
            generator = T5Generator(artifact, SessionSettings(providers=(provider,)), rows=16)
            yield ServedGenerator(generator.stepper(), provider=generator.loaded.provider)
        except RolecallError as error:
            raise VerificationError(f"the converted model does not run: {error}") from error


def _request(index: int, sources: Sources, max_new_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        id=index,
        source=sources[index],
        decoding=Decoding(max_new_tokens=max_new_tokens),
        priority=Priority.BULK,
        arrived=0.0,
        deadline=math.inf,
    )
