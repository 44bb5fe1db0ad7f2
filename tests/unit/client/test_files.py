"""Files of profiles: what is read, and the one line that says what is wrong."""

import json

import pytest
from rolecall_client.files import BadFileError, read_profile, read_profiles, read_texts


def test_text_and_json(tmp_path):
    (tmp_path / "r.txt").write_bytes("\ufeff具有5年经验\nPython\n".encode())
    assert read_profile(tmp_path / "r.txt").text == "具有5年经验\nPython"
    (tmp_path / "r.json").write_text(json.dumps({"id": "r", "resume": {"yearsExperience": 5}}, indent=2))
    assert read_profile(tmp_path / "r.json").resume.years_experience == 5.0


def test_jsonl_with_blank_lines_and_odd_separators(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"id":"a","text":"one\u2028two"}\r\n\n{"id":"b","job":{"title":"护士"}}', encoding="utf-8")
    items = read_profiles(path)
    assert [(item.profile.id, item.place) for item in items] == [("a", f"{path}:1"), ("b", f"{path}:3")]
    assert items[0].profile.text == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[" * 100_000, "nested|recursion"),
        ("9" * 5000, "not JSON that can be read"),
        ("[]", "expected a JSON object"),
        ('{"job": {"titel": "x"}}', "not a Profile: .*titel"),
        ('{"text": "\\ud800"}', "not a Profile: "),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(BadFileError, match=reason) as caught:
        read_profiles(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named_by_line(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"text": "fine"}\n{"text": "' + "简历".encode("gbk") + b'"}\n')
    with pytest.raises(BadFileError, match=r"jobs\.jsonl:2: not UTF-8"):
        read_profiles(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("r.txt", " \n", "empty"), ("r.pdf", "x", "ends in .txt"), ("missing.txt", None, "No such file")],
)
def test_a_bad_file_is_named(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadFileError, match=f"{name}: .*{reason}"):
        read_profile(tmp_path / name)


def test_texts_to_embed_are_lines_and_none_is_blank(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("one\ntwo\n")
    assert [item.profile.text for item in read_texts(path)] == ["one", "two"]
    path.write_text("one\n\nthree\n")
    with pytest.raises(BadFileError, match=r"t\.txt:2: the line is blank"):
        read_texts(path)
