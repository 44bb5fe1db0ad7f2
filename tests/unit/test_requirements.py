"""What is missing is skipped with one line, and a failure where everything is required."""

import json
from pathlib import Path

import pytest

from tests.requirements import require_module, require_program


@pytest.mark.parametrize("need", [lambda: require_module("no_such_module"), lambda: require_program("no-such-program")])
def test_what_is_missing_is_skipped_or_fails(need, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ROLECALL_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^needs the .* no.such.\w+"):
        need()
    monkeypatch.setenv("ROLECALL_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="forbids to skip"):
        need()


def test_what_is_there_is_given():
    assert require_module("json") is json
    assert Path(require_program("sh")).is_file()


def test_a_module_that_is_there_but_broken_is_no_reason_to_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_module.py").write_text("import a_module_that_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_it_needs"):
        require_module("broken_module")
