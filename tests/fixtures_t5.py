"""Small T5 checkpoints with a real tokenizer, trained for half a minute and kept in `.cache/t5`.

Random weights prove nothing about decoding: they fall into a loop, or are so chaotic that float32 and float64 differ.
These have learned to write a heading and the first part of their source, with some words exchanged, in English and in
Chinese; tests/integration/test_fixtures_t5.py says what they are good for. A change of this file trains them anew.
"""

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rolecall_load.bench.generation import training
from rolecall_load.bench.generation.training import Pair, Schedule, seeded, train
from rolecall_load.texts.source import write

from tests.requirements import require_module

Name = Literal["plain", "gated"]
NAMES: tuple[Name, ...] = ("plain", "gated")
PAD, EOS, UNK = 0, 1, 2
MARK = "|"
"""Ends the part of a source that is to be repeated."""

_CACHE = Path(__file__).parents[1] / ".cache" / "t5"
_SCHEDULE = Schedule(steps=800, batch=16, rate=3e-3)
_PIECES = 1100
_BYTES = 256
_HEADINGS = {"en": "In short:", "zh": "简介："}
_EXCHANGED = (
    ("Together with", "Beside"),
    ("You will", "We want you to"),
    ("worked", "been employed"),
    ("工作经验", "资历"),
    ("岗位职责", "任务"),
    ("担任", "作为"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A T5Config and how long to train it; `config` overrides what both checkpoints share."""

    config: dict[str, Any]
    schedule: Schedule


RECIPES: dict[Name, Recipe] = {
    "plain": Recipe(
        config={"d_model": 96, "d_kv": 24, "num_heads": 4, "d_ff": 256, "feed_forward_proj": "relu"},
        schedule=_SCHEDULE,
    ),
    # Heads that are wider together than the model, and an encoder deeper than the decoder: the other way round,
    # transformers 4.57 can't generate, for it takes the depth of its cache from the encoder.
    "gated": Recipe(
        config={
            "d_model": 80,
            "d_kv": 16,
            "num_heads": 6,
            "d_ff": 160,
            "num_layers": 3,
            "num_decoder_layers": 2,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        schedule=_SCHEDULE,
    ),
}


def checkpoint(name: Name) -> Path:
    """The folder of a trained checkpoint in Hugging Face form, tokenizer.json included; trained if it is not there."""
    require_module("torch")
    require_module("transformers")
    key = hashlib.sha256()
    for file in (__file__, training.__file__):
        key.update(Path(file).read_bytes())
    folder = _CACHE / f"{name}-{key.hexdigest()[:12]}"
    if not folder.is_dir():
        _CACHE.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=_CACHE, prefix=f".{name}-"))
        _make(made, RECIPES[name])
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return folder


def sources(count: int, *, seed: int = 1) -> list[str]:
    """Texts to generate from, English and Chinese by turns; those of training have other seeds."""
    generator = random.Random(f"sources {seed}")
    return [_source_and_target(generator, ("en", "zh")[number % 2])[0] for number in range(count)]


def encode(folder: Path, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each text, with the end-of-sequence token."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tuple(each.ids) for each in tokenizer.encode_batch(list(texts))]


def load(folder: Path, *, double: bool = False) -> Any:
    """The transformers model in float32, or in float64."""
    import torch
    import transformers

    model = transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model.double() if double else model


def generate(model: Any, rows: Sequence[Sequence[int]], *, batch: int = 50, **options: Any) -> list[tuple[int, ...]]:
    """What transformers generates for each source, without start token and padding; greedy unless `options` differ."""
    import torch

    settings = {"max_new_tokens": 99, "num_beams": 1, "do_sample": False} | options
    found = []
    for first in range(0, len(rows), batch):
        inputs = training.batch([(row, row) for row in rows[first : first + batch]], PAD)
        del inputs["labels"]
        with torch.inference_mode():
            answers = model.generate(**inputs, **settings)
        found += [_trimmed(answer[1:]) for answer in answers.tolist()]
    return found


def _trimmed(tokens: Sequence[int]) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens)


def _make(folder: Path, recipe: Recipe) -> None:
    import transformers

    tokenizer = _train_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"num_layers": 2, "dropout_rate": 0.0, "vocab_size": tokenizer.get_vocab_size()}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    with seeded(0):
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(**(sizes | ids | recipe.config)))
        train(model, lambda generator, _: _pair(tokenizer, generator), recipe.schedule)
    model.save_pretrained(folder)


def _pair(tokenizer: Any, generator: random.Random) -> Pair:
    source, target = _source_and_target(generator, generator.choice(("en", "zh")))
    return tokenizer.encode(source).ids, tokenizer.encode(target).ids


def _source_and_target(generator: random.Random, language: Literal["en", "zh"]) -> tuple[str, str]:
    side: Literal["resume", "job"] = generator.choice(("resume", "job"))
    size = generator.randint(3, 12) if language == "en" else generator.randint(5, 24)
    rest = generator.randint(2, 6) if language == "en" else generator.randint(3, 10)
    kept = write(language, side, length=size, generator=generator)
    source = f"{kept} {MARK} {write(language, side, length=rest, generator=generator)}"
    for old, new in _EXCHANGED:
        kept = kept.replace(old, new)
    return source, f"{_HEADINGS[language]} {kept}"


def _train_tokenizer() -> Any:
    """Unigram as sentencepiece makes it: specials, a piece for each byte, pieces learned from like texts."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    generator = random.Random("tokenizer")
    texts = [text for number in range(1500) for text in _source_and_target(generator, ("en", "zh")[number % 2])]
    learner = Tokenizer(models.Unigram())
    learner.normalizer = normalizers.NFKC()
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    settings = {"unk_token": "<unk>", "special_tokens": ["<unk>"], "show_progress": False}
    trainer = trainers.UnigramTrainer(vocab_size=_PIECES, **settings)
    learner.train_from_iterator(texts, trainer)
    vocabulary = json.loads(learner.to_str())["model"]["vocab"]
    learned = [(piece, score) for piece, score in vocabulary if piece != "<unk>"]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    worst = min(score for _, score in learned) - 10.0
    raw = [(f"<0x{value:02X}>", worst) for value in range(_BYTES)]
    tokenizer = Tokenizer(models.Unigram([*specials, *raw, *learned], unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    tokenizer.add_special_tokens([piece for piece, _ in specials])
    return tokenizer
