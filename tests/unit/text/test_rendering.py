import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.profiles import Education, Experience, Job, Resume, Salary
from rolecall_server.text.rendering import clean, is_blank, render

RESUME = Resume(
    headline="Ward nurse",
    summary="Nine years on acute wards.",
    goal="Teach",
    location="Dunedin",
    skills=("IV therapy", "", "  Triage "),
    languages=("English", "Tagalog"),
    experience=(
        Experience("Nurse", "St Aidan's", "Wellington", "2021-03", "", "Stroke unit.", ("NIHSS",)),
        Experience(title="Aide", start="2016", end="2020-12"),
    ),
    education=(Education("BSc", "Nursing", "Lyceum", "2012", "2016", "With honours"),),
    years_experience=9,
)


def test_resume() -> None:
    assert render(RESUME).split("\n") == [
        "Ward nurse",
        "Nine years on acute wards.",
        "Teach",
        "Nurse, St Aidan's, Wellington, 2021-03 -",
        "Stroke unit.",
        "NIHSS",
        "Aide, 2016 - 2020-12",
        "IV therapy, Triage",
        "BSc, Nursing, Lyceum, 2012 - 2016",
        "With honours",
        "English, Tagalog",
        "Dunedin",
    ]


def test_job() -> None:
    job = Job(
        title="总账会计",
        description="制造企业。\x00",
        company="恒榫",
        location="苏州",
        duties=("月末结账", "\u200b", "报税"),
        required_skills=("总账",),
        preferred_skills=("用友",),
        education="本科",
        min_years=3,
        salary=Salary(9000, 13000, "CNY", "month"),
    )
    assert render(job) == "总账会计\n制造企业。\n月末结账\n报税\n总账\n用友\n本科\n恒榫, 苏州"


@pytest.mark.parametrize(
    "nothing", [Job(), Resume(), Job(title=" ", duties=("", "\t")), Resume(years_experience=3), " \n"]
)
def test_nothing_to_read_renders_blank(nothing: Job | Resume | str) -> None:
    assert render(nothing) == ""


@pytest.mark.parametrize(
    "blank",
    ["", " \t\n\u3000\xa0", "\x00\x07\x7f\x85", "\u200b\ufeff\u2060\u200e\u00ad\ufe0f", "\ud800", "\U000e0020\u3164"],
)
def test_blank(blank: str) -> None:
    assert is_blank(blank)


@pytest.mark.parametrize("visible", ["x", ".", "中", "👍", "\u200b1\u200b", "\u0301", "\u0600", "\ue000"])
def test_not_blank(visible: str) -> None:
    assert not is_blank(visible)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("page one\fpage two\vx\x85y\u2028z\u2029w\x1ev", "page one\npage two\nx\ny\nz\nw\nv"),
        ("a\x00b\x07c\x1b[0m\x7f\x9f", "abc[0m"),
        ("tab\tstays ", "tab\tstays"),
        ("lone \ud83d here", "lone  here"),
        ("👩‍👩‍👧 🇨🇳 👍🏽 ❤️", "👩‍👩‍👧 🇨🇳 👍🏽 ❤️"),
        ("\u202bمرحبا\u202c \u200fאב", "\u202bمرحبا\u202c \u200fאב"),
        ("e\u0301 می\u200cخواهم", "e\u0301 می\u200cخواهم"),
        ("ＡＢＣ①½", "ＡＢＣ①½"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text())
def test_clean_removes_controls_only(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert all(unicodedata.category(character) not in {"Cc", "Cs"} for character in cleaned if character not in "\n\t")

    def kept(value: str) -> str:
        return "".join(c for c in value if unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"} and not c.isspace())

    assert kept(cleaned) == kept(text)


@given(st.text())
def test_a_text_that_is_not_blank_leaves_something_to_read(text: str) -> None:
    assert is_blank(text) == is_blank(clean(text))
