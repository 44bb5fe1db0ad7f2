import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.engine.padding import pad

sequences_of_ids = st.lists(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=40).map(lambda ids: np.array(ids, dtype=np.int64)),
    min_size=1,
    max_size=12,
)


@given(sequences_of_ids)
def test_every_token_is_where_it_was_and_the_rest_is_padding(sequences):
    input_ids, mask = pad(sequences, 7, max_length=40)

    assert input_ids.shape == mask.shape
    assert input_ids.dtype == mask.dtype == np.int64
    assert input_ids.shape[1] == max(map(len, sequences))
    for row, ids in enumerate(sequences):
        assert input_ids[row, : len(ids)].tolist() == ids.tolist()
        assert set(input_ids[row, len(ids) :].tolist()) <= {7}
        assert mask[row].tolist() == [1] * len(ids) + [0] * (mask.shape[1] - len(ids))


@pytest.mark.parametrize("sequences", [[], [np.arange(3), np.arange(0)], [np.arange(11)]])
def test_what_no_graph_could_run_is_refused(sequences):
    with pytest.raises(ValueError, match="token"):
        pad(sequences, 0, max_length=10)
