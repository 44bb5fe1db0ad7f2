"""Tables: widths, hostile texts, failed documents; and the check of the demonstration."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from rolecall.v1 import types_pb2
from rolecall_client import Match, MatchResult, ModelStamp, Timing
from rolecall_client.demo import Examples, find_faults
from rolecall_client.errors import invalid
from rolecall_client.tables import label_of, one_line, ranking_json, ranking_table


def result_of(*matches: Match) -> MatchResult:
    return MatchResult("r", matches, ModelStamp("m", "1", "cpu-int8", "h"), Timing())


def test_chinese_rows_line_up_with_english_ones():
    documents = [
        types_pb2.Profile(id="zh-software", job=types_pb2.Job(title="高级后端开发工程师" * 8)),
        types_pb2.Profile(id="en-software", text="Backend developer\nPython"),
    ]
    out = io.StringIO()
    result = result_of(Match(0, "zh-software", 0.9), Match(1, "en-software", 0.8))
    Console(file=out, width=70).print(ranking_table("resume", result, documents, width=70))
    rows = out.getvalue().splitlines()[1:]
    assert len({cell_len(row) for row in rows}) == 1
    assert sum("后" in row for row in rows) == 1
    assert any("0.9000" in row and "zh-software" in row for row in rows)
    assert any("0.8000" in row and "en-software" in row and "Backend developer" in row for row in rows)


def test_failed_documents_show_why():
    document = types_pb2.Profile(id="bad")
    failed = Match(0, "bad", float("nan"), error=invalid("documents[0].text", "is empty", index=0))
    out = io.StringIO()
    Console(file=out, width=100).print(ranking_table("t", result_of(failed), [document], width=100))
    assert "documents[0].text: is empty" in out.getvalue()
    row = ranking_json(result_of(failed), [document])["results"][0]
    assert (row["rank"], row["score"], row["error"]["code"]) == (None, None, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("text", "line"),
    [("\n\n  first \x1b[31mline\nsecond", "first [31mline"), ("a\u202eb", "a b"), ("[bold]x", "[bold]x"), ("", "")],
)
def test_one_line_holds_nothing_that_steers_a_terminal(text, line):
    assert one_line(text) == line


def test_labels():
    assert label_of(types_pb2.Profile(resume=types_pb2.Resume(summary="Nurse"))) == "Nurse"
    assert label_of(types_pb2.Profile(embedding=b"1234")) == "(embedding)"


def test_the_demonstration_finds_what_is_wrong():
    ids = [*(f"zh-software-{n}" for n in "abc"), "zh-nurse", *(f"en-software-{n}" for n in "abc"), "en-cook"]
    examples = Examples((), (), tuple(name[:2] for name in ids))
    good = result_of(*(Match(index, name, 0.9 - index / 10) for index, name in enumerate(ids)))
    assert find_faults(good, examples) == []
    nurse_first = replace(good, matches=(good.matches[3], *good.matches[:3], *good.matches[4:]))
    assert [fault.split(" should")[0] for fault in find_faults(nurse_first, examples)] == [
        "the best 3",
        "the best 3 in zh",
    ]
    cook_before = replace(good, matches=(*good.matches[:4], good.matches[7], *good.matches[4:7]))
    assert [fault.split(" should")[0] for fault in find_faults(cook_before, examples)] == ["the best 3 in en"]
