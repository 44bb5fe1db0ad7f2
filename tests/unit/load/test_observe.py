import os

import pytest
from rolecall_load.errors import LoadError
from rolecall_load.observe import Memory, Observer, parse_gauges, scrape

EXPOSITION = """# HELP rolecall_queue_tokens Tokens waiting.
# TYPE rolecall_queue_tokens gauge
rolecall_queue_tokens{model="a"} 12.0
rolecall_queue_tokens{model="b"} 30.0
# TYPE other gauge
other 7
"""


def test_gauges_are_summed_over_labels_and_missing_ones_left_out():
    assert parse_gauges(EXPOSITION, ("rolecall_queue_tokens", "rolecall_queue_size")) == {"rolecall_queue_tokens": 42.0}


def test_slope_is_that_of_the_line():
    memory = Memory(tuple((float(second), 1000 + 30 * second) for second in range(10)))
    assert memory.slope == pytest.approx(30.0)
    assert (memory.first, memory.last) == (1000, 1270)


def test_warm_up_can_be_left_out_of_the_memory():
    memory = Memory(((0.0, 10), (1.0, 90), (2.0, 100), (3.0, 100)))
    assert memory.after(2.0).slope == 0.0
    assert memory.after(9.0).samples == ((3.0, 100),)
    assert memory.after(9.0).slope == 0.0


def test_own_memory_can_be_observed():
    observer = Observer(pid=os.getpid())
    observer.look()
    observer.look()
    memory = observer.observation().memory
    assert memory is not None
    assert len(memory.samples) == 2
    assert memory.first > 1_000_000


def test_nothing_asked_for_nothing_seen():
    observer = Observer()
    observer.look()
    assert observer.observation().memory is None
    assert observer.observation().maxima == {}


def test_a_process_that_is_not_there():
    with pytest.raises(LoadError, match="does not exist"):
        Observer(pid=2**22 + 1)


@pytest.mark.parametrize("url", ["https://127.0.0.1/metrics", "file:///etc/hostname", "127.0.0.1:9464"])
def test_metrics_are_read_over_http_only(url):
    with pytest.raises(LoadError, match="over http"):
        scrape(url)


def test_a_metrics_endpoint_that_is_down_is_one_sentence():
    with pytest.raises(LoadError, match="no metrics at"):
        scrape("http://127.0.0.1:1/metrics")
