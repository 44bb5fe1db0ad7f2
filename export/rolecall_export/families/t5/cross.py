"""Cross-attention of the decoder step: how a source's keys and values lie in the slots, and how a step reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from onnx import helper

from rolecall_export.families.graph import FLOAT, INT8, INT32, MICROSOFT, GraphBuilder, tensor
from rolecall_export.t5_weights import T5Config

_BEFORE, _LONGEST = "places_before_last", "longest_source"
"""What all layers' attention over 8-bit caches reads: int32 [rows] and int32 []."""
_LEAST_PEAK = 1e-8
"""Keeps a channel that is zero in all of a source from dividing by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """Values of the step graph that cross-attention needs.

    queries: [rows, width, heads * head_size]. lengths: int64 [rows], of the sources. mask: [rows, 1, width, capacity],
    added to the scores. single: bool [], whether the width is 1.
    """

    queries: str
    lengths: str
    mask: str
    single: str


class CrossCache(Protocol):
    """One way to keep keys and values of sources."""

    def slots(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        """What one layer keeps of each row, as inputs of the step graph; the first axis is the row."""
        ...

    def written(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        """Outputs of the step graph, to be bound to the memory of the slots of like name."""
        ...

    def store(self, graph: GraphBuilder, config: T5Config, layer: int, *, key: str, value: str) -> None:
        """In the prefill graph: fill the slots of new rows from keys and values, [batch, capacity, heads * head_size],
        where places beyond a source repeat its last one."""
        ...

    def attend(self, graph: GraphBuilder, config: T5Config, layer: int, values: StepValues) -> str:
        """In the step graph: [rows, width, heads * head_size]."""
        ...


class PlainCache:
    """Keys and values as they are computed, in the type of the products."""

    def __init__(self, kind: int) -> None:
        self._kind = kind

    def slots(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        return [_slot(f"cross_{part}.{layer}", self._kind, config) for part in ("key", "value")]

    def written(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        return []

    def store(self, graph: GraphBuilder, config: T5Config, layer: int, *, key: str, value: str) -> None:
        for part, rows in (("key", key), ("value", value)):
            _by_head(graph, rows, config, name=f"cross_{part}.{layer}")

    def attend(self, graph: GraphBuilder, config: T5Config, layer: int, values: StepValues) -> str:
        caches = (f"cross_key.{layer}", f"cross_value.{layer}")
        return _attention(graph, values.queries, *caches, mask=values.mask, config=config, name=f"cross.{layer}")


class Int8Cache:
    """Keys and values in 8 bits, a scale for each channel of each source: a quarter of the memory that a step reads.

    The scales go outside of attention: that of a key's channel onto the query, that of a value's channel onto the
    result. GroupQueryAttention reads 8-bit caches, and of each just the places that the row's source takes. It always
    writes a newest key and value: those of the source's last token, which are there already. It takes one token a row;
    wider steps, which verify drafts, go through attention in float.
    """

    def slots(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        facts = tensor(f"cross_facts.{layer}", FLOAT, ["rows", 4, config.inner_size])
        return [*(_slot(f"cross_{part}.{layer}", INT8, config) for part in ("key", "value")), facts]

    def written(self, config: T5Config, layer: int) -> list[onnx.ValueInfoProto]:
        return [_slot(f"present_cross_{part}.{layer}", INT8, config) for part in ("key", "value")]

    def store(self, graph: GraphBuilder, config: T5Config, layer: int, *, key: str, value: str) -> None:
        """Facts of a row: scales of keys, scales of values, last key, last value (these two in whole steps)."""
        scales, lasts = [], []
        for part, rows in (("key", key), ("value", value)):
            name = f"cross_{part}.{layer}"
            peak = graph.op("ReduceMax", graph.op("Abs", rows), graph.integers(1), keepdims=1, name=f"{name}.peak")
            least = graph.op("Max", peak, graph.number(_LEAST_PEAK), name=f"{name}.least")
            scales.append(graph.op("Mul", least, graph.number(1 / 127), name=f"{name}.scale"))
            steps = graph.op("Div", rows, scales[-1], name=f"{name}.steps")
            zero = graph.constant("zero.int8", np.int8(0))
            rounded = graph.op("QuantizeLinear", steps, graph.number(1.0), zero, name=f"{name}.rounded")
            last = graph.op("Slice", rounded, graph.integers(-1), graph.integers(1 << 40), graph.integers(1))
            lasts.append(graph.op("Cast", last, to=FLOAT, name=f"{name}.last"))
            _by_head(graph, rounded, config, name=name)
        graph.op("Concat", *scales, *lasts, axis=1, name=f"cross_facts.{layer}")

    def attend(self, graph: GraphBuilder, config: T5Config, layer: int, values: StepValues) -> str:
        name = f"cross.{layer}"
        ones = graph.constant("ones.4", np.ones(4, np.int64))
        facts = graph.ops("Split", f"cross_facts.{layer}", ones, outputs=4, axis=1, name=f"{name}.facts")
        queries = graph.op("Mul", values.queries, facts[0], name=f"{name}.queries")
        outputs = [f"{name}.context", f"present_cross_key.{layer}", f"present_cross_value.{layer}"]
        if layer == 0:
            before = graph.op("Sub", values.lengths, graph.integer(1), name="before_last")
            graph.op("Cast", before, to=INT32, name=_BEFORE)
            longest = graph.op("ReduceMax", values.lengths, keepdims=0, name="longest")
            graph.op("Cast", longest, to=INT32, name=_LONGEST)
        narrow = self._narrow(graph, config, layer, queries=queries, last=facts[2:])
        wide = self._wide(graph, config, layer, queries=queries, mask=values.mask)
        graph.keep(helper.make_node("If", [values.single], outputs, then_branch=narrow, else_branch=wide))
        return graph.op("Mul", outputs[0], facts[1], name=f"{name}.scaled")

    def _narrow(
        self, graph: GraphBuilder, config: T5Config, layer: int, *, queries: str, last: Sequence[str]
    ) -> onnx.GraphProto:
        inner = GraphBuilder(graph, prefix=f"cross.{layer}.narrow.")
        one = graph.constant("cache_scale", np.ones(1, np.float32))
        outputs = inner.ops(
            "GroupQueryAttention",
            queries,
            *last,
            f"cross_key.{layer}",
            f"cross_value.{layer}",
            _BEFORE,
            _LONGEST,
            *("", "", "", "", ""),
            *(one, one),
            outputs=3,
            num_heads=config.heads,
            kv_num_heads=config.heads,
            scale=1.0,
            kv_cache_bit_width=8,
            k_quant_type="PER_TENSOR",
            v_quant_type="PER_TENSOR",
            domain=MICROSOFT,
            name="attention",
        )
        return self._collected(inner, list(outputs), config)

    def _wide(self, graph: GraphBuilder, config: T5Config, layer: int, *, queries: str, mask: str) -> onnx.GraphProto:
        inner = GraphBuilder(graph, prefix=f"cross.{layer}.wide.")
        caches = (f"cross_key.{layer}", f"cross_value.{layer}")
        floats = [inner.op("Cast", cache, to=FLOAT, name="float") for cache in caches]
        context = _attention(inner, queries, *floats, mask=mask, config=config, name="attention")
        same = [inner.op("Identity", cache, name="same") for cache in caches]
        return self._collected(inner, [context, *same], config)

    def _collected(self, inner: GraphBuilder, outputs: list[str], config: T5Config) -> onnx.GraphProto:
        context = tensor(outputs[0], FLOAT, None)
        return inner.collected("branch", [], [context, *(_slot(name, INT8, config) for name in outputs[1:])])


def _slot(name: str, kind: int, config: T5Config) -> onnx.ValueInfoProto:
    return tensor(name, kind, ["rows", config.heads, "source_capacity", config.head_size])


def _by_head(graph: GraphBuilder, rows: str, config: T5Config, *, name: str) -> None:
    heads = graph.op("Reshape", rows, graph.integers(0, 0, config.heads, config.head_size), name=f"{name}.heads")
    graph.op("Transpose", heads, perm=[0, 2, 1, 3], name=name)


def _attention(
    graph: GraphBuilder, queries: str, key: str, value: str, *, mask: str, config: T5Config, name: str
) -> str:
    return graph.op(
        "MultiHeadAttention",
        queries,
        key,
        value,
        *("", "", mask),
        num_heads=config.heads,
        scale=1.0,
        domain=MICROSOFT,
        name=name,
    )
