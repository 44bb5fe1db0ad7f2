"""The same quantizations for a graph that somebody else exported: its matrix products with constant weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rolecall_export.families.encoder import Activation
from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.quantization.nbits import eight_bit_product, four_bit_product
from rolecall_export.quantization.per_token import TokenRounding, int8_product
from rolecall_export.quantization.tables import compact_rows
from rolecall_export.weights import Array

_LARGE_TABLE = 4096
"""Rows from which a table is worth compacting; those of positions are smaller."""

Replacement = Callable[[GraphBuilder, str, Array, str], str]
"""Adds the product of a value, [..., in], with a float32 matrix [in, out] of this name; gives the result's name."""


def rewrite_products(model: onnx.ModelProto, replacement: Replacement) -> onnx.ModelProto:
    """Replace every MatMul with a constant float32 matrix, in place. ValueError where there is none."""
    graph = model.graph
    matrices = {
        constant.name: constant
        for constant in graph.initializer
        if constant.data_type == TensorProto.FLOAT and len(constant.dims) == 2
    }
    builder = GraphBuilder(prefix="quantized.")
    replaced = set()
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in matrices:
            builder.keep(node)
            continue
        x, name = node.input
        y = replacement(builder, x, numpy_helper.to_array(matrices[name]), name)
        builder.keep(helper.make_node("Identity", [y], node.output, name=f"{node.name}.identity"))
        replaced.add(name)
    if not replaced:
        raise ValueError("the graph has no product with a constant matrix")
    added = builder.collected("quantized", [], [])
    still_read = {name for node in added.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name not in replaced or constant.name in still_read]
    return _with_content(model, nodes=added.node, constants=[*kept, *added.initializer])


def rewrite_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every large float32 table that a Gather reads rows of by a compact one, in place."""
    graph = model.graph
    tables = {
        constant.name: constant
        for constant in graph.initializer
        if constant.data_type == TensorProto.FLOAT and len(constant.dims) == 2 and constant.dims[0] >= _LARGE_TABLE
    }
    builder = GraphBuilder(prefix="table.")
    for node in graph.node:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if node.op_type != "Gather" or axis != 0 or node.input[0] not in tables:
            builder.keep(node)
            continue
        name, rows = node.input
        y = compact_rows(builder, rows, table=numpy_helper.to_array(tables[name]), name=name)
        builder.keep(helper.make_node("Identity", [y], node.output, name=f"{node.name}.identity"))
    added = builder.collected("tables", [], [])
    still_read = {name for node in added.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name not in tables or constant.name in still_read]
    return _with_content(model, nodes=added.node, constants=[*kept, *added.initializer])


def _with_content(
    model: onnx.ModelProto, *, nodes: Iterable[onnx.NodeProto], constants: Iterable[onnx.TensorProto]
) -> onnx.ModelProto:
    """Put nodes and constants in place of those of the graph."""
    nodes, constants = list(nodes), list(constants)
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


class PerTokenReplacement:
    """Int8 with a scale per token, for graphs that see one text at a time: values are [1, tokens, in]."""

    def __init__(self) -> None:
        self._rounding = TokenRounding()
        self._rounded: dict[str, Activation] = {}

    def __call__(self, graph: GraphBuilder, x: str, matrix: Array, name: str) -> str:
        if x not in self._rounded:  # query, key and value share one
            self._rounded[x] = self._rounding.round(graph, x)
        return int8_product(graph, self._rounded[x], matrix=matrix, name=name)


def four_bits(graph: GraphBuilder, x: str, matrix: Array, name: str) -> str:
    """A Replacement: 4-bit weights in blocks of 32."""
    return four_bit_product(graph, x, matrix=matrix.T, name=name)


def eight_bits(graph: GraphBuilder, x: str, matrix: Array, name: str) -> str:
    """A Replacement: 8-bit weights."""
    return eight_bit_product(graph, x, matrix=matrix.T, name=name, scale_type=np.float32)
