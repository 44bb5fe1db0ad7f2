"""Several graphs that share one file of weights: what is the same in them, by content, is stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto
from onnx.external_data_helper import set_external_data

from rolecall_export.errors import ExportError

ALIGNMENT = 4096
"""Every tensor starts on a page of its own, so that a runtime can map it into memory where it lies."""
_SMALLEST = 1024
"""Bytes from which on a tensor goes into the file; shapes and scalars stay where the optimizer sees them."""
_PROTOBUF_LIMIT = 2**31 - 2**20


def save_shared(models: Mapping[str, onnx.ModelProto], folder: Path, *, weights: str) -> None:
    """Write each graph as `folder/<name>` and their tensors as `folder/<weights>`; ExportError beyond 2 GiB of graph.

    Takes the tensors out of the graphs, which are of no use afterwards: of a large model there is no room for two.
    """
    with (folder / weights).open("wb") as file:
        places: dict[bytes, tuple[int, int]] = {}
        for model in models.values():
            for tensor in _tensors(model.graph):
                _move(tensor, file, places=places, location=weights)
    for name, model in models.items():
        if model.ByteSize() > _PROTOBUF_LIMIT:
            raise ExportError(f"{name} does not fit one protobuf message, even without its weights")
        (folder / name).write_bytes(model.SerializeToString())


def _move(tensor: TensorProto, file: BinaryIO, *, places: dict[bytes, tuple[int, int]], location: str) -> None:
    """Replace the tensor's content by its place in the file, where it is appended unless it is there already."""
    if len(tensor.raw_data) < _SMALLEST:
        return
    content = tensor.raw_data
    key = hashlib.sha256(content).digest()
    if key not in places:
        file.write(bytes(-file.tell() % ALIGNMENT))
        places[key] = (file.tell(), len(content))
        file.write(content)
    offset, length = places[key]
    set_external_data(tensor, location=location, offset=offset, length=length)
    tensor.ClearField("raw_data")


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """The constants of a graph and of the bodies of its loops and branches."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
