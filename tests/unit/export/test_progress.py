"""Plain lines where nobody looks, bars on a terminal."""

import io

from rich.console import Console
from rolecall_export.progress import Reporter


def test_without_a_terminal_a_step_is_one_plain_line():
    output = io.StringIO()
    with Reporter(Console(file=output)).step("download [x]", 100) as advance:
        advance(50)
        assert output.getvalue() == ""
    assert output.getvalue().startswith("download [x]: ")
    assert output.getvalue().count("\n") == 1
    assert "\x1b" not in output.getvalue()


def test_on_a_terminal_a_step_is_a_bar():
    output = io.StringIO()
    with Reporter(Console(file=output, force_terminal=True, width=100)).step("download [x]", 100) as advance:
        advance(100)
    assert "download [x]" in output.getvalue()
    assert "━" in output.getvalue()


def test_long_lines_are_not_wrapped():
    output = io.StringIO()
    Reporter(Console(file=output, width=20)).line("[bold] " + "word " * 40)
    assert output.getvalue() == "[bold] " + "word " * 40 + "\n"
