"""The load generator and the benches against a small server of known behaviour, over the wire."""

import asyncio
import json
import os

import pytest
from google.rpc import code_pb2
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from rolecall_load.cli import main
from rolecall_load.errors import LoadError
from rolecall_load.load import run_load
from rolecall_load.observe import Observer
from rolecall_load.spec import LoadSpec

from tests.integration.load_server import Behaviour, load_server

SHORT = ["--duration", "1.0", "--warmup", "0.3", "--length", "30"]


async def test_closed_loop_over_two_processes_finds_the_capacity():
    behaviour = Behaviour(seconds=0.02, slots=2, waiting=100)
    async with load_server(behaviour) as address:
        spec = LoadSpec(address=address, concurrency=6, duration=1.5, warmup=0.3, length=30, processes=2, documents=3)
        result = await asyncio.to_thread(run_load, spec, observer=Observer(pid=os.getpid()))
    summary = result.summary
    # Two slots of 20 ms can give 100 a second at the very most, whatever the machine.
    assert 0 < summary.throughput <= 101
    assert summary.texts == 3 * summary.ok
    assert summary.tokens == 7 * summary.texts
    assert summary.server["batch_size"].max == 3
    assert summary.latency_ok.p50 > 0.02
    assert result.observation.memory is not None


async def test_open_loop_counts_refusals_with_their_details(tmp_path):
    async with load_server(Behaviour(seconds=0.1, slots=1, waiting=3)) as address:
        file = tmp_path / "found.json"
        arguments = ["run", "--address", address, "--rate", "60", "--scenario", "match", "--documents", "4", *SHORT]
        code = await asyncio.to_thread(main, [*arguments, "--json", str(file), "--arrivals", "constant"])
    assert code == 0
    found = json.loads(file.read_text())
    refused = [each for each in found["summary"]["refusals"] if each["kind"]["code"] == "RESOURCE_EXHAUSTED"]
    assert refused[0]["kind"]["retry_info"] is True
    assert refused[0]["count"] > 0
    assert found["summary"]["sent"] == pytest.approx(60, abs=1)  # the first may fall on either side of the window
    assert found["summary"]["latency_refused"]["p50"] < found["summary"]["latency_ok"]["p50"]


async def test_a_deadline_that_the_server_ignores_is_the_clients_own_timer():
    async with load_server(Behaviour(seconds=3.0)) as address:
        spec = LoadSpec(address=address, mode="open", rate=10, deadline=0.3, duration=1, warmup=0, length=30)
        result = await asyncio.to_thread(run_load, spec)
    assert result.summary.ok == 0
    assert {each.kind.code for each in result.summary.refusals} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert any(each.kind.local for each in result.summary.refusals)


OVERLOAD = ["--concurrencies", "4", "--capacity-duration", "1.0", *SHORT]


def metrics_server(behaviour, *, tokens_each):
    registry = CollectorRegistry()
    gauge = Gauge("rolecall_queue_tokens", "Tokens waiting.", ["model"], registry=registry)
    gauge.labels("encoder").set_function(lambda: behaviour.peak * tokens_each)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    return server, thread, f"http://127.0.0.1:{server.server_port}/metrics"


@pytest.mark.parametrize(("tokens_each", "queue"), [(100, True), (101, False)])
async def test_overload_of_a_server_that_does_right(tmp_path, tokens_each, queue):
    behaviour = Behaviour(seconds=0.04, waiting=10, queue_limit=1000)
    server, thread, url = metrics_server(behaviour, tokens_each=tokens_each)
    try:
        async with load_server(behaviour) as address:
            file = tmp_path / "found.json"
            arguments = ["overload", "--address", address, *OVERLOAD, "--metrics-url", url, "--json", str(file)]
            code = await asyncio.to_thread(main, [*arguments, "--server-pid", str(os.getpid())])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    found = json.loads(file.read_text())
    checks = {check["name"]: check["passed"] for check in found["checks"]}
    assert checks["refusals"] is True
    assert checks["queue"] is queue
    assert found["overload"]["metrics_max"]["rolecall_queue_tokens"] == behaviour.peak * tokens_each
    assert found["overload"]["spec"]["rate"] == pytest.approx(3 * found["capacity"])
    assert code == (0 if all(value is True for value in checks.values()) else 1)


@pytest.mark.parametrize("wrong", [{"code": code_pb2.UNAVAILABLE}, {"details": False}])
async def test_overload_finds_wrong_refusals(tmp_path, wrong):
    async with load_server(Behaviour(seconds=0.05, waiting=4, **wrong)) as address:
        file = tmp_path / "found.json"
        code = await asyncio.to_thread(main, ["overload", "--address", address, *OVERLOAD, "--json", str(file)])
    checks = {check["name"]: check["passed"] for check in json.loads(file.read_text())["checks"]}
    assert code == 1
    assert checks["refusals"] is False
    assert checks["queue"] is None


def test_a_server_that_is_not_there_is_one_sentence():
    with pytest.raises(LoadError, match=r"no server answers at 127\.0\.0\.1:1"):
        run_load(LoadSpec(address="127.0.0.1:1", connect=0.2))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode", "open"],
        ["--rate", "5", "--concurrency", "5"],
        [],
        ["--rate", "-1"],
        ["--rate", "5", "--languages", "fr"],
        ["--rate", "5", "--repeat", "2"],
        ["--concurrency", "1", "--processes", "2"],
        ["--rate", "5", "--metrics-url", "nonsense"],
    ],
)
def test_wrong_arguments_are_one_line(arguments, capsys):
    assert main(["run", "--address", "127.0.0.1:1", *arguments, *SHORT]) == 2
    assert "rolecall-load: " in capsys.readouterr().err


def test_a_json_file_that_cannot_be_written(tmp_path):
    from rolecall_load.report import write_json

    with pytest.raises(LoadError, match="can't be written"):
        write_json(tmp_path / "no" / "such.json", {})
