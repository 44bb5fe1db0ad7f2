"""The word table in few bits: the largest part of a multilingual encoder, of which a text reads a few rows."""

from __future__ import annotations

import numpy as np

from rolecall_export.families.graph import MICROSOFT, GraphBuilder
from rolecall_export.quantization.blocks import EIGHT_BIT_ZERO, eight_bits
from rolecall_export.weights import Q4_BLOCK, Array, Q4Matrix


def compact_rows(graph: GraphBuilder, token_ids: str, *, table: Array, name: str) -> str:
    """Rows of a float32 table [rows, columns] for int64 [...]: float32 [..., columns].

    In 4 bits where that is exact, since the checkpoint was in Q4_0; else in 8 bits, a scale for 32 weights.
    """
    rows, columns = table.shape
    q4 = Q4Matrix.quantize(table)
    exact = np.array_equal(q4.dequantize(), table)
    if exact:
        values, scales, bits, zeros = q4.packed.reshape(rows, columns // 2), q4.scales.astype(np.float32), 4, []
    else:
        blocks, scales = eight_bits(table, block=Q4_BLOCK)
        zero = np.full(scales.shape, EIGHT_BIT_ZERO, np.uint8)
        values, bits, zeros = blocks.reshape(rows, columns), 8, [graph.constant(f"{name}.zeros", zero)]
    return graph.op(
        "GatherBlockQuantized",
        graph.constant(f"{name}.q{bits}", values),
        token_ids,
        graph.constant(f"{name}.scales", scales),
        *zeros,
        gather_axis=0,
        quantize_axis=1,
        block_size=Q4_BLOCK,
        bits=bits,
        domain=MICROSOFT,
        name=f"{name}.rows",
    )
