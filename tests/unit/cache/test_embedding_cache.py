"""The embedding cache: bounded in bytes, least recently used first, keyed by all that an embedding depends on."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.cache.embedding_cache import CachedEmbedding, EmbeddingCache, content_key
from rolecall_server.types import TokenUsage, Truncation

from tests.observers import ListObserver


def entry(dimensions: int = 100) -> CachedEmbedding:
    return CachedEmbedding(np.ones(dimensions, np.float32), TokenUsage(1, 0, 1))


def key(number: int) -> bytes:
    return number.to_bytes(20, "little")


def test_the_least_recently_used_goes_first() -> None:
    observer = ListObserver()
    cache = EmbeddingCache(max_bytes=2500, observer=observer)  # room for three
    for number in range(3):
        cache.put(key(number), entry())
    assert cache.get(key(0)) is not None
    cache.put(key(3), entry())
    assert [n for n in range(4) if cache.get(key(n))] == [0, 2, 3]
    assert observer.evicted == 1


def test_nothing_is_kept_without_room_and_no_entry_evicts_all_others_in_vain() -> None:
    observer = ListObserver()
    EmbeddingCache(0, observer).put(key(1), entry())
    cache = EmbeddingCache(1000, observer)
    cache.put(key(1), entry())
    cache.put(key(2), entry(dimensions=1000))
    assert cache.get(key(1)) is not None
    assert cache.get(key(2)) is None
    assert observer.evicted == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300)), max_size=80))
def test_bytes_are_the_sum_of_what_is_in_it_and_never_pass_the_limit(puts: list[tuple[int, int]]) -> None:
    cache = EmbeddingCache(5000, ListObserver())
    for number, dimensions in puts:
        cache.put(key(number), entry(dimensions))
        assert cache.bytes <= 5000
    kept = [found for number in range(21) if (found := cache.get(key(number)))]
    assert cache.bytes == sum(found.vector.nbytes + 400 for found in kept)
    assert len(cache) == len(kept)


def test_the_bytes_counted_cover_the_memory_taken() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache = EmbeddingCache(1 << 30, ListObserver())
    for number in range(5000):
        cache.put(key(number), CachedEmbedding(np.ones(384, np.float32), TokenUsage(500 + number, 0, 1)))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 * taken <= cache.bytes <= 1.2 * taken


def test_keys_differ_in_everything_an_embedding_depends_on() -> None:
    keys = {
        content_key(text, model=model, prefix=prefix, truncation=truncation)
        for text in ("a", "b", "a b")
        for model in ("m1", "m2")
        for prefix in ("query: ", "")
        for truncation in Truncation
    }
    assert len(keys) == 36
    assert all(len(one) >= 16 for one in keys)


def test_parts_of_a_key_cannot_run_into_each_other() -> None:
    one = content_key("bc", model="m", prefix="a", truncation=Truncation.CHUNK)
    other = content_key("c", model="m", prefix="ab", truncation=Truncation.CHUNK)
    assert one != other
