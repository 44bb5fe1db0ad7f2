"""Tokenizers that a T5 checkpoint lacks, against the libraries that define them."""

import json
from pathlib import Path

import pytest
from rolecall_export.errors import ExportError
from rolecall_export.sources.t5_tokenizer import byte_tokenizer, piece_tokenizer, read_tokenizer
from rolecall_export.t5_weights import T5Config
from rolecall_export.verification_set import load
from tokenizers import Tokenizer, models

from tests.requirements import require_module

CONFIG = T5Config(
    vocabulary_size=2000,
    hidden_size=8,
    head_size=4,
    heads=2,
    ffn_size=8,
    encoder_layers=1,
    decoder_layers=1,
    gated=False,
    activation="relu",
    eps=1e-6,
    buckets=32,
    max_distance=128,
    scaled_output=True,
    layer_biases=False,
    pad_token_id=0,
    eos_token_id=1,
    decoder_start_token_id=0,
)
TEXTS = [
    *(text.text for text in load().texts),
    *("", "   ", " leading", "  two  spaces ", "tab\tand\nline", "ｆｕｌｌ ｗｉｄｔｈ", "é e\u0301 ①", "a\u3000b"),
    *("😀 emoji 😀😀", "龘靐齉", "zero\u200bwidth", "\x00\x01ÿ", "简历：张三", "it's -- 100% <b>"),
]


def test_bytes_are_those_of_transformers():
    theirs = require_module("transformers").ByT5Tokenizer()
    ours = byte_tokenizer()
    for text in (*TEXTS, "a </s> b", "<extra_id_0> to <extra_id_124>", "<0x41> <pad>", "<unk> x"):
        ids = ours.encode(text).ids
        assert ids == theirs(text).input_ids, text
        short = ids[:40]  # may end within a character
        assert ours.decode(short).rstrip("\ufffd") == theirs.decode(short, skip_special_tokens=True)


@pytest.fixture(scope="module", params=[False, True], ids=["unknown", "bytes"])
def pieces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model as T5's are, with and without pieces for bytes."""
    library = require_module("sentencepiece")
    folder = tmp_path_factory.mktemp("pieces")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(line for text in load().texts for line in text.text.splitlines() if line.strip()))
    library.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "spiece"),
        vocab_size=1800,
        byte_fallback=request.param,
        character_coverage=0.99,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["[JOB]"],
        minloglevel=2,
    )
    return folder / "spiece.model"


def test_pieces_are_those_of_sentencepiece(pieces: Path):
    theirs = require_module("sentencepiece").SentencePieceProcessor(model_file=str(pieces))
    ours = piece_tokenizer(pieces, extra_ids=0)
    for text in TEXTS:
        assert ours.encode(text).ids == [*theirs.encode(text), 1], text
    if "<0x41>" in ours.get_vocab():
        assert ours.decode(ours.encode("简历 😀 龘").ids) == "简历 😀 龘"
    assert ours.get_vocab_size() == theirs.vocab_size()


def test_sentinels_come_last_and_backwards(pieces: Path):
    tokenizer = piece_tokenizer(pieces)
    size = tokenizer.get_vocab_size()
    assert tokenizer.encode("<extra_id_0> and <extra_id_99>").ids[::3][:1] == [size - 1]
    assert tokenizer.token_to_id("<extra_id_99>") == size - 100
    assert tokenizer.decode([size - 1, 1]) == ""


def test_a_folder_says_which_tokenizer_it_means(pieces: Path, tmp_path: Path):
    def size(settings: dict[str, object] | None = None) -> int:
        if settings is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return Tokenizer.from_str(read_tokenizer(tmp_path, CONFIG)).get_vocab_size()

    with pytest.raises(ExportError, match=r"no tokenizer: none of tokenizer.json"):
        read_tokenizer(tmp_path, CONFIG)
    assert size({"tokenizer_class": "ByT5Tokenizer"}) == 3 + 256 + 125
    (tmp_path / "spiece.model").write_bytes(pieces.read_bytes())
    assert size({}) == 1800 + 100
    assert size({"extra_ids": 0}) == 1800
    assert size({"additional_special_tokens": ["<extra_id_0>", "<other>", {"content": "<extra_id_1>"}]}) == 1800 + 2
    limited = byte_tokenizer(extra_ids=0)
    limited.enable_truncation(4)
    limited.enable_padding(length=9)
    limited.save(str(tmp_path / "tokenizer.json"))
    assert size() == 3 + 256
    assert len(Tokenizer.from_str(read_tokenizer(tmp_path, CONFIG)).encode("a long text").ids) == 12


def test_what_can_t_serve_is_refused(pieces: Path, tmp_path: Path):
    path = tmp_path / "tokenizer.json"

    def error() -> str:
        with pytest.raises(ExportError) as caught:
            read_tokenizer(tmp_path, CONFIG)
        return str(caught.value)

    path.write_text("{}")
    assert error().startswith("tokenizer.json can't be read")
    Tokenizer(models.WordLevel({"a": 5, "</s>": 1}, unk_token="a")).save(str(path))
    assert error() == "the tokenizer does not end texts with the end-of-sequence token 1"
    Tokenizer(models.WordLevel({"a": 2000, "</s>": 1}, unk_token="a")).save(str(path))
    assert error() == "the tokenizer gives ids up to 2000, the model knows 2000"
    Tokenizer(models.BPE()).save(str(path))
    assert error() == "the tokenizer does not end texts with the end-of-sequence token 1"
    path.unlink()
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text("[1]")
    assert error() == "tokenizer_config.json is damaged: not an object"
    for extra in ('"x"', "-1", "1.5"):
        settings.write_text(f'{{"tokenizer_class": "ByT5Tokenizer", "extra_ids": {extra}}}')
        assert error().startswith("tokenizer_config.json is damaged: extra_ids is ")
    settings.unlink()
    spiece = tmp_path / "spiece.model"
    spiece.write_bytes(b"\xff\xff no model")
    assert error().startswith("spiece.model is no SentencePiece model")
    spiece.write_bytes(b"")
    assert error() == "spiece.model is no unigram SentencePiece model"
    spiece.write_bytes(pieces.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert error().startswith("tokenizer_config.json is damaged")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "bpe"}, "no unigram SentencePiece model"),
        ({"remove_extra_whitespaces": False}, "treats spaces in a way"),
        ({"eos_id": -1}, "lacks the piece for the unknown or </s>"),
    ],
)
def test_other_kinds_of_sentencepiece_are_refused(tmp_path: Path, options: dict[str, object], message: str):
    library = require_module("sentencepiece")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one two three four five six\n" * 50)
    library.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "spiece"),
        minloglevel=2,
        **({"vocab_size": 25, "hard_vocab_limit": False} | options),
    )
    with pytest.raises(ExportError, match=message):
        piece_tokenizer(tmp_path / "spiece.model")
