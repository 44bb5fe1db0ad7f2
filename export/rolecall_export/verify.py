"""Compare a converted encoder with its float model, before anybody is served by it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rolecall_export.errors import ExportError, VerificationError
from rolecall_export.padding import padded
from rolecall_export.presets import Tolerance
from rolecall_export.progress import Advance
from rolecall_export.verification_set import DOCUMENT, QUERY, VerificationSet

Embeddings = npt.NDArray[np.float32]
Key = tuple[str, str]
"""Id of a text and what it is encoded as, "query" or "document"."""

TIE = 0.005
"""Documents whose float scores are closer than this have no order that a conversion could break."""
_UNIT_LENGTH_ERROR = 1e-3
_BATCH_SIZE = 4
_SHUFFLE_SEED = 7


class Encoder:
    """An exported graph, run as the server will run it."""

    def __init__(self, graph: Path, *, pad_token_id: int, provider: str) -> None:
        self._session = _session(graph, provider)
        self._pad_token_id = pad_token_id

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what the graph runs on: "CPUExecutionProvider" where its own is not here."""
        return str(self._session.get_providers()[0])

    def embed(self, rows: Sequence[Sequence[int]]) -> Embeddings:
        """One batch, padded at the right to its longest row: float32 [rows, dimensions]."""
        inputs = padded(rows, self._pad_token_id)
        with _graph_errors():
            (embedding,) = self._session.run(["embedding"], inputs)
        return np.asarray(embedding, dtype=np.float32)


def tokenize(
    checks: VerificationSet, tokenizer: str, *, prefixes: Mapping[str, str], max_tokens: int
) -> dict[Key, list[int]]:
    """Token ids, special tokens included, of each text as a document and of each case's query as a query.

    `tokenizer` is the content of tokenizer.json; longer texts are cut at the model's length.
    """
    encoder = Tokenizer.from_str(tokenizer)
    encoder.enable_truncation(max_tokens)
    texts = {text.id: text.text for text in checks.texts}
    keys = [(text.id, DOCUMENT) for text in checks.texts] + [(case.query, QUERY) for case in checks.cases]
    encoded = encoder.encode_batch([prefixes[kind] + texts[name] for name, kind in keys])
    return {key: encoding.ids for key, encoding in zip(keys, encoded, strict=True)}


def measure(
    reference: Encoder,
    candidate: Encoder,
    checks: VerificationSet,
    *,
    token_ids: Mapping[Key, Sequence[int]],
    advance: Advance,
) -> dict[str, float]:
    """How far `candidate` is from `reference`, in names and numbers for the manifest; `token_ids` as by `tokenize`.

    `cosine_{min,mean}_LANGUAGE`: each text's embedding against the float model's. `rank_agreement`: share of pairs of
    documents, at least TIE apart for the float model, that keep their order. `top_1`, `top_1_float`: share of cases
    with the expected document first. `alone_vs_batched`: largest difference of a coordinate between a text alone and
    among others in a padded batch. `advance` gets one for each of `token_ids` in each of three passes.
    VerificationError when the candidate's embeddings are not finite vectors of unit length.
    """
    keys, rows = list(token_ids), list(token_ids.values())
    expected = _run(reference, rows, batches=_by_length(rows), advance=advance)
    alone = _run(candidate, rows, batches=[[index] for index in range(len(rows))], advance=advance)
    batched = _run(candidate, rows, batches=_mixed(len(rows)), advance=advance)
    _require_unit_length(alone, expected.shape)
    measured = {}
    languages = {text.id: text.language for text in checks.texts}
    cosines = np.sum(alone * expected, axis=1)
    for language in checks.languages:
        own = cosines[[languages[name] == language for name, _ in keys]]
        measured[f"cosine_min_{language}"] = float(own.min())
        measured[f"cosine_mean_{language}"] = float(own.mean())
    measured |= _ranking(checks, dict(zip(keys, expected, strict=True)), dict(zip(keys, alone, strict=True)))
    measured["alone_vs_batched"] = float(np.abs(alone - batched).max())
    return measured


def require_within(measured: Mapping[str, float], tolerance: Tolerance) -> None:
    """VerificationError that names every number beyond the preset's tolerance."""
    failures = [
        f"{name} {value:.5f} < {tolerance.cosine_min}"
        for name, value in measured.items()
        if name.startswith("cosine_min_") and not value >= tolerance.cosine_min
    ]
    if not measured["rank_agreement"] >= tolerance.rank_agreement:
        failures.append(f"rank_agreement {measured['rank_agreement']:.4f} < {tolerance.rank_agreement}")
    if not measured["alone_vs_batched"] <= tolerance.alone_vs_batched:
        failures.append(f"alone_vs_batched {measured['alone_vs_batched']:.2e} > {tolerance.alone_vs_batched}")
    if failures:
        raise VerificationError("the converted model is too far from the float model: " + ", ".join(failures))


def _run(
    encoder: Encoder, rows: Sequence[Sequence[int]], *, batches: Sequence[Sequence[int]], advance: Advance
) -> Embeddings:
    """Embeddings of all rows, in their order; `batches` are indices of rows."""
    results: list[Any] = [None] * len(rows)
    for batch in batches:
        for index, vector in zip(batch, encoder.embed([rows[index] for index in batch]), strict=True):
            results[index] = vector
        advance(len(batch))
    return np.stack(results)


def _by_length(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Batches of like lengths: little padding, so the float pass is quick."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    return [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]


def _mixed(count: int) -> list[list[int]]:
    """Batches of any lengths, the same in every export."""
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(count).tolist()
    return [order[start : start + _BATCH_SIZE] for start in range(0, count, _BATCH_SIZE)]


def _require_unit_length(vectors: Embeddings, shape: tuple[int, ...]) -> None:
    if vectors.shape != shape:
        raise VerificationError(f"the converted model gives embeddings of shape {vectors.shape}, not {shape}")
    if not np.isfinite(vectors).all():
        raise VerificationError("the converted model gives embeddings that are not finite")
    error = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())
    if error > _UNIT_LENGTH_ERROR:
        raise VerificationError(f"the converted model's embeddings miss unit length by {error:.4f}")


def _ranking(
    checks: VerificationSet,
    expected: Mapping[Key, Embeddings],
    found: Mapping[Key, Embeddings],
) -> dict[str, float]:
    kept = pairs = 0
    first = {"top_1": 0, "top_1_float": 0}
    for case in checks.cases:
        ours, theirs = (_scores(vectors, case.query, case.documents) for vectors in (found, expected))
        first["top_1"] += int(ours.argmax() == 0)
        first["top_1_float"] += int(theirs.argmax() == 0)
        gaps, kept_gaps = theirs[:, None] - theirs, ours[:, None] - ours
        ordered = gaps >= TIE
        pairs += int(ordered.sum())
        kept += int((ordered & (kept_gaps > 0)).sum())
    shares = {name: count / len(checks.cases) for name, count in first.items()}
    return {"rank_agreement": kept / pairs if pairs else 1.0, **shares}


def _scores(vectors: Mapping[Key, Embeddings], query: str, documents: Sequence[str]) -> Embeddings:
    ranked = np.stack([vectors[name, DOCUMENT] for name in documents])
    return np.asarray(ranked @ vectors[query, QUERY], dtype=np.float32)


def _session(graph: Path, provider: str) -> Any:
    """A session on the artifact's own provider where this machine has it, else on the CPU."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings about placement are the doctor's business
    wanted = ["CUDAExecutionProvider"] if provider == "cuda" else []
    available = [name for name in wanted if name in onnxruntime.get_available_providers()]
    with _graph_errors():
        return onnxruntime.InferenceSession(graph, options, providers=[*available, "CPUExecutionProvider"])


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ExportError(
            "verification runs the graphs and needs onnxruntime: pip install 'rolecall[server]'"
        ) from error


@contextmanager
def _graph_errors() -> Iterator[None]:
    """What ONNX Runtime raises (its errors share no base class but Exception) as one VerificationError."""
    state = _onnxruntime().capi.onnxruntime_pybind11_state
    kinds = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    try:
        yield
    except tuple(getattr(state, kind) for kind in kinds) as error:
        raise VerificationError(f"ONNX Runtime can't run the graph: {error}") from error
