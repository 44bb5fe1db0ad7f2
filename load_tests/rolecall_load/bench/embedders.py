"""Ways from texts to embeddings: through a server, or the graph of a repository run directly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import grpc
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from tokenizers import Tokenizer

from rolecall_load.errors import LoadError

Kind = Literal["query", "document"]
Vectors = NDArray[np.float32]
"""Embeddings of unit length, shape [texts, dimensions], in the order of the texts."""

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_KINDS = {"query": pb.EMBED_KIND_QUERY, "document": pb.EMBED_KIND_DOCUMENT}


class Embedder(Protocol):
    """`name` says in a word or two what it is."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """LoadError when a text can't be embedded."""
        ...


class ServerEmbedder:
    """Embed calls of a few texts, several at a time. A context manager: it holds a channel."""

    name = "server"

    def __init__(self, address: str, *, texts_each: int = 32, concurrency: int = 4, seconds: float = 120.0) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address, options=UNLIMITED)
        self._stub = MatchingServiceStub(self._channel)
        self._texts_each = texts_each
        self._concurrency = concurrency
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._channel.close()

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        parts = [texts[start : start + self._texts_each] for start in range(0, len(texts), self._texts_each)]
        with ThreadPoolExecutor(self._concurrency) as pool:
            return np.concatenate(list(pool.map(lambda part: self._call(part, kind), parts)))

    def _call(self, texts: Sequence[str], kind: Kind) -> Vectors:
        request = pb.EmbedRequest(inputs=[types_pb2.Profile(text=text) for text in texts], kind=_KINDS[kind])
        try:
            response = self._stub.Embed(request, timeout=self._seconds)
        except grpc.RpcError as error:
            raise LoadError(f"{self._address}: {error.code().name}: {error.details()}") from error
        return read_vectors(response)


def read_vectors(response: pb.EmbedResponse) -> Vectors:
    """All vectors of an answer. LoadError when an item failed."""
    for item in response.embeddings:
        if item.status.code:
            raise LoadError(f"input {item.index} was not embedded: {item.status.message}")
    return np.stack([np.frombuffer(item.vector, "<f4") for item in response.embeddings]).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts as token ids, each [length], special tokens included, cut at the model's limit."""

    ids: tuple[NDArray[np.int64], ...]

    def batch(self, indexes: Sequence[int], *, pad: int) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs for some of them, padded at the right to the longest."""
        chosen = [self.ids[index] for index in indexes]
        width = max(len(ids) for ids in chosen)
        ids = np.full((len(chosen), width), pad, np.int64)
        mask = np.zeros((len(chosen), width), np.int64)
        for row, each in enumerate(chosen):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        return {"input_ids": ids, "attention_mask": mask}


class DirectEncoder:
    """The encoder of a model repository, run by ONNX Runtime in this process, with nothing of the server around it."""

    name = "direct"

    def __init__(self, repository: Path, *, model: str = "encoder", threads: int = 0, batch_size: int = 32) -> None:
        folder, manifest = _newest(repository / model)
        self.preset = str(manifest["preset"])
        self.max_tokens = int(manifest["max_tokens"])
        self._pad = int(manifest["pad_token_id"])
        self._prefixes: dict[str, str] = manifest["prefixes"]
        self._batch_size = batch_size
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A pattern is kept for each shape that comes by, and there are many.
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def prefix(self, kind: Kind) -> str:
        return self._prefixes[kind]

    def tokenize(self, texts: Sequence[str], kind: Kind) -> Tokens:
        prefix = self._prefixes[kind]
        encodings = self._tokenizer.encode_batch([prefix + text for text in texts])
        return Tokens(tuple(np.array(encoding.ids, np.int64) for encoding in encodings))

    def inputs(self, tokens: Tokens, indexes: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        """A batch, ready for `run`."""
        return tokens.batch(indexes, pad=self._pad)

    def run(self, inputs: dict[str, NDArray[np.int64]]) -> Vectors:
        """Safe to call from several threads at once."""
        vectors: Vectors = self._session.run(["embedding"], inputs)[0]
        return vectors

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        tokens = self.tokenize(texts, kind)
        order = sorted(range(len(texts)), key=lambda index: len(tokens.ids[index]))
        found: list[Vectors | None] = [None] * len(texts)
        for start in range(0, len(order), self._batch_size):
            chosen = order[start : start + self._batch_size]
            for index, vector in zip(chosen, self.run(self.inputs(tokens, chosen)), strict=True):
                found[index] = vector
        return np.stack([vector for vector in found if vector is not None])


def _newest(model: Path) -> tuple[Path, dict[str, Any]]:
    """The newest version folder and its manifest. LoadError when there is none that can be read."""
    versions = [path for path in model.glob("[0-9]*") if path.name.isdigit() and (path / "manifest.json").is_file()]
    if not versions:
        raise LoadError(f"{model} holds no exported version; make one with rolecall-export")
    folder = max(versions, key=lambda path: int(path.name))
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{folder / 'manifest.json'} can't be read: {error}") from error
    return folder, manifest
