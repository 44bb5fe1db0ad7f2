"""sentence-transformers in its own environment, offline: all texts at once, no server around it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rolecall_load.bench.embedders import Vectors
from rolecall_load.bench.speed.measure import Kind, Measure
from rolecall_load.bench.speed.processes import stop
from rolecall_load.errors import LoadError

_WORKER = Path(__file__).with_name("offline_worker.py")


class SentenceTransformersContender:
    """A worker process that waits for commands on its standard input."""

    kind: Kind = "peer"

    def __init__(self, name: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.name = name
        self._process = process
        self._folder = folder
        self._answer()

    def embed(self) -> Vectors:
        file = self._folder / "vectors.npy"
        self._ask(f"embed {file}")
        vectors: Vectors = np.load(file)
        return vectors

    def run(self, number: int) -> Measure:
        return Measure(float(self._ask("run")["seconds"]))

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError(f"{self.name} ended; see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def sentence_transformers(
    python: Path, model: Path, texts: Sequence[str], *, dtype: str, threads: int
) -> Iterator[SentenceTransformersContender]:
    """`dtype`: float32 or bfloat16."""
    name = f"sentence-transformers, {dtype}"
    with tempfile.TemporaryDirectory(prefix="rolecall-bench-") as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts), encoding="utf8")
        command = [str(python), str(_WORKER), str(model.resolve()), dtype, str(threads), str(file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield SentenceTransformersContender(name, process, Path(folder))
        finally:
            stop(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
