"""The metrics as Prometheus sees them, and what its own linter says of them."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub

from tests.fuzzing import METHODS
from tests.requirements import require_program
from tests.servers import Metrics, Served, serve_process

SECONDS = 60
NAMES = {
    "counter": {
        "requests_total",
        "batches_total",
        "shed_total",
        "cancelled_total",
        "truncated_inputs_total",
        "cache_hits_total",
        "cache_misses_total",
        "cache_evictions_total",
        "nonfinite_outputs_total",
        "generated_tokens_total",
        "draft_tokens_total",
    },
    "gauge": {
        "queue_size",
        "queue_tokens",
        "inflight_requests",
        "running_sequences",
        "model_info",
        "provider_fallback_nodes",
    },
    "histogram": {
        "request_duration_seconds",
        "queue_duration_seconds",
        "tokenize_duration_seconds",
        "inference_duration_seconds",
        "batch_size",
        "batch_tokens",
        "batch_padding_ratio",
        "score",
        "time_to_first_token_seconds",
        "inter_token_seconds",
    },
}


@pytest.fixture(scope="module")
def busy_server(tiny_models: Path) -> Iterator[Served]:
    """A server that has seen one of everything."""
    with serve_process("--model-repository", str(tiny_models)) as served:
        with grpc.insecure_channel(served.address) as channel:
            ask_for_everything(channel)
        yield served


def ask_for_everything(channel: grpc.Channel) -> None:
    stub = MatchingServiceStub(channel)
    documents = [types_pb2.Profile(text="word " * length) for length in (1, 5, 500)]
    good = pb.MatchRequest(query=documents[0], documents=documents, truncation=types_pb2.TRUNCATION_TRUNCATE)
    for _ in range(2):
        stub.Match(good, timeout=SECONDS)
    named = [pb.MatchRequest(query=documents[0], documents=documents, model=f"nobody {n}") for n in range(20)]
    for bad in (pb.MatchRequest(), *named):
        with pytest.raises(grpc.RpcError):
            stub.Match(bad, timeout=SECONDS)
    for number in range(20):
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(f"/rolecall.v1.MatchingService/Method{number}")(b"", timeout=SECONDS)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes `target` every second; the address of its HTTP API."""
    program = require_program("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: rolecall, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}")
    log = folder / "prometheus.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([program, *flags], stdout=stream, stderr=stream)
    try:
        yield f"http://{address}"
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(SECONDS)


def query(api: str, expression: str) -> list[dict[str, Any]]:
    """The instant vector of an expression; empty while there is none, or nobody to ask yet."""
    try:
        with urllib.request.urlopen(f"{api}/api/v1/query?{urllib.parse.urlencode({'query': expression})}") as response:
            answer = json.load(response)
    except urllib.error.URLError:
        return []
    assert answer["status"] == "success"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def query_until_there(api: str, expression: str) -> list[dict[str, Any]]:
    give_up = time.monotonic() + SECONDS
    while not (found := query(api, expression)) and time.monotonic() < give_up:
        time.sleep(0.1)  # Prometheus tells nobody when it has scraped
    assert found, f"no {expression}"
    return found


def test_prometheus_scrapes_the_server(busy_server: Served, tmp_path: Path) -> None:
    target = busy_server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    with prometheus(tmp_path, target) as api:
        (up,) = query_until_there(api, "up == 1")
        assert up["metric"]["instance"] == target
        ok = query_until_there(api, 'rolecall_requests_total{method="rolecall.v1.MatchingService/Match",code="OK"}')
        assert float(ok[0]["value"][1]) == 2
        (quantile,) = query_until_there(
            api, "histogram_quantile(0.99, sum by (le) (rolecall_request_duration_seconds_bucket))"
        )
        assert 0 < float(quantile["value"][1]) <= 30
        assert float(query_until_there(api, "rolecall_model_info")[0]["value"][1]) == 1


def test_its_linter_is_content(busy_server: Served) -> None:
    ran = subprocess.run(
        [require_program("promtool"), "check", "metrics"],
        input=busy_server.metrics().page,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_every_metric_of_the_contract_is_there_with_its_kind(busy_server: Served) -> None:
    page = busy_server.metrics().page
    for kind, names in NAMES.items():
        for name in names:
            assert f"# TYPE rolecall_{name} {kind}\n" in page
    exposed = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    known = {f"rolecall_{name}" for names in NAMES.values() for name in names}
    assert exposed == known, "a metric is missing from the table above, or should not be exposed"


def test_what_happened_is_counted(busy_server: Served) -> None:
    metrics = busy_server.metrics()
    match = "rolecall.v1.MatchingService/Match"
    assert metrics.value("rolecall_requests_total", method=match, code="OK") == 2
    assert metrics.value("rolecall_requests_total", method=match, code="INVALID_ARGUMENT") == 1
    assert metrics.value("rolecall_requests_total", method=match, code="NOT_FOUND") == 20
    assert metrics.value("rolecall_request_duration_seconds_count", method=match) == 23
    assert metrics.value("rolecall_cache_misses_total") == 4
    assert metrics.value("rolecall_cache_hits_total") == 4
    assert metrics.value("rolecall_truncated_inputs_total") == 1
    assert metrics.value("rolecall_score_count") == 6
    assert metrics.value("rolecall_batch_size_sum") == 4
    assert metrics.value("rolecall_batches_total") == metrics.value("rolecall_batch_size_count") >= 1
    assert metrics.value("rolecall_queue_duration_seconds_count") == 4
    assert metrics.value("rolecall_inflight_requests") == 0


def test_no_label_is_chosen_by_a_client(busy_server: Served) -> None:
    metrics: Metrics = busy_server.metrics()
    seen: dict[str, set[str]] = {}
    for _, labels in metrics.samples:
        for name, value in labels:
            seen.setdefault(name, set()).add(value)
    assert seen.pop("le")
    assert seen["method"] <= {f"{method.containing_service.full_name}/{method.name}" for method in METHODS}
    assert seen["code"] <= {code.name for code in grpc.StatusCode}
    assert seen["model"] == {"encoder"}
    assert seen["priority"] == {"interactive", "bulk"}
    assert seen["trigger"] <= {"full", "delay", "idle"}
    assert seen.keys() <= {"method", "code", "model", "priority", "trigger", "name", "version", "precision", "provider"}
