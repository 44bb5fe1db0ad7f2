import pytest
from rolecall_server.engine.threads import CoreSplit, LaneSplit, split_cores, split_rows


@pytest.mark.parametrize(
    ("cores", "given", "split"),
    [
        (1, {}, (1, 1)),
        (2, {}, (2, 1)),
        (16, {}, (16, 1)),
        (16, {"intra_op_threads": 4}, (4, 4)),
        (2, {"intra_op_threads": 4}, (1, 4)),
        (16, {"workers": 2}, (2, 8)),
        (2, {"workers": 3}, (3, 1)),
        (16, {"workers": 3, "intra_op_threads": 2}, (3, 2)),
        (16, {"on_gpu": True}, (2, 1)),
    ],
)
def test_cores_are_divided(cores, given, split):
    assert split_cores(cores, **given) == CoreSplit(*split)


@pytest.mark.parametrize(
    ("cores", "given", "split"),
    [
        (1, {"max_rows": 32}, (1, 32, 1)),
        (2, {"max_rows": 32}, (2, 16, 1)),
        (16, {"max_rows": 32}, (4, 8, 4)),
        (2, {"max_rows": 8}, (1, 8, 2)),
        (2, {"max_rows": 1}, (1, 1, 2)),
        (2, {"max_rows": 32, "lanes": 1}, (1, 32, 2)),
        (2, {"max_rows": 3, "lanes": 4}, (3, 1, 1)),
        (16, {"max_rows": 32, "on_gpu": True}, (1, 32, 16)),
    ],
)
def test_rows_are_divided_among_lanes(cores, given, split):
    assert split_rows(cores, **given) == LaneSplit(*split)
