"""Speed, drift and batch invariance of several presets of one model, measured side by side."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rolecall_export.padding import padded
from rolecall_export.pipeline import save
from rolecall_export.presets import Preset

Rows = Sequence[Sequence[int]]
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one preset costs and gives."""

    preset: str
    megabytes: float
    """Size of the serialized graph, 10^6 bytes."""
    speed: float
    """Texts a second at the batches given, as a multiple of the float graph's, medians of one interleaved run."""
    cosine_min: float
    cosine_mean: float
    """Cosine of each text's embedding to the float graph's."""
    alone_vs_batched: float
    """Largest absolute difference of a coordinate between a text alone and the same text in its padded batch."""


def compare(
    model: onnx.ModelProto,
    presets: Sequence[Preset],
    *,
    token_ids: Mapping[str, Rows],
    pad_token_id: int,
    threads: int = 1,
    rounds: int = 5,
    batch_size: int = 8,
) -> list[Comparison]:
    """Rows of the comparison, in the order of `presets`.

    `token_ids` are texts by language, with special tokens; each language is batched by itself, sorted by length.
    """
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        reference = Path(folder) / "float.onnx"
        save(model, reference)
        graphs = {"": _Graph(reference, provider="cpu", threads=threads)}
        for preset in presets:
            path = Path(folder) / f"{preset.name}.onnx"
            save(preset.convert(onnx.load(reference)), path)
            graphs[preset.name] = _Graph(path, provider=preset.provider, threads=threads)
        batches = [batch for rows in token_ids.values() for batch in _batches(rows, batch_size)]
        seconds = _interleaved(graphs, batches, pad_token_id=pad_token_id, rounds=rounds)
        exact = graphs[""].embed(batches, pad_token_id)
        return [
            _row(
                preset.name,
                graphs[preset.name],
                speed=seconds[""] / seconds[preset.name],
                exact=exact,
                batches=batches,
                pad_token_id=pad_token_id,
            )
            for preset in presets
        ]


def _row(
    name: str, graph: _Graph, *, speed: float, exact: Embeddings, batches: Sequence[Rows], pad_token_id: int
) -> Comparison:
    longest = max(len(row) for batch in batches for row in batch)
    batched = graph.embed(batches, pad_token_id, widest=longest)
    alone = graph.embed([[row] for batch in batches for row in batch], pad_token_id)
    cosines = np.sum(exact * batched, axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(batched, axis=1)
    return Comparison(
        preset=name,
        megabytes=graph.megabytes,
        speed=speed,
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        alone_vs_batched=float(np.abs(alone - batched).max()),
    )


class _Graph:
    """An exported graph in a session of its own."""

    def __init__(self, path: Path, *, provider: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = ["CUDAExecutionProvider"] if provider == "cuda" else []
        self._session: Any = onnxruntime.InferenceSession(path, options, [*providers, "CPUExecutionProvider"])
        self.megabytes = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6

    def embed(self, batches: Sequence[Rows], pad_token_id: int, *, widest: int = 0) -> Embeddings:
        """float32 [texts, dimensions]; batches are padded a little further than needed, but not beyond `widest`."""
        return np.concatenate([self.run(padded(batch, pad_token_id, widest=widest)) for batch in batches])

    def run(self, inputs: dict[str, npt.NDArray[np.int64]]) -> Embeddings:
        return np.asarray(self._session.run(["embedding"], inputs)[0], dtype=np.float32)


def _interleaved(
    graphs: Mapping[str, _Graph], batches: Sequence[Rows], *, pad_token_id: int, rounds: int
) -> dict[str, float]:
    """Median seconds that each graph takes for all batches; one after the other within each batch, after a warm-up."""
    taken: dict[str, list[float]] = {name: [0.0] * rounds for name in graphs}
    for batch in batches:
        inputs = padded(batch, pad_token_id)
        for current in range(-1, rounds):
            for name, graph in graphs.items():
                start = time.perf_counter()
                graph.run(inputs)
                if current >= 0:
                    taken[name][current] += time.perf_counter() - start
    return {name: statistics.median(values) for name, values in taken.items()}


def _batches(rows: Rows, size: int) -> list[Rows]:
    ordered = sorted(rows, key=len)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
