"""One model version in one ONNX Runtime session. Knows no event loop and no threads; `embed` is thread-safe."""

import time
from collections.abc import Sequence

import numpy as np

from rolecall_server.engine.base import EmbedOutput, LoadedModel
from rolecall_server.engine.ort.create import SessionSettings, create_session, engine_errors
from rolecall_server.engine.ort.placement import Placement, read_placement
from rolecall_server.engine.ort.providers import ORT_NAMES, choose
from rolecall_server.engine.padding import pad
from rolecall_server.errors import EngineError
from rolecall_server.repository import Artifact
from rolecall_server.types import TokenIds

INPUTS = {"input_ids": "tensor(int64)", "attention_mask": "tensor(int64)"}
OUTPUT = "embedding"
_WARM_UP_TOKENS = 16


class OrtSession:
    """A loaded model version. EngineError on a bad artifact, a missing provider, or a batch that failed."""

    def __init__(self, artifact: Artifact, settings: SessionSettings) -> None:
        artifact.verify()
        self.artifact = artifact
        wanted = choose(settings.providers, artifact.provider)
        self._session = create_session(artifact.graph, artifact.info.key, wanted, settings=settings)
        self.placement: Placement = read_placement(self._session, ORT_NAMES[wanted[0]])
        self._check_signature()
        self.warm_up()
        self.loaded = LoadedModel(artifact.info, self.placement.provider, len(self.placement.fallbacks))

    def embed(self, sequences: Sequence[TokenIds]) -> EmbedOutput:
        """Run one batch of 1 to N sequences, each of 1 to max_tokens tokens; the numbers come back as they are."""
        started = time.perf_counter()
        with engine_errors(self.artifact.info.key):
            input_ids, attention_mask = pad(
                sequences, self.artifact.pad_token_id, max_length=self.artifact.info.max_tokens
            )
            (embeddings,) = self._session.run([OUTPUT], {"input_ids": input_ids, "attention_mask": attention_mask})
        return EmbedOutput(embeddings, input_ids.size, time.perf_counter() - started)

    def warm_up(self) -> None:
        """Run a short batch: the first one allocates, and one that gives nonsense is better seen now."""
        length = min(_WARM_UP_TOKENS, self.artifact.info.max_tokens)
        # Id 0 is in every vocabulary.
        embeddings = self.embed([np.zeros(length, dtype=np.int64)]).embeddings
        expected = (1, self.artifact.info.dimensions)
        if embeddings.shape != expected:
            raise EngineError(f"model {self.artifact.info.key}: gives {embeddings.shape}, the manifest says {expected}")
        if not np.isfinite(embeddings).all():
            raise EngineError(f"model {self.artifact.info.key}: gives numbers that are not finite")

    def _check_signature(self) -> None:
        inputs = {item.name: item.type for item in self._session.get_inputs()}
        outputs = {item.name: item.type for item in self._session.get_outputs()}
        if inputs != INPUTS or outputs.get(OUTPUT) != "tensor(float)":
            raise EngineError(
                f"model {self.artifact.info.key}: the graph has inputs {inputs} and outputs {outputs}, "
                f"not {INPUTS} and {OUTPUT}"
            )
