"""The speed bench with the real gateway on a tiny model, and with peers that are small programs of our own."""

import json
import sys

import numpy as np
import pytest
from rolecall_load.bench.cli import main
from rolecall_load.bench.speed.infinity import infinity
from rolecall_load.bench.speed.offline import sentence_transformers
from rolecall_load.bench.speed.processes import server_process
from rolecall_load.errors import LoadError

from tests.fixtures_models import tiny_repository

INFINITY = f"""#!{sys.executable}
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        body = json.dumps({{"data": [{{"embedding": [len(text), 1.0]}}]}}).encode()
        self.send_response(500 if text == "bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
LIBRARY = """
import numpy as np

class SentenceTransformer:
    def __init__(self, folder, *, device, model_kwargs):
        assert device == "cpu" and model_kwargs == {"torch_dtype": "bf16"}

    def encode(self, texts, *, batch_size, normalize_embeddings, show_progress_bar):
        return np.array([[len(text), 2.0] for text in texts])
"""


@pytest.fixture
def peers(tmp_path):
    """A folder of peers whose programs only look like the real ones."""
    programs = tmp_path / "infinity" / "bin"
    programs.mkdir(parents=True)
    (programs / "infinity_emb").write_text(INFINITY)
    (programs / "infinity_emb").chmod(0o755)
    library = tmp_path / "library"
    library.mkdir()
    (library / "sentence_transformers.py").write_text(LIBRARY)
    (library / "torch.py").write_text("bfloat16 = 'bf16'\ndef set_num_threads(count): pass\n")
    python = tmp_path / "sentence_transformers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={library} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def contender_of_infinity(peers, texts):
    return infinity(
        peers / "infinity" / "bin" / "python",
        peers,
        texts,
        engine="torch",
        dtype="float32",
        threads=1,
        concurrency=3,
    )


def test_infinity_is_asked_one_text_a_request(peers):
    with contender_of_infinity(peers, ["a", "bcd", "ef"] * 5) as contender:
        assert contender.embed().tolist() == [[1, 1], [3, 1], [2, 1]] * 5
        measure = contender.run(0)
    assert measure.seconds > 0
    assert measure.client_cores is not None


def test_infinity_that_fails_stops_the_bench(peers):
    with contender_of_infinity(peers, ["bad"]) as contender, pytest.raises(LoadError, match="HTTP status 500"):
        contender.run(0)


def test_a_server_that_ends_at_once_is_told_with_its_last_line():
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no such model')"]
    with pytest.raises(LoadError, match="peer ended: no such model"), server_process("peer", command, ready=bool):
        pass


def test_a_server_that_does_not_exist():
    with pytest.raises(LoadError, match="can't be started"), server_process("peer", ["/nowhere"], ready=bool):
        pass


def test_sentence_transformers_runs_in_its_own_interpreter(peers):
    python = peers / "sentence_transformers" / "bin" / "python"
    with sentence_transformers(python, peers, ["a", "bcd"], dtype="bfloat16", threads=1) as contender:
        assert contender.embed().tolist() == [[1, 2], [3, 2]]
        assert contender.run(0).seconds >= 0


def test_sentence_transformers_that_is_broken(peers):
    (peers / "library" / "torch.py").write_text("raise ImportError('no torch here')")
    python = peers / "sentence_transformers" / "bin" / "python"
    with (
        pytest.raises(LoadError, match="sentence-transformers, float32 ended"),
        sentence_transformers(python, peers, ["a"], dtype="float32", threads=1),
    ):
        pass


def test_the_whole_bench_on_a_tiny_model(tmp_path):
    repository = str(tiny_repository(tmp_path / "repository"))
    file = tmp_path / "speed.json"
    arguments = ["speed", "--repository", repository, "--reference", repository, "--texts", "48", "--length", "25"]
    assert main([*arguments, "--rounds", "2", "--concurrency", "8", "--threads", "2", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    lines = {line["name"]: line for line in found["lines"]}
    assert lines["gateway"]["rate"]["median"] > 0
    assert lines["gateway"]["quality"]["least"] == pytest.approx(1.0)
    assert found["baseline"].startswith("direct")
    assert {line["kind"] for line in lines.values()} == {"gateway", "direct"}
    # One batch size measured, two given; as one run on two threads and as two runs on one.
    assert len(lines) in (5, 7)
    assert np.isfinite([line["ratio"]["median"] for line in lines.values()]).all()


def test_a_repository_that_is_empty(tmp_path, capsys):
    assert main(["speed", "--repository", str(tmp_path)]) == 2
    assert "holds no exported version" in capsys.readouterr().err
