"""The bare graph: ONNX Runtime on batches that were tokenised, sorted and padded beforehand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rolecall_load.bench.embedders import DirectEncoder, Tokens, Vectors
from rolecall_load.bench.speed.measure import Kind, Measure
from rolecall_load.bench.speed.texts import windowed_batches


class DirectContender:
    """Batches of at most `size`, `runs` of them at a time, each on the threads of the encoder's session."""

    kind: Kind = "direct"

    def __init__(self, encoder: DirectEncoder, tokens: Tokens, *, size: int, runs: int, threads: int) -> None:
        self.name = f"direct, batches of {size}, {runs} x {threads} threads"
        self._encoder = encoder
        self._order = windowed_batches(tokens, size)
        self._inputs = [encoder.inputs(tokens, batch) for batch in self._order]
        self._runs = runs

    def run(self, number: int) -> Measure:
        started = time.perf_counter()
        self._results()
        return Measure(time.perf_counter() - started)

    def embed(self) -> Vectors:
        # Back into the order of the texts.
        places = np.argsort(np.concatenate(self._order))
        return np.concatenate(self._results())[places]

    def _results(self) -> Sequence[Vectors]:
        if self._runs == 1:
            return [self._encoder.run(inputs) for inputs in self._inputs]
        with ThreadPoolExecutor(self._runs) as pool:
            return list(pool.map(self._encoder.run, self._inputs))
