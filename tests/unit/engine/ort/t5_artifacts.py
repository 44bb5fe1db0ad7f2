"""Small random T5s as version folders, without a checkpoint, a tokenizer or an export around them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rolecall_server.repository import Artifact, GeneratorShape
from rolecall_server.types import ModelInfo, ModelKey

from tests.requirements import require_module

MAX_SOURCE_TOKENS, MAX_NEW_TOKENS = 80, 40
VOCABULARY = 211
EOS = 1


def random_weights() -> Any:
    """T5Weights with heads that are not as wide together as the model, and an encoder deeper than the decoder."""
    weights = require_module("rolecall_export.t5_weights")
    config = weights.T5Config(
        vocabulary_size=VOCABULARY,
        hidden_size=32,
        head_size=16,
        heads=4,
        ffn_size=64,
        encoder_layers=3,
        decoder_layers=2,
        gated=True,
        activation="gelu_new",
        eps=1e-6,
        buckets=16,
        max_distance=24,
        scaled_output=False,
        layer_biases=False,
        pad_token_id=0,
        eos_token_id=EOS,
        decoder_start_token_id=0,
    )
    generator = np.random.default_rng(7)
    tensors = {}
    for name, shape in weights.expected_shapes(config):
        scale = 1.0 if name == "shared" or name.endswith("bias") else shape[-1] ** -0.5
        values = np.ones(shape) if name.endswith("norm") else generator.normal(size=shape) * scale
        tensors[name] = values.astype(np.float32)
    return weights.T5Weights(config, tensors)


def write_artifact(folder: Path, convert: Callable[[Any], Any], *, provider: str = "cpu") -> Artifact:
    """The random T5 as `convert`, of weights, makes it."""
    graphs = convert(random_weights())
    folder.mkdir()
    require_module("rolecall_export.external_data").save_shared(graphs.files(), folder, weights="weights.bin")
    info = ModelInfo(
        key=ModelKey("generator", "1"),
        precision="",
        weights_hash="",
        source="",
        licence="",
        max_tokens=MAX_SOURCE_TOKENS,
        dimensions=32,
        family="t5",
        max_new_tokens=MAX_NEW_TOKENS,
    )
    shape = GeneratorShape(
        max_source_tokens=MAX_SOURCE_TOKENS,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=EOS,
        decoder_start_token_id=0,
        layers=2,
        heads=4,
        head_size=16,
        vocabulary_size=VOCABULARY,
        prompt_style="plain",
    )
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    artifact = Artifact(info, folder, provider, pad_token_id=0, prefixes={}, files=files)
    return replace(artifact, generator=shape)
