import pytest
from rolecall_server.engine.threads import CoreSplit, split_cores


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
