"""How ONNX Runtime sessions are made here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from rolecall_server.engine.ort.placement import RECORD_KEY
from rolecall_server.engine.ort.providers import AUTO, ORT_NAMES, configure
from rolecall_server.errors import EngineError
from rolecall_server.types import ModelKey


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How sessions run.

    providers: names of providers.py, or only `auto`. intra_op_threads: threads that work on one batch, 0 for all cores.
    gpu_memory_bytes: see providers.configure. cuda_graphs: capture the steps of generation on a GPU, see
    t5_device_step.py. Off unless asked for: it has not run on a GPU yet, and while a new shape is captured CUDA forbids
    other threads of the process to take memory on that GPU, which matching may just do.
    """

    providers: tuple[str, ...] = (AUTO,)
    intra_op_threads: int = 1
    gpu_memory_bytes: int | None = None
    cuda_graphs: bool = False


def create_session(
    graph: Path, key: ModelKey, wanted: Sequence[str], *, settings: SessionSettings, cuda_graph: bool = False
) -> ort.InferenceSession:
    """A session on the providers `wanted`; EngineError names the model `key` where there can be none.

    cuda_graph: capture its runs, where CUDA is among the providers; a run needs the option `gpu_graph_id` then.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    # Keeps freed memory for the next batch; without it a session takes less memory and 10 to 17 % more CPU.
    options.enable_cpu_mem_arena = True
    # A pattern is kept for each shape that comes by: with free batch size and length that is a slow leak, and no gain
    # could be measured from it.
    options.enable_mem_pattern = False
    # Fatal only: what goes wrong comes as an exception, and lines of another format have no place among our logs.
    options.log_severity_level = 4
    ort.set_default_logger_severity(4)  # of the kernels that warn when they are made
    options.add_session_config_entry(RECORD_KEY, "1")
    # engine/threads.py says what spinning would bring, and cost.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        providers = configure(options, wanted, gpu_memory_bytes=settings.gpu_memory_bytes, cuda_graph=cuda_graph)
        # Without fallback: the wrapper would print the error and go on with the CPU alone.
        session = ort.InferenceSession(str(graph), options, providers=providers, enable_fallback=False)
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"model {key}: {type(error).__name__}: {error}") from error
    missing = [name for name in wanted if ORT_NAMES[name] not in session.get_providers()]
    if missing:
        raise EngineError(
            f"model {key}: {', '.join(missing)} could not start (driver or libraries missing?); "
            "`rolecall doctor` tells more"
        )
    return session


@contextmanager
def engine_errors(key: ModelKey) -> Iterator[None]:
    """Whatever a session of this model throws, as EngineError. ORT has a class for each of its status codes and no
    common base. Its messages name nodes, shapes and at most a token id: no text."""
    try:
        yield
    except Exception as error:
        raise EngineError(f"model {key}: {type(error).__name__}: {error}") from error
