"""Small random encoders, a numpy encoder to compare them with, and how to run graphs on ragged texts."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from rolecall_export.weights import Array, EncoderConfig, EncoderWeights, Q4Matrix, expected_shapes

CONFIG = EncoderConfig(
    hidden_size=64,
    layers=2,
    heads=4,
    ffn_size=128,
    vocabulary_size=101,
    positions=48,
    types=2,
    eps=1e-12,
    pad_token_id=1,
)
Texts = Sequence[Sequence[int]]


def random_weights(seed: int = 0, *, config: EncoderConfig = CONFIG, q4: bool = False) -> EncoderWeights:
    """Weights with biases and norms far from their trivial values; matrices in Q4_0 with `q4`."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Array | Q4Matrix] = {}
    for name, shape in expected_shapes(config):
        values = random.standard_normal(shape).astype(np.float32)
        if "_norm.weight" in name:
            values = 1 + values / 4
        elif len(shape) == 2:
            values = values / np.sqrt(shape[1]) * 2
        tensors[name] = Q4Matrix.quantize(values) if q4 and len(shape) == 2 and name != "position" else values
    return EncoderWeights(config, tensors)


def random_texts(seed: int = 0, *, lengths: Sequence[int], config: EncoderConfig = CONFIG) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(2, config.vocabulary_size, length).tolist() for length in lengths]


class Runner:
    """A graph in a session."""

    def __init__(self, model: onnx.ModelProto, *, threads: int = 1) -> None:
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def __call__(self, texts: Texts, *, width: int = 0) -> Array:
        """Embeddings of texts in one batch, padded to the longest or to `width`."""
        columns = max(width, *map(len, texts))
        ids = np.full((len(texts), columns), CONFIG.pad_token_id, np.int64)
        mask = np.zeros((len(texts), columns), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return np.asarray(self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0])


def reference(weights: EncoderWeights, text: Sequence[int], *, pooling: str = "mean", normalize: bool = True) -> Array:
    """The embedding of one text in float64, written for reading."""
    config = weights.config

    def tensor(name: str) -> Array:
        return weights.dense(name).astype(np.float64)

    def affine(x: Array, name: str) -> Array:
        return x @ tensor(f"{name}.weight").T + tensor(f"{name}.bias")

    def normal(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred / np.sqrt(variance + config.eps) * tensor(f"{name}.weight") + tensor(f"{name}.bias")

    def heads(x: Array) -> Array:
        return x.reshape(len(x), config.heads, config.head_size).transpose(1, 0, 2)

    rows = tensor("word")[list(text)] + tensor("position")[config.position_offset :][: len(text)]
    x = normal(rows + (tensor("type")[0] if config.types else 0), "embedding_norm")
    for layer in range(config.layers):
        p = f"layers.{layer}"
        query, key, value = (heads(affine(x, f"{p}.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(config.head_size)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = (shares @ value).transpose(1, 0, 2).reshape(x.shape)
        x = normal(x + affine(context, f"{p}.attention_output"), f"{p}.attention_norm")
        x = normal(x + affine(_gelu(affine(x, f"{p}.ffn_in")), f"{p}.ffn_out"), f"{p}.ffn_norm")
    vector = {"mean": x.mean(0), "cls": x[0], "max": x.max(0)}[pooling]
    return vector / np.linalg.norm(vector) if normalize else vector


def _gelu(x: Array) -> Array:
    """By the error function as Abramowitz and Stegun 7.1.26 approximate it, to 1.5e-7."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return x * (1 + erf) / 2


def cosines(a: Array, b: Array) -> Array:
    return np.sum(a * b, axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
