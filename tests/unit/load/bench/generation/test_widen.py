"""A small T5 in the shape of t5-small gives the small one's logits."""

import random

from rolecall_load.bench.generation.copier import PAD, draw, source_and_copy, text_of
from rolecall_load.bench.generation.training import batch, seeded
from rolecall_load.bench.generation.widen import SMALL_VOCABULARY, widen

from tests.requirements import require_module


def test_widening_changes_nothing_but_the_shape() -> None:
    torch = require_module("torch")
    transformers = require_module("transformers")
    sizes = {"d_model": 32, "d_kv": 64, "num_heads": 2, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 1}
    with seeded(1):
        config = transformers.T5Config(**sizes, vocab_size=SMALL_VOCABULARY, decoder_start_token_id=PAD)
        small = transformers.T5ForConditionalGeneration(config).eval()
        with torch.no_grad():
            for name, weight in small.named_parameters():
                if "layer_norm" in name and "decoder.final" not in name:
                    weight.uniform_(0.5, 1.5)
        wide = widen(small)
    generator = random.Random(0)
    pairs = [source_and_copy(draw(generator, source_tokens=size, copied=6), 6) for size in (12, 30)]

    with torch.inference_mode():
        expected, found = (model(**batch(pairs, PAD)).logits for model in (small, wide))

    assert (wide.config.d_model, len(wide.decoder.block), found.shape[-1]) == (512, 6, 32128)
    scale = expected.abs().max()
    assert (found[..., :SMALL_VOCABULARY] - expected).abs().max() < 0.01 * scale
    assert found[..., SMALL_VOCABULARY:].max() < expected.max()


def test_a_source_is_read_back_from_its_text(tmp_path) -> None:
    tokenizers = require_module("tokenizers")
    require_module("transformers")
    from rolecall_load.bench.generation.copier import _write_tokenizer

    _write_tokenizer(tmp_path)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    source, copy = source_and_copy(draw(random.Random(1), source_tokens=60, copied=20), 20)

    assert tokenizer.encode(text_of(source)).ids == source
    assert tokenizer.encode(tokenizer.decode(copy)).ids == copy
