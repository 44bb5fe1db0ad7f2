"""Cross-attention of the decoder step: how a source's keys and values lie in the slots, and how a step reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from onnx import helper

from rolecall_export.families.graph import FLOAT, INT8, INT32, MICROSOFT, GraphBuilder, tensor
from rolecall_export.families.t5.attention import Attention
from rolecall_export.t5_weights import T5Config

_BEFORE, _LONGEST = "places_before_last", "longest_source"
"""What all layers' attention over 8-bit caches reads: int32 [rows] and int32 []."""
_FEW, MOST = 4, 16
"""Tokens of a row that the two wider forms of attention over 8-bit caches take; none takes more."""
_LEAST_PEAK = 1e-8
"""Keeps a channel that is zero in all of a source from dividing by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepValues:
    """Values of the step graph that cross-attention needs.

    queries: [rows, width, heads * head_size]. lengths: int64 [rows], of the sources. mask: of `attention`, for what
    lies beyond them. width: int64 [1].
    """

    queries: str
    lengths: str
    mask: str
    width: str
    attention: Attention


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
        name = f"cross.{layer}"
        return values.attention.attend(graph, values.queries, *caches, bias=values.mask, config=config, name=name)


class Int8Cache:
    """Keys and values in 8 bits, a scale for each channel of each source: a quarter of the memory that a step reads.

    The scales go outside of attention: that of a key's channel onto the query, that of a value's channel onto the
    result. GroupQueryAttention reads 8-bit caches, and of each just the places that the row's source takes. It always
    writes a newest key and value: those of the source's last token, which are there already. It takes one token a row;
    several go in as so many queries of each head, which are computed one by one, so that a text does not depend on the
    width of its steps.
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
        if layer == 0:
            self._shared(graph, values)
        outputs = [f"{name}.context", f"present_cross_key.{layer}", f"present_cross_value.{layer}"]
        one = self._body(graph, config, layer, width=1, queries=queries, last=facts[2:])
        wide = GraphBuilder(graph, prefix=f"{name}.wide.")
        few, many = (
            self._body(wide, config, layer, width=width, queries=queries, last=facts[2:]) for width in (_FEW, MOST)
        )
        chosen = [f"{name}.wide.{output}" for output in ("context", "key", "value")]
        wide.keep(helper.make_node("If", ["few_tokens"], chosen, then_branch=few, else_branch=many))
        several = self._collected(wide, chosen, config)
        graph.keep(helper.make_node("If", ["one_token"], outputs, then_branch=one, else_branch=several))
        return graph.op("Mul", outputs[0], facts[1], name=f"{name}.scaled")

    def _shared(self, graph: GraphBuilder, values: StepValues) -> None:
        """What all layers read, under fixed names."""
        before = graph.op("Sub", values.lengths, graph.integer(1), name="before_last")
        graph.op("Cast", before, to=INT32, name=_BEFORE)
        longest = graph.op("ReduceMax", values.lengths, keepdims=0, name="longest")
        graph.op("Cast", longest, to=INT32, name=_LONGEST)
        for name, most in (("one_token", 1), ("few_tokens", _FEW)):
            graph.op("Squeeze", graph.op("LessOrEqual", values.width, graph.integers(most)), name=name)
        for most in (_FEW, MOST):
            missing = graph.op("Sub", graph.integers(most), values.width, name=f"missing.{most}")
            zero, more = graph.integers(0), graph.integers(0, 0, 0, 0)
            graph.op("Concat", more, missing, zero, axis=0, name=f"padding.{most}")
        graph.op("Identity", values.width, name="step_width")

    def _body(
        self, parent: GraphBuilder, config: T5Config, layer: int, *, width: int, queries: str, last: Sequence[str]
    ) -> onnx.GraphProto:
        """For up to `width` tokens: one query of a head for each, so that each is computed as if it were alone."""
        inner = GraphBuilder(parent, prefix=f"cross.{layer}.{width}.")
        if width > 1:
            queries = inner.op("Pad", queries, f"padding.{width}", name="padded")
            queries = _swapped(inner, queries, (width, config.heads, config.head_size), (1, config.inner_size * width))
        one = inner.constant("cache_scale", np.ones(1, np.float32))
        context, *caches = inner.ops(
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
            num_heads=config.heads * width,
            kv_num_heads=config.heads,
            scale=1.0,
            kv_cache_bit_width=8,
            k_quant_type="PER_TENSOR",
            v_quant_type="PER_TENSOR",
            domain=MICROSOFT,
            name="attention",
        )
        if width > 1:
            context = _swapped(inner, context, (config.heads, width, config.head_size), (width, config.inner_size))
            context = inner.op("Slice", context, inner.integers(0), "step_width", inner.integers(1), name="tokens")
        return self._collected(inner, [context, *caches], config)

    def _collected(self, inner: GraphBuilder, outputs: list[str], config: T5Config) -> onnx.GraphProto:
        context = tensor(outputs[0], FLOAT, None)
        return inner.collected("branch", [], [context, *(_slot(name, INT8, config) for name in outputs[1:])])


def _swapped(graph: GraphBuilder, x: str, axes: tuple[int, int, int], result: tuple[int, int]) -> str:
    """[rows, ...] seen as [rows, *axes], the first two of these exchanged, and given the shape [rows, *result]."""
    apart = graph.op("Reshape", x, graph.integers(0, *axes), name="apart")
    turned = graph.op("Transpose", apart, perm=[0, 2, 1, 3], name="turned")
    return graph.op("Reshape", turned, graph.integers(0, *result), name="together")


def _slot(name: str, kind: int, config: T5Config) -> onnx.ValueInfoProto:
    return tensor(name, kind, ["rows", config.heads, "source_capacity", config.head_size])


def _by_head(graph: GraphBuilder, rows: str, config: T5Config, *, name: str) -> None:
    heads = graph.op("Reshape", rows, graph.integers(0, 0, config.heads, config.head_size), name=f"{name}.heads")
    graph.op("Transpose", heads, perm=[0, 2, 1, 3], name=name)
