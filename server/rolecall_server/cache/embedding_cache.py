"""Embeddings by the content they were made from. Holds vectors under hashes, never a text."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from rolecall_server.types import Observer, TokenUsage, Truncation, Vector

DIGEST_BYTES = 20
"""160 bits: two texts that share a key by chance are out of the question at any size of cache."""

ENTRY_OVERHEAD_BYTES = 400
"""Key, entry, usage, array header and the dict's slot, measured with tracemalloc; see the unit test."""


@dataclass(frozen=True, slots=True)
class CachedEmbedding:
    vector: Vector
    usage: TokenUsage


class EmbeddingCache:
    """Least recently used entries go first once `max_bytes` is passed; 0 keeps nothing. Owned by the event loop."""

    def __init__(self, max_bytes: int, observer: Observer) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[bytes, CachedEmbedding] = OrderedDict()
        self._observer = observer

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> CachedEmbedding | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: CachedEmbedding) -> None:
        size = _size(entry)
        if size > self.max_bytes:
            return
        if key in self._entries:
            self.bytes -= _size(self._entries.pop(key))
        evicted = 0
        while self.bytes + size > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= _size(oldest)
            evicted += 1
        self._entries[key] = entry
        self.bytes += size
        if evicted:
            self._observer.on_evicted(evicted)


def content_key(text: str, *, model: str, prefix: str, truncation: Truncation) -> bytes:
    """The cache key of a text: everything that its embedding depends on, each part with its length before it.

    model: tells a loaded version from any other, also from one of the same weights with other limits.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in (model, prefix, truncation.value, text):
        raw = part.encode("utf8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


def _size(entry: CachedEmbedding) -> int:
    return entry.vector.nbytes + ENTRY_OVERHEAD_BYTES
