"""How the tokens of several sources lie in the encoder graph, packed (CPU) or padded (GPU), with T5's attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rolecall_export.families.graph import FLOAT, MICROSOFT, GraphBuilder
from rolecall_export.families.layout import PackedTokens
from rolecall_export.families.t5.bias import MASKED
from rolecall_export.weights import Array


class Sources(Protocol):
    @property
    def token_ids(self) -> str: ...

    @property
    def spans(self) -> str:
        """int64 [batch]: rows of the hidden states that belong to each text."""
        ...

    def enter(self, rows: str) -> str:
        """Hidden states [1, tokens, hidden] from rows of the token table."""
        ...

    def bias(self, table: Array, *, max_distance: int, name: str) -> str:
        """What `attend` adds to its scores; see bias.encoder_table."""
        ...

    def attend(self, parts: Sequence[str], bias: str, *, heads: int, name: str) -> str:
        """Each token attends to its own text; `parts` are query, key and value, [1, tokens, heads * size]."""
        ...


def distances(graph: GraphBuilder, length: str, *, max_distance: int) -> str:
    """int64 [length, length]: row of bias.encoder_table for each query and key."""
    places = graph.op("Range", graph.integer(0), length, graph.integer(1), name="places")
    keys = graph.op("Unsqueeze", places, graph.integers(0), name="keys")
    ahead = graph.op("Sub", keys, graph.op("Unsqueeze", places, graph.integers(1)), name="ahead")
    low, high = graph.integer(-max_distance), graph.integer(max_distance)
    return graph.op("Add", graph.op("Clip", ahead, low, high), high, name="distances")


class PackedSources(PackedTokens):
    """All tokens in [1, tokens, hidden], without padding."""

    def __init__(self, graph: GraphBuilder, input_ids: str, attention_mask: str, *, cache: int = FLOAT) -> None:
        super().__init__(graph, input_ids=input_ids, attention_mask=attention_mask)
        self.spans = self.lengths
        self._longest = graph.op("ReduceMax", self.spans, keepdims=0, name="longest")

    def bias(self, table: Array, *, max_distance: int, name: str) -> str:
        """float32 [1, heads, longest, longest]; a text uses its corner of it."""
        graph = self._graph
        rows = distances(graph, self._longest, max_distance=max_distance)
        values = graph.op("Gather", graph.constant(name, table), rows, name=f"{name}.values")
        return graph.op(
            "Unsqueeze", graph.op("Transpose", values, perm=[2, 0, 1]), graph.integers(0), name=f"{name}.by_head"
        )

    def attend(self, parts: Sequence[str], bias: str, *, heads: int, name: str) -> str:
        axes = self._graph.integers(2, 3)
        origin = self._graph.integers(0, 0)

        def one_text(inner: GraphBuilder, parts: Sequence[str]) -> str:
            length = inner.op("Shape", parts[0], start=1, end=2, name="length")
            corner = inner.op("Concat", length, length, axis=0, name="corner")
            own = inner.op("Slice", bias, origin, corner, axes, name="bias")
            return inner.op(
                "MultiHeadAttention", *parts, "", "", own, num_heads=heads, scale=1.0, domain=MICROSOFT, name="heads"
            )

        return self._map_texts(parts, one_text, name=name)


class PaddedSources:
    """Texts of one length; the hidden states are [1, batch * sequence, hidden] all the same."""

    def __init__(self, graph: GraphBuilder, input_ids: str, attention_mask: str, *, cache: int = FLOAT) -> None:
        self._graph = graph
        self._cache = cache
        self._batch = graph.op("Shape", input_ids, start=0, end=1, name="batch")
        width = graph.op("Shape", input_ids, start=1, end=2, name="sequence")
        self._width = graph.op("Squeeze", width, name="sequence_length")
        self.spans = graph.op("Expand", width, self._batch, name="spans_padded")
        self.token_ids = graph.op("Reshape", input_ids, graph.integers(1, -1), name="token_ids")
        seen = graph.op("Greater", attention_mask, graph.integer(0), name="seen")
        hidden = graph.op("Where", seen, graph.number(0.0), graph.number(float(MASKED)), name="hidden_keys")
        self._mask = graph.op("Unsqueeze", hidden, graph.integers(1, 2), name="key_mask")

    def enter(self, rows: str) -> str:
        return rows

    def bias(self, table: Array, *, max_distance: int, name: str) -> str:
        """[batch, heads, sequence, sequence], with the mask in it."""
        graph = self._graph
        rows = distances(graph, self._width, max_distance=max_distance)
        values = graph.op("Gather", graph.constant(name, table), rows, name=f"{name}.values")
        by_head = graph.op("Transpose", values, perm=[2, 0, 1], name=f"{name}.by_head")
        total = graph.op("Add", by_head, self._mask, name=f"{name}.masked")
        return total if self._cache == FLOAT else clipped(graph, total, cache=self._cache)

    def attend(self, parts: Sequence[str], bias: str, *, heads: int, name: str) -> str:
        graph = self._graph
        shape = graph.op("Concat", self._batch, graph.integers(-1, 0), axis=0, name="texts_shape")
        split = [graph.op("Reshape", part, shape, name=f"{name}.split") for part in parts]
        context = graph.op(
            "MultiHeadAttention", *split, "", "", bias, num_heads=heads, scale=1.0, domain=MICROSOFT, name=name
        )
        return graph.op("Reshape", context, graph.integers(1, -1, 0), name=f"{name}.rows")


def clipped(graph: GraphBuilder, bias: str, *, cache: int) -> str:
    """A bias in a narrower type: what is masked stays far below everything, and finite."""
    return graph.op("Cast", graph.op("Max", bias, graph.number(-3e4)), to=cache, name="narrow_bias")
