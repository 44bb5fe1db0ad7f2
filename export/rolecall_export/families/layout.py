"""Padding in and out: the tokens of a batch as one row of texts laid end to end, and work done text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from rolecall_export.families.graph import BOOL, FLOAT, INT64, GraphBuilder, sequence, tensor

TextBody = Callable[[GraphBuilder, Sequence[str]], str]
"""Adds the work on one text to the body of a loop: its values, float [1, tokens of the text, width], to one result."""


class PackedTokens:
    """The tokens of a padded batch without the padding: text after text along one axis.

    Of the mask only the sum of each row counts, so padding has to be at the right. A row without any token counts as
    one token, so that all-zero inputs (a warm-up) are no error.
    """

    def __init__(self, graph: GraphBuilder, *, input_ids: str, attention_mask: str) -> None:
        self._graph = graph
        sums = graph.op("ReduceSum", attention_mask, graph.integers(-1), keepdims=0, name="mask.sum")
        lengths = graph.op("Max", sums, graph.integer(1), name="lengths")
        ends = graph.op("CumSum", lengths, graph.integer(0), name="ends_flat")
        starts = graph.op("Sub", ends, lengths, name="starts_flat")
        self._starts = graph.op("Unsqueeze", starts, graph.integers(1), name="starts")
        self._ends = graph.op("Unsqueeze", ends, graph.integers(1), name="ends")
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

    def map_texts(self, values: Sequence[str], body: TextBody, *, name: str) -> str:
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

    def reduce_texts(self, values: Sequence[str], body: TextBody, *, name: str) -> str:
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
