import logging

import pytest
from rolecall_server.observability.rpc_log import RpcHearers, RpcLog

LOGGER = "rolecall.access"


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("OK", logging.DEBUG),
        ("CANCELLED", logging.DEBUG),
        ("INVALID_ARGUMENT", logging.INFO),
        ("INTERNAL", logging.INFO),
    ],
)
def test_an_rpc_is_one_line_and_a_good_one_a_quiet_one(caplog, code, level):
    caplog.set_level(logging.DEBUG, LOGGER)
    log = RpcLog()
    log.on_rpc_started("S/M")
    log.on_rpc_done("S/M", code, seconds=0.123456789, request_id="r")

    (record,) = caplog.records
    assert record.levelno == level
    assert (record.method, record.code, record.seconds, record.request_id) == ("S/M", code, 0.123457, "r")


@pytest.mark.parametrize(("code", "level"), [("CANCELLED", logging.DEBUG), ("UNAVAILABLE", logging.INFO)])
def test_a_failed_stream_is_one_line(caplog, code, level):
    caplog.set_level(logging.DEBUG, LOGGER)
    RpcLog().on_stream_failed("S/M", code, seconds=600.0)

    (record,) = caplog.records
    assert (record.levelno, record.method, record.code, record.seconds) == (level, "S/M", code, 600.0)


def test_a_quiet_line_is_not_written_where_nobody_listens(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    RpcLog().on_rpc_done("S/M", "OK", seconds=1, request_id="r")

    assert caplog.records == []


def test_several_hear_the_same():
    heard = []

    class Hearer:
        def on_rpc_started(self, method):
            heard.append(("started", method))

        def on_rpc_done(self, method, code, *, seconds, request_id):
            heard.append((method, code, seconds, request_id))

        def on_stream_failed(self, method, code, *, seconds):
            heard.append((method, code, seconds))

    both = RpcHearers([Hearer(), Hearer()])
    both.on_rpc_started("m")
    both.on_rpc_done("m", "OK", seconds=1.0, request_id="r")
    both.on_stream_failed("s", "CANCELLED", seconds=2.0)

    assert heard == [("started", "m")] * 2 + [("m", "OK", 1.0, "r")] * 2 + [("s", "CANCELLED", 2.0)] * 2
