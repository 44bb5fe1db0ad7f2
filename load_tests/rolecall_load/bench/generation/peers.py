"""Other libraries in an environment of their own, one process each, which waits for jobs on its standard input."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolecall_load.bench.generation.workload import LONGEST_NEW, Answers, Job, Kind
from rolecall_load.bench.speed.processes import stop
from rolecall_load.errors import LoadError

_HERE = Path(__file__).parent
_REQUIREMENTS = (
    "ctranslate2==4.8.5",
    "transformers==4.57.6",
    "torch==2.13.0",
    "optimum-onnx==0.1.0",
    "onnxruntime==1.31.1",
    "sentencepiece",
)
ONE, MANY, POISSON = "one at a time", "many", "poisson"
REFERENCE = "transformers float32, 1 threads"
_ALL = frozenset({ONE, MANY, POISSON})


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPlan:
    """model: what peer_convert makes, or "checkpoint". parallel: batches at a time, each on `threads` threads."""

    name: str
    engine: str
    model: str
    parallel: int
    threads: int
    batch: int
    cases: frozenset[str] = _ALL
    dtype: str = "float32"


def peer_plans(cores: int) -> list[PeerPlan]:
    """Who takes part on so many cores. The reference is the first: transformers in float32."""
    many = _ALL - {ONE}
    plans = []
    # Threads of torch wait for each other in a loop: where other work takes a core, one is faster than two.
    for threads in sorted({1, cores}):
        for engine, model, name, dtype in (
            ("transformers", "checkpoint", "transformers float32", "float32"),
            ("transformers", "checkpoint", "transformers bfloat16", "bfloat16"),
            ("optimum", "optimum", "optimum float32", "float32"),
            ("optimum", "optimum-int8", "optimum int8", "float32"),
        ):
            plans.append(
                PeerPlan(
                    name=f"{name}, {threads} threads",
                    engine=engine,
                    model=model,
                    parallel=1,
                    threads=threads,
                    batch=32,
                    dtype=dtype,
                )
            )
    settings = [(1, 1, 1, frozenset({ONE})), (1, cores, 1, frozenset({ONE}))]
    settings += [(cores, 1, 16, many), (cores, 1, 8, many), (1, cores, 32, many)]
    for parallel, threads, batch, cases in settings:
        shape = f"{threads} threads" if batch == 1 else f"{parallel} x {threads} threads, batches of {batch}"
        plans.append(
            PeerPlan(
                name=f"ctranslate2 int8, {shape}",
                engine="ctranslate2",
                model="ctranslate2",
                parallel=parallel,
                threads=threads,
                batch=batch,
                cases=cases,
            )
        )
    return plans


class Peer:
    """A running worker."""

    kind: Kind = "peer"

    def __init__(self, plan: PeerPlan, process: subprocess.Popen[bytes]) -> None:
        self.name, self.cases = plan.name, plan.cases
        self._process = process
        self._answer()

    def run(self, job: Job) -> Answers:
        assert self._process.stdin is not None
        limits = [LONGEST_NEW] * len(job.numbers)
        asked = {"numbers": job.numbers, "limits": limits, "clients": job.clients, "offsets": job.offsets}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        found = self._answer()
        outputs = tuple(tuple(output) for output in found["outputs"])
        return Answers(seconds=found["seconds"], outputs=outputs, latencies=tuple(found["latencies"]))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError(f"{self.name} ended; see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def peer(plan: PeerPlan, python: Path, *, models: Path, checkpoint: Path, sources: Path) -> Iterator[Peer]:
    """models: folder that `convert` filled; sources: a JSON file with the prompts' token ids."""
    options = {
        "engine": plan.engine,
        "model": str(checkpoint if plan.model == "checkpoint" else models / plan.model),
        "sources": str(sources),
        "parallel": plan.parallel,
        "threads": plan.threads,
        "batch": plan.batch,
        "dtype": plan.dtype,
    }
    command = [str(python), str(_HERE / "peer_worker.py"), json.dumps(options)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    try:
        yield Peer(plan, process)
    finally:
        stop(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def convert(python: Path, *, models: Path, checkpoint: Path) -> None:
    """The checkpoint in the forms that the peers read, where they are not there yet."""
    sources = {"ctranslate2": checkpoint, "optimum": checkpoint, "optimum-int8": models / "optimum"}
    for kind, source in sources.items():
        if not (models / kind).is_dir():
            made = models / f".{kind}"
            _call([str(python), str(_HERE / "peer_convert.py"), kind, str(source), str(made)], f"converting to {kind}")
            made.rename(models / kind)


def make_environment(folder: Path) -> Path:
    """The peers' interpreter in `folder`; installed from the package index if it is not there. About 2 GB."""
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        _call([str(python), "-m", "pip", "install", "--quiet", *_REQUIREMENTS], "installing the peers")
        (folder / ".complete").touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """Of the peers' libraries."""
    code = "import importlib.metadata as m,sys,json; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    names = ["ctranslate2", "transformers", "torch", "optimum-onnx", "onnxruntime"]
    found: dict[str, str] = json.loads(_call([str(python), "-c", code, *names], "asking the peers' versions"))
    return found


def _call(command: Sequence[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"{what} failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return done.stdout
