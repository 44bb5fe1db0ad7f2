"""A T5 that copies: the part of its source before a mark, then the end. The same small model in the shape of t5-small.

Copying needs an induction head: an encoder head that looks one token back, and a cross-attention head that looks for
the token just written among those predecessors (Olsson et al., "In-context Learning and Induction Heads", 2022). It is
found late in training, so the weights start near one and a brief training does the rest: beginning, end, confidence.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rolecall_load.bench.generation.training import Pair, Schedule, seeded, train
from rolecall_load.bench.generation.widen import SMALL_VOCABULARY, widen

PAD, EOS, UNK, COPY, MARK = range(5)
FIRST_WORD = 16
WORDS = SMALL_VOCABULARY - FIRST_WORD
LONGEST_SOURCE, LONGEST_COPY = 400, 120
_SCHEDULE = Schedule(steps=220, batch=16, rate=1e-3)
_IDENTITY = 64
"""Dimensions of the residual stream that hold a token; as many more hold the one before it."""
_SHARPNESS = 0.5
_BACK = 15.0


def source_and_copy(words: Sequence[int], copied: int) -> Pair:
    """Token ids: the source that holds these words, of which the first `copied` are to be copied."""
    source = [COPY, *words[:copied], MARK, *words[copied:], EOS]
    return source, [*words[:copied], EOS]


def draw(generator: random.Random, *, source_tokens: int, copied: int) -> list[int]:
    """Different words for a source of that many tokens, or of as many as the copy needs."""
    return generator.sample(range(FIRST_WORD, FIRST_WORD + WORDS), max(source_tokens - 3, copied))


def text_of(source: Sequence[int]) -> str:
    """What the tokenizer reads as this source."""
    pieces = _pieces()
    return " ".join(pieces[token].removeprefix("▁") for token in source if token != EOS)


def make_copier(folder: Path) -> None:
    """Train it and write both shapes in Hugging Face form: `folder`/small and `folder`/t5-small. A minute or two."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent, seeded(0):
        made = Path(parent) / folder.name
        small = _trained()
        for name, model in (("small", small), ("t5-small", widen(small))):
            model.save_pretrained(made / name)
            _write_tokenizer(made / name)
        made.rename(folder)


def _trained() -> Any:
    import transformers

    config = transformers.T5Config(
        vocab_size=SMALL_VOCABULARY,
        d_model=2 * _IDENTITY,
        d_kv=64,
        num_heads=2,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        dropout_rate=0.0,
        decoder_start_token_id=PAD,
    )
    model = transformers.T5ForConditionalGeneration(config)
    # Equal weights, so that the stream can be turned when the model is widened.
    model.decoder.final_layer_norm.weight.requires_grad = False
    _start_near_induction(model)
    train(model, _pair, _SCHEDULE)
    return model


def _pair(generator: random.Random, done: float) -> Pair:
    """Mostly short ones, which are cheap; the long ones teach that others are far more."""
    if generator.random() < 0.7:
        copied, more = generator.randint(2, 40), generator.randint(0, 30)
    else:
        copied = generator.randint(2, LONGEST_COPY)
        more = generator.randint(0, LONGEST_SOURCE - 3 - copied)
    return source_and_copy(draw(generator, source_tokens=copied + more + 3, copied=copied), copied)


def _start_near_induction(model: Any) -> None:
    import torch

    size = _IDENTITY
    identity = torch.eye(size)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o.weight", "wo.weight", "relative_attention_bias.weight")):
                weight.mul_(0.1)
        table = model.shared.weight
        table[:, :size] = torch.randn(table.shape[0], size)
        table[:, size:] = 0.02 * torch.randn(table.shape[0], size)
        table[COPY] = table[PAD]
        table[MARK] = table[EOS] + 0.1 * table[MARK]
        back = model.encoder.block[0].layer[0].SelfAttention
        back.relative_attention_bias.weight[1, 0] = _BACK  # bucket 1 is the token before
        back.q.weight[:size] *= 0.1
        _set(back.v.weight, slice(0, size), slice(0, size), identity / 2**0.5)
        _set(back.o.weight.T, slice(0, size), slice(size, None), identity)
        find = model.decoder.block[-1].layer[1].EncDecAttention
        _set(find.q.weight, slice(0, size), slice(0, size), _SHARPNESS * identity)
        _set(find.k.weight, slice(0, size), slice(size, None), _SHARPNESS * identity)
        _set(find.v.weight, slice(0, size), slice(0, size), identity)
        _set(find.o.weight.T, slice(0, size), slice(0, size), 3.0 * identity)


def _set(weight: Any, rows: slice, columns: slice, value: Any) -> None:
    """These rows are the value in these columns and zero in the others."""
    weight[rows] = 0.0
    weight[rows, columns] = value


def _pieces() -> list[str]:
    """Pieces of the tokenizer by id: specials, marks, and words of two syllables or of two characters."""
    syllables = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    generator = random.Random("words")
    latin = generator.sample([one + two for one in syllables for two in syllables], WORDS)
    han = [chr(0x4E00 + code) for code in range(0, 400, 4)]
    chinese = generator.sample([one + two for one in han for two in han], WORDS)
    words = [(latin, chinese)[number % 4 == 3][number] for number in range(WORDS)]
    unused = [f"<unused{number}>" for number in range(FIRST_WORD - 5)]
    return ["<pad>", "</s>", "<unk>", "▁copy", "▁|", *unused, *(f"▁{word}" for word in words)]


def _write_tokenizer(folder: Path) -> None:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in _pieces()], unk_id=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
