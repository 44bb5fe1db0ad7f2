"""A small builder of ONNX graphs: nodes and constants under readable, unique names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rolecall_export.weights import Array

OPSET = 20
MICROSOFT = "com.microsoft"
"""ONNX Runtime's own operators."""
_IR_VERSIONS = {20: 9, 24: 11}  # what each opset needs; runtimes refuse files that are newer than they are


class GraphBuilder:
    """Collects nodes and initializers; every value is known by its name.

    Names get `prefix`. `parent` makes it the body of a control-flow node of that graph, which then holds its constants.
    """

    def __init__(self, parent: GraphBuilder | None = None, *, prefix: str = "") -> None:
        self._parent = parent
        self._prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._taken: dict[str, int] = {}

    def op(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        """Append a node with one output and give the output's name."""
        return self.ops(kind, *inputs, outputs=1, name=name, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: int, name: str = "", domain: str = "", **attributes: Any
    ) -> Sequence[str]:
        """Append a node with several outputs and give their names."""
        label = self._unique(self._prefix + (name or kind.lower()))
        names = [label] if outputs == 1 else [f"{label}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=label, domain=domain, **attributes))
        return names

    def keep(self, node: onnx.NodeProto) -> None:
        """Append a node of another graph as it is."""
        self._nodes.append(node)

    def constant(self, name: str, value: Array | np.generic) -> str:
        """An initializer; asking again for a name gives the one that is there."""
        if self._parent is not None:
            return self._parent.constant(name, value)
        name = self._prefix + name
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def integers(self, *values: int) -> str:
        """A 1-D int64 constant."""
        return self.constant("int." + ".".join(map(str, values)), np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """A scalar int64 constant."""
        return self.constant(f"int0.{value}", np.array(value, np.int64))

    def number(self, value: float) -> str:
        """A scalar float32 constant."""
        return self.constant(f"float.{value!r}", np.float32(value))

    def collected(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        """Everything collected so far; the body of a control-flow node may name values of the graph around it."""
        return helper.make_graph(self._nodes, name, inputs, outputs, list(self._constants.values()))

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        *,
        opset: int = OPSET,
    ) -> onnx.ModelProto:
        """Everything collected so far as a model."""
        return helper.make_model(
            self.collected(name, inputs, outputs),
            opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=_IR_VERSIONS[opset],
            producer_name="rolecall",
        )

    def _unique(self, label: str) -> str:
        count = self._taken.get(label, 0)
        self._taken[label] = count + 1
        return f"{label}_{count}" if count else label


def tensor(name: str, kind: int, shape: Sequence[str | int] | None) -> onnx.ValueInfoProto:
    """The declaration of an input or output; names in `shape` are dimensions known only at run time."""
    return helper.make_tensor_value_info(name, kind, shape)


FLOAT = TensorProto.FLOAT
FLOAT16 = TensorProto.FLOAT16
BFLOAT16 = TensorProto.BFLOAT16
INT8 = TensorProto.INT8
INT32 = TensorProto.INT32
INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL


def sequence(name: str, kind: int) -> onnx.ValueInfoProto:
    """The declaration of a sequence of tensors of any shape."""
    return helper.make_tensor_sequence_value_info(name, kind, None)
