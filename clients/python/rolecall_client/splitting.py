"""Calls larger than the server takes go in several parts.

Scores are pointwise, so that putting the answers together is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rolecall.v1 import types_pb2

from rolecall_client.results import ServerInfo

PARALLEL_PARTS = 2
"""Parts of one call under way at a time: enough that the server never waits for the client."""

_FRAME_BYTES = 64  # tags and lengths around a request
_ITEM_BYTES = 10  # tag and length around an item
_ANSWER_BYTES = 128  # an item's answer without id and vector
_BYTES_PER_TOKEN = 3  # fewer than real text has (about 4.5 in English and in Chinese), so that tokens are overestimated


@dataclass(frozen=True, slots=True)
class Budget:
    """What one request or its answer may hold. 0 means no limit. vector_bytes: of one embedding in the answer."""

    items: int = 0
    message_bytes: int = 0
    tokens: int = 0
    vector_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """parts: indices of the items of each request, in order. unsendable: items that alone exceed a message."""

    parts: list[list[int]]
    unsendable: list[int]


def budget_for(info: ServerInfo, max_message_bytes: int, *, vectors: bool = False) -> Budget:
    """The budget of one part, from the server's limits and the client's own message size."""
    limits = info.limits
    dimensions = max((model.dimensions for model in info.models), default=0)
    return Budget(
        items=limits.max_documents,
        message_bytes=min(limits.max_message_bytes or max_message_bytes, max_message_bytes),
        tokens=limits.max_queue_tokens // PARALLEL_PARTS,
        vector_bytes=4 * dimensions if vectors else 0,
    )


def split(items: Sequence[types_pb2.Profile], frame_bytes: int, budget: Budget) -> Split:
    """Fill each part as far as the budget allows. frame_bytes: of the request without items.

    One item may exceed the tokens (the server decides on it), none the bytes. No items give one empty part, which
    the server answers as it sees fit.
    """
    room = budget.message_bytes - frame_bytes - _FRAME_BYTES
    parts: list[list[int]] = [[]]
    unsendable: list[int] = []
    used_bytes = used_tokens = 0
    for index, item in enumerate(items):
        size, tokens = _item_bytes(item, budget), _item_tokens(item)
        if budget.message_bytes and size > room:
            unsendable.append(index)
            continue
        full = (
            (budget.items and len(parts[-1]) >= budget.items)
            or (budget.message_bytes and used_bytes + size > room)
            or (budget.tokens and used_tokens + tokens > budget.tokens)
        )
        if full and parts[-1]:
            parts.append([])
            used_bytes = used_tokens = 0
        parts[-1].append(index)
        used_bytes += size
        used_tokens += tokens
    if unsendable and not parts[-1]:
        parts.pop()
    return Split(parts, unsendable)


def _item_bytes(item: types_pb2.Profile, budget: Budget) -> int:
    answer = _ANSWER_BYTES + 4 * len(item.id) + budget.vector_bytes
    return _ITEM_BYTES + max(item.ByteSize(), answer)


def _item_tokens(item: types_pb2.Profile) -> int:
    return 0 if item.HasField("embedding") else item.ByteSize() // _BYTES_PER_TOKEN
