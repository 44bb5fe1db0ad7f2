"""The word table in 4 bits: the largest part of a multilingual encoder, read a few rows at a time."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.weights import Q4_BLOCK, Q4_ZERO_POINT, Array, Q4Matrix


def q4_rows(graph: GraphBuilder, token_ids: str, *, table: Array, name: str) -> str:
    """Rows of `table` for int64 [tokens]: float32 [tokens, columns]. Exact where the table was in Q4_0 before."""
    matrix = Q4Matrix.quantize(table)
    rows, columns = matrix.shape
    return graph.op(
        "GatherBlockQuantized",
        graph.constant(f"{name}.packed", matrix.packed.reshape(rows, columns // 2)),
        token_ids,
        graph.constant(f"{name}.scales", matrix.scales.astype(np.float32)),
        gather_axis=0,
        quantize_axis=1,
        block_size=Q4_BLOCK,
        bits=4,
        domain=MICROSOFT,
        name=f"{name}.rows",
    )
