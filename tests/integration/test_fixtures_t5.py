"""What the trained checkpoints must be for parity on them to mean something: neither degenerate nor chaotic."""

import pytest

from tests import fixtures_t5

COUNT = 200
MAX_NEW_TOKENS = 99


@pytest.mark.slow
@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_texts_vary_and_do_not_depend_on_rounding(name: fixtures_t5.Name) -> None:
    folder = fixtures_t5.checkpoint(name)
    rows = fixtures_t5.encode(folder, fixtures_t5.sources(COUNT))

    single = fixtures_t5.generate(fixtures_t5.load(folder), rows)
    double = fixtures_t5.generate(fixtures_t5.load(folder, double=True), rows)

    assert sum(a == b for a, b in zip(single, double, strict=True)) >= 0.99 * COUNT
    assert len(set(single)) >= 0.8 * COUNT
    assert len({token for row in single for token in row}) >= 100
    assert sum(row[-1] == fixtures_t5.EOS for row in single) >= 0.9 * COUNT
    lengths = [len(row) for row in single]
    assert len(set(lengths)) >= 20
    assert max(lengths) >= 4 * min(lengths)


@pytest.mark.slow
@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_beams_find_other_texts_than_greedy_does(name: fixtures_t5.Name) -> None:
    folder = fixtures_t5.checkpoint(name)
    rows = fixtures_t5.encode(folder, fixtures_t5.sources(40))
    model = fixtures_t5.load(folder)

    beams = fixtures_t5.generate(model, rows, num_beams=4, early_stopping=True, max_new_tokens=MAX_NEW_TOKENS)

    assert beams != fixtures_t5.generate(model, rows)


def test_the_tokenizer_writes_what_it_read() -> None:
    from tokenizers import Tokenizer

    folder = fixtures_t5.checkpoint("plain")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    for text in ("héllo 龘 😀 the team", "我在成都担任护士。", *fixtures_t5.sources(20)):
        ids = tokenizer.encode(text).ids
        assert ids[-1] == fixtures_t5.EOS
        assert fixtures_t5.UNK not in ids
        assert tokenizer.decode(ids) == tokenizer.normalizer.normalize_str(text)
