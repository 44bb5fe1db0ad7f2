import numpy as np
import pytest
from rolecall_server.engine.ort.t5_slots import Cache, Slot

ROWS = 3
SLOTS = (Slot("self_key.0", np.float32, (2, None, 4)), Slot("self_value.0", np.float32, (2, None, 4)))


@pytest.fixture
def cache():
    """Two slots of which the first two rows hold numbers."""
    made = Cache(SLOTS, rows=ROWS)
    made.resize(10, rows=0)
    for number, buffer in enumerate(made._buffers):
        buffer[:2] = number + np.arange(2 * 2 * 64 * 4, dtype=np.float32).reshape(2, 2, 64, 4)
    return made


def contents(cache, rows):
    return [buffer[:rows].copy() for buffer in cache._buffers]


@pytest.mark.parametrize("capacity", [65, 200])
def test_what_is_in_the_rows_stays_when_slots_grow(cache, capacity):
    before = contents(cache, 2)
    cache.resize(capacity, rows=2)
    assert cache.capacity == -(-capacity // 64) * 64
    for old, new in zip(before, contents(cache, 2), strict=True):
        np.testing.assert_array_equal(new[:, :, :64], old)
        assert not new[:, :, 64:].any()
    cache.resize(64, rows=2)
    np.testing.assert_array_equal(contents(cache, 2), before)


def test_places_are_where_the_rows_lie(cache):
    cache.resize(128, rows=2)
    for place, buffer in zip(cache.places(1, 2), cache._buffers, strict=True):
        assert place.shape == (2, 2, 128, 4)
        assert place.address == buffer[1:].ctypes.data
        assert buffer[1:].flags.c_contiguous


def test_where_memory_ends_all_stays_as_it_was(cache, monkeypatch):
    before = contents(cache, 2)
    zeros, left = np.zeros, [None]

    def scarce(*arguments):
        if not left:
            raise MemoryError
        left.pop()
        return zeros(*arguments)

    monkeypatch.setattr(np, "zeros", scarce)
    with pytest.raises(MemoryError):
        cache.resize(128, rows=2)
    assert cache.capacity == 64
    assert {place.shape for place in cache.places(0, 2)} == {(2, 2, 64, 4)}
    np.testing.assert_array_equal(contents(cache, 2), before)
