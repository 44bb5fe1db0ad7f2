"""The tokenizer of the exported encoder: 250,000 pieces, a normaliser that folds and collapses, real prefixes."""

import json
from functools import cache
from pathlib import Path

import pytest
import tokenizers
from rolecall_server.text.tokenizer import TextTooLong, Tokenizer, Windows
from rolecall_server.types import TextKind, Truncation

from tests.requirements import require_model

EXAMPLES = Path(__file__).parents[2] / "examples"
MIXED = "Dr. Smith leads the ward（護理部）. 👩‍👩‍👧 ＡＢＣ①½ ﷺ  مرحبا بالعالم\r\n• e\u0301 naïve\u200b\n"


@cache
def loaded() -> tuple[Tokenizer, tokenizers.Tokenizer, dict[str, str], int]:
    """Ours, the library's own on the same file, the prefixes, and the window."""
    artifact = require_model("encoder")
    window = artifact.info.max_tokens
    reference = tokenizers.Tokenizer.from_file(str(artifact.tokenizer))
    ours = Tokenizer.load(artifact.tokenizer, max_tokens=window, prefixes=artifact.prefixes)
    return ours, reference, dict(artifact.prefixes), window


def encode(text: str, kind: TextKind, truncation: Truncation = Truncation.CHUNK) -> Windows:
    (result,) = loaded()[0].encode([text], kind=kind, truncation=truncation)
    assert isinstance(result, Windows)
    return result


def example_texts() -> list[str]:
    files = [EXAMPLES / "jobs_en.jsonl", EXAMPLES / "jobs_zh.jsonl"]
    lines = [line for path in files for line in path.read_text(encoding="utf8").splitlines()]
    jobs = [json.loads(line)["job"] for line in lines]
    resumes = [(EXAMPLES / f"resume_{language}.txt").read_text(encoding="utf8") for language in ("en", "zh")]
    return [f"{job['title']}\n{job['description']}" for job in jobs] + resumes + [MIXED]


@pytest.mark.parametrize("kind", TextKind)
def test_a_text_of_one_window_is_what_the_model_was_trained_on(kind: TextKind) -> None:
    _, reference, prefixes, _ = loaded()
    for text in example_texts():
        assert [window.tolist() for window in encode(text, kind).windows] == [
            reference.encode(prefixes[kind.value] + text).ids
        ]


def test_long_texts_lose_nothing_and_each_window_begins_like_a_text() -> None:
    _, reference, prefixes, window = loaded()
    for unit in (*example_texts()[::8], MIXED):
        text = " ".join([unit] * (6 * window // len(unit) + 8))
        whole = reference.encode(prefixes["document"] + text).ids
        windows = encode(text, TextKind.DOCUMENT)
        assert len(windows.windows) > 1
        own = sum(windows.weights)
        before = whole[: len(whole) - 1 - own]
        assert all(ids[: len(before)].tolist() == before for ids in windows.windows)
        assert [t for ids in windows.windows for t in ids[len(before) : -1].tolist()] == whole[len(before) : -1]
        assert max(map(len, windows.windows)) <= window
        assert min(windows.weights) * 3 >= max(windows.weights), "no window is a stump"


def test_truncated_and_rejected() -> None:
    ours, reference, prefixes, window = loaded()
    text = "负责公司后端服务的设计与开发。" * 200
    whole = reference.encode(prefixes["query"] + text).ids
    cut = encode(text, TextKind.QUERY, Truncation.TRUNCATE)
    assert cut.windows[0].tolist() == [*whole[: window - 1], whole[-1]]
    assert cut.truncated_tokens == len(whole) - window
    (refused,) = ours.encode([text], kind=TextKind.QUERY, truncation=Truncation.REJECT)
    assert refused == TextTooLong(tokens=len(whole), max_tokens=window)


@pytest.mark.parametrize("unit", ["The nurse works nights. ", "按时完成纳税申报。", "中", "👩‍👩‍👧", "a", "\u0301"])
def test_a_million_characters(unit: str) -> None:
    _, _, _, window = loaded()
    windows = encode((unit * 1_000_000)[:1_000_000], TextKind.DOCUMENT)
    assert max(map(len, windows.windows)) <= window
    assert min(windows.weights) >= window // 2
