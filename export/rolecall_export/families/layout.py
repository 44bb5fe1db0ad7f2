"""How the tokens of a batch lie in the graph: packed without padding (CPU), or padded (GPU).

Only attention and pooling look at more than one token, so they are what a layout does; the rest works token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import onnx

from rolecall_export.families.graph import BOOL, FLOAT, INT32, INT64, MICROSOFT, GraphBuilder, sequence, tensor
from rolecall_export.families.pooling import Pooling

TextBody = Callable[[GraphBuilder, Sequence[str]], str]
"""Adds the work on one text to the body of a loop: its values, float [1, tokens of the text, width], to one result."""


class Layout(Protocol):
    """The tokens of a batch as int64 `token_ids`, `positions` (each token's place in its text) and hidden states."""

    @property
    def token_ids(self) -> str: ...

    @property
    def positions(self) -> str: ...

    def enter(self, rows: str) -> str:
        """Hidden states from embeddings, which have the shape of token_ids and one axis more."""
        ...

    def attention(self, parts: Sequence[str], *, heads: int, name: str) -> str:
        """Each token attends to the tokens of its own text; `parts` are query, key and value."""
        ...

    def pool(self, x: str, pooling: Pooling) -> str:
        """Float [texts, width] from hidden states."""
        ...


class PaddedTokens:
    """Hidden states [batch, sequence, width]: shapes known from the inputs alone, as GPUs like them."""

    def __init__(self, graph: GraphBuilder, *, input_ids: str, attention_mask: str) -> None:
        self._graph = graph
        self._mask = attention_mask
        self._key_mask = graph.op("Cast", attention_mask, to=INT32, name="key_mask")
        width = graph.op("Squeeze", graph.op("Shape", input_ids, start=1, end=2), name="sequence_length")
        self.token_ids = input_ids
        self.positions = graph.op("Range", graph.integer(0), width, graph.integer(1), name="positions")
        """int64 [sequence], the same for all texts"""

    def enter(self, rows: str) -> str:
        return rows

    def attention(self, parts: Sequence[str], *, heads: int, name: str) -> str:
        return self._graph.op(
            "MultiHeadAttention", *parts, "", self._key_mask, num_heads=heads, domain=MICROSOFT, name=name
        )

    def pool(self, x: str, pooling: Pooling) -> str:
        return pooling.batch(self._graph, x, mask=self._mask)


class PackedTokens:
    """Hidden states [1, tokens, width] without the padding: text after text along one axis.

    Attention and pooling run text by text in a Loop, on exactly the tokens of that text. Of the mask only the sum of
    each row counts, so padding has to be at the right. A row without any token counts as one token, so that all-zero
    inputs (a warm-up) are no error.
    """

    def __init__(self, graph: GraphBuilder, *, input_ids: str, attention_mask: str) -> None:
        self._graph = graph
        sums = graph.op("ReduceSum", attention_mask, graph.integers(-1), keepdims=0, name="mask.sum")
        lengths = graph.op("Max", sums, graph.integer(1), name="lengths")
        ends = graph.op("CumSum", lengths, graph.integer(0), name="ends_flat")
        starts = graph.op("Sub", ends, lengths, name="starts_flat")
        self._starts = graph.op("Unsqueeze", starts, graph.integers(1), name="starts")
        self._ends = graph.op("Unsqueeze", ends, graph.integers(1), name="ends")
        self.lengths = lengths
        """int64 [texts]: the tokens of each"""
        self._texts = graph.op("Size", lengths, name="texts")
        width = graph.op("Squeeze", graph.op("Shape", input_ids, start=1, end=2), name="sequence_length")
        columns = graph.op("Range", graph.integer(0), width, graph.integer(1), name="columns")
        kept = graph.op("Less", columns, graph.op("Unsqueeze", lengths, graph.integers(1)), name="kept")
        places = graph.op("NonZero", kept, name="places")
        by_token = graph.op("Transpose", places, perm=[1, 0], name="places_by_token")
        self.token_ids = graph.op("GatherND", input_ids, by_token, name="token_ids")
        """int64 [tokens]"""
        self.positions = graph.op("Gather", places, graph.integer(1), axis=0, name="positions")
        """int64 [tokens]: the place of each token in its text, from 0"""

    def enter(self, rows: str) -> str:
        return self._graph.op("Unsqueeze", rows, self._graph.integers(0), name="embeddings")

    def attention(self, parts: Sequence[str], *, heads: int, name: str) -> str:
        def one_text(inner: GraphBuilder, parts: Sequence[str]) -> str:
            return inner.op("MultiHeadAttention", *parts, num_heads=heads, domain=MICROSOFT, name="heads")

        return self._map_texts(parts, one_text, name=name)

    def pool(self, x: str, pooling: Pooling) -> str:
        return self._reduce_texts((x,), lambda inner, parts: pooling.text(inner, parts[0]), name="pooling")

    def _map_texts(self, values: Sequence[str], body: TextBody, *, name: str) -> str:
        """Run `body`, which keeps the number of tokens, on each text's part of `values`, float [1, tokens, width]."""
        inner, parts = self._body(values, name)
        result = body(inner, parts)
        grown = inner.op("SequenceInsert", f"{name}.before", result, name="after")
        loop = inner.collected(
            name,
            [*_loop_inputs(name), sequence(f"{name}.before", FLOAT)],
            [tensor(_keep_going(inner, name), BOOL, []), sequence(grown, FLOAT)],
        )
        empty = self._graph.op("SequenceEmpty", dtype=FLOAT, name=f"{name}.none")
        texts = self._graph.op("Loop", self._texts, "", empty, body=loop, name=f"{name}.texts")
        return self._graph.op("ConcatFromSequence", texts, axis=1, name=f"{name}.joined")

    def _reduce_texts(self, values: Sequence[str], body: TextBody, *, name: str) -> str:
        """Run `body`, which gives float [width], on each text's part of `values`; the results are [texts, width]."""
        inner, parts = self._body(values, name)
        result = body(inner, parts)
        outputs = [tensor(_keep_going(inner, name), BOOL, []), tensor(result, FLOAT, ["width"])]
        loop = inner.collected(name, _loop_inputs(name), outputs)
        return self._graph.op("Loop", self._texts, "", body=loop, name=f"{name}.texts")

    def _body(self, values: Sequence[str], name: str) -> tuple[GraphBuilder, list[str]]:
        """The body of a loop over texts, with the slices of `values` that belong to the text at hand."""
        inner = GraphBuilder(self._graph, prefix=f"{name}.")
        start = inner.op("Gather", self._starts, f"{name}.index", name="start")
        end = inner.op("Gather", self._ends, f"{name}.index", name="end")
        axis = self._graph.integers(1)
        return inner, [inner.op("Slice", value, start, end, axis, name="part") for value in values]


def _loop_inputs(name: str) -> list[onnx.ValueInfoProto]:
    return [tensor(f"{name}.index", INT64, []), tensor(f"{name}.going", BOOL, [])]


def _keep_going(inner: GraphBuilder, name: str) -> str:
    return inner.op("Identity", f"{name}.going", name="still_going")
