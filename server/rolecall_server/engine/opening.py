"""From a generator's artifact to what its lanes are made of."""

import logging
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from rolecall_server.engine.base import LoadedModel
from rolecall_server.engine.generators import GenerationOptions
from rolecall_server.engine.lanes import Generator, LaneOptions
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.providers import wants_gpu
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.engine.threads import split_rows
from rolecall_server.errors import EngineError
from rolecall_server.hardware import usable_cores
from rolecall_server.repository import Artifact

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedGenerator:
    generator: Generator
    model: LoadedModel
    lanes: LaneOptions


def open_generator(artifact: Artifact, settings: SessionSettings, options: GenerationOptions) -> OpenedGenerator:
    """Load a generator and divide the cores among its lanes; all lanes share its sessions. Takes its time.

    EngineError: a bad artifact, a missing provider, a model that gives nonsense.
    """
    on_gpu = wants_gpu(settings.providers, artifact.provider)
    if on_gpu and settings.cuda_graphs and options.lanes > 1:
        # Captured steps of one session share their memory, so only one thread may replay them.
        raise EngineError(f"model {artifact.info.key}: CUDA graphs are for one generation worker, not {options.lanes}")
    split = split_rows(usable_cores(), max_rows=options.max_rows, lanes=options.lanes, on_gpu=on_gpu)
    loaded = T5Generator(
        artifact,
        replace(settings, intra_op_threads=split.intra_op_threads),
        rows=split.rows,
        cache_bytes=options.cache_bytes // split.lanes,
    )
    info = loaded.info
    facts = {"sequences": split.lanes * info.rows, "cache_mb_at_most": split.lanes * info.rows * info.row_bytes >> 20}
    log.info("generator loaded", extra={"model": str(artifact.info.key), "workers": split.lanes, **facts})
    lanes = LaneOptions(lanes=split.lanes, prefill_tokens=options.prefill_tokens, niceness=options.niceness)
    generator = Generator(artifact.info.key, loaded.info, loaded.stepper, _detokenizer(artifact))
    return OpenedGenerator(generator, loaded.loaded, lanes)


def _detokenizer(artifact: Artifact) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(artifact.tokenizer))
    except Exception as error:
        # The library raises bare Exception for whatever is wrong with a file.
        raise EngineError(f"model {artifact.info.key}: unreadable tokenizer ({type(error).__name__})") from error
