"""`rolecall-client` as a process of its own: what it prints, and one line instead of a traceback."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from tests.client_server import BAD_TEXT, DIMENSIONS, ClientServer, vector_of

NOBODY = "127.0.0.1:1"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[ClientServer]:
    with ClientServer(max_documents=10) as started:
        yield started


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "resume.txt").write_text("会Python的工程师", encoding="utf-8")
    (tmp_path / "job.json").write_text(json.dumps({"text": "一份工作"}, ensure_ascii=False), encoding="utf-8")
    lines = [{"id": f"job-{n}", "text": f"职位 {n}\nmore"} for n in range(12)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (tmp_path / "jobs.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rolecall_client.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, cwd=cwd, check=False)


def one_line_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("rolecall-client: ")
    return done.stderr


def test_match_prints_a_table(server, files):
    done = run("match", "--resume", files / "resume.txt", "--jobs", files / "jobs.jsonl", "--address", server.address)
    assert (done.returncode, done.stderr) == (0, "")
    best = max(range(12), key=lambda n: float(vector_of(f"职位 {n}\nmore") @ vector_of("会Python的工程师")))
    rows = [line for line in done.stdout.splitlines() if "job-" in line]
    assert len(rows) == 12
    assert f"job-{best} " in rows[0]
    assert f"职位 {best}" in rows[0]


def test_match_the_other_way_as_json(server, files):
    arguments = ("match", "--job", files / "job.json", "--resumes", files / "jobs.jsonl", "--top-k", "3", "--json")
    done = run(*arguments, "--address", server.address)
    results = json.loads(done.stdout)["results"]
    assert [row["rank"] for row in results] == [1, 2, 3]
    assert results[0]["score"] >= results[1]["score"] >= results[2]["score"]
    assert "职位" in done.stdout


def test_inline_json_and_failed_documents(server, files):
    with (files / "jobs.jsonl").open("a") as jobs:
        jobs.write(json.dumps({"id": "broken", "text": BAD_TEXT}) + "\n")
    arguments = ("match", "--resume-json", '{"text": "x"}', "--jobs", files / "jobs.jsonl", "--address", server.address)
    done = run(*arguments)
    assert done.returncode == 0
    assert "documents[12].text: it is bad" in done.stdout
    assert done.stderr == "rolecall-client: 1 of 13 documents failed\n"


@pytest.mark.parametrize("name", ["out.npy", "out"])
def test_embed_writes_npy(server, files, name):
    (files / "t.txt").write_text("one\n二\n", encoding="utf-8")
    done = run("embed", "--input", files / "t.txt", "--output", files / name, "--address", server.address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{files / 'out.npy'}: 2 embeddings")
    vectors = np.load(files / "out.npy")
    assert (vectors.dtype, vectors.shape) == (np.float32, (2, DIMENSIONS))
    np.testing.assert_array_equal(vectors, [vector_of("one"), vector_of("二")])


def test_embed_names_the_line_that_failed_and_writes_nothing(server, files):
    (files / "t.txt").write_text(f"one\n{BAD_TEXT}\n")
    out = files / "out.npy"
    done = run("embed", "--input", files / "t.txt", "--output", out, "--address", server.address)
    assert "t.txt:2: " in one_line_of(done)
    assert not out.exists()


def test_info_and_health(server):
    done = run("info", "--address", server.address)
    assert "max_documents" in done.stdout
    assert "made-up" in done.stdout
    assert run("health", "--address", server.address).returncode == 0
    server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    done = run("health", "--address", server.address)
    assert (done.returncode, done.stdout) == (1, "not_serving\n")


def test_health_waits_for_a_server_that_is_starting(server):
    server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    started = threading.Timer(1.0, server.health.set, ("", health_pb2.HealthCheckResponse.SERVING))
    started.start()
    done = run("health", "--wait", "30", "--address", server.address)
    started.join()
    assert (done.returncode, done.stdout) == (0, "serving\n")


def test_health_says_that_it_waited_in_vain():
    done = run("health", "--wait", "0.5", "--address", NOBODY)
    assert one_line_of(done).endswith("the server did not serve within 0.5 s: it could not be reached\n")


@pytest.mark.parametrize("command", [("info",), ("health",)])
def test_server_down(command):
    line = one_line_of(run(*command, "--address", NOBODY))
    assert f"no server answers at {NOBODY}: Connection refused" in line


def test_deadline(server, files):
    server.behaviour.delay = 2.0
    arguments = ("match", "--resume", files / "resume.txt", "--jobs", files / "jobs.jsonl", "--timeout", "0.5")
    assert "no answer within 0.5 s" in one_line_of(run(*arguments, "--address", server.address))


@pytest.mark.parametrize(
    ("resume", "jobs", "said"),
    [
        ("absent.txt", "jobs.jsonl", "absent.txt: No such file"),
        ("resume.txt", "broken.jsonl", "broken.jsonl:2: not JSON"),
    ],
)
def test_bad_files(files, resume, jobs, said):
    (files / "broken.jsonl").write_text('{"text": "x"}\n{"text": \n')
    done = run("match", "--resume", resume, "--jobs", jobs, "--address", NOBODY, cwd=files)
    assert said in one_line_of(done)


def test_wrong_usage(files):
    done = run("match", "--resume", files / "resume.txt", "--resumes", files / "jobs.jsonl")
    assert done.returncode == 2
    assert "--jobs FILE.jsonl goes with a resume" in done.stderr


def test_demo_judges_the_ranking(server):
    done = run("demo", "--examples", ROOT / "examples", "--address", server.address)
    assert done.returncode == 1  # made-up embeddings rank at random
    assert "resume_zh.txt: the best 3 should all be software jobs" in done.stdout.replace("\n", " ")


def test_generate_prints_the_text(server):
    done = run("generate", "写 a text", "--address", server.address)
    assert (done.returncode, done.stdout) == (0, "写 A TEXT\n")
    assert done.stderr == "rolecall-client: the prompt is too long: of it 2 tokens were left out\n"


def test_generate_streams_the_same_text(server):
    done = run("generate", "写 a text", "--stream", "--address", server.address)
    assert (done.returncode, done.stdout) == (0, "写 A TEXT\n")


def test_generate_as_json_with_every_option(server):
    numbers = ("--max-new-tokens", 9, "--num-beams", 2, "--num-return-sequences", 2, "--seed", 7, "--top-p", 0.5)
    words = ("--sample", "--stop", "x", "--stop", "-", "--early-stopping", "never", "--json")
    done = run("generate", "a", *numbers, *words, "--address", server.address)
    found = json.loads(done.stdout)
    assert [candidate["text"] for candidate in found["candidates"]] == ["A", "A"]
    assert (found["candidates"][0]["finish_reason"], found["seed"]) == ("eos", 7)
    (request,) = server.behaviour.requests
    decoding = request.decoding
    assert (decoding.max_new_tokens, decoding.num_beams, decoding.seed, decoding.top_p) == (9, 2, 7, 0.5)
    assert (list(decoding.stop), decoding.do_sample) == (["x", "-"], True)
    assert not decoding.HasField("temperature")


def test_a_seed_that_was_drawn_is_told(server):
    done = run("generate", "a", "--sample", "--address", server.address)
    assert "--seed 77" in done.stderr


def test_control_characters_of_a_text_do_not_steer_the_terminal(server):
    for flags in ((), ("--stream",)):
        done = run("generate", "a\x1b[2Jb\nc", *flags, "--address", server.address)
        assert done.stdout == "A[2JB\nC\n"


@pytest.mark.parametrize("flags", [("--num-beams", "-1"), ("--seed", 2**64), ("--top-p", "x"), ("--stream", "--json")])
def test_generate_with_wrong_usage(server, flags):
    done = run("generate", "a", *flags, "--address", server.address)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--num-beams", "two"), "--num-beams: 'two' is not a whole number"),
        (("--top-p", "half"), "--top-p: 'half' is not a number"),
        (("--timeout", "soon"), "--timeout: 'soon' is not a number"),
        (("--timeout", "-1"), "--timeout: -1 is not between 0 and 86400"),
    ],
)
def test_what_is_no_number_is_said_in_words(server, flags, complaint):
    done = run("generate", "a", *flags, "--address", server.address)
    assert done.stderr.endswith(f"error: argument {complaint}\n")


def test_a_text_that_breaks_off_leaves_the_error_a_line_of_its_own(server):
    server.behaviour.cut_after.append(2)
    done = run("generate", "a b c d", "--stream", "--address", server.address)
    assert done.returncode == 1
    assert done.stdout == "A B\n"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [(), ("--stream",)])
def test_a_reader_that_leaves_is_no_fault_of_ours(server, flags):
    command = [sys.executable, "-m", "rolecall_client.cli", "generate", "a", *flags, "--address", server.address]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_generate_from_standard_input(server):
    command = [sys.executable, "-m", "rolecall_client.cli", "generate", "-", "--address", server.address]
    for given, expected, status in (("写 a".encode(), "写 A\n".encode(), 0), (b"\xff\xfe", b"", 1)):
        done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (status, expected)
        assert done.stderr.count(b"\n") == 1
