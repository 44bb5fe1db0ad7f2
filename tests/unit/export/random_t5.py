"""Tiny random T5 checkpoints of every member of the family, as transformers writes them."""

from pathlib import Path
from typing import Any

from tests.requirements import require_module

SIZES = {
    "vocab_size": 400,
    "d_model": 32,
    "d_kv": 6,
    "num_heads": 3,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "t5"},
    "t5-v1.1": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": {"model_type": "mt5"},
    "umt5": {"model_type": "umt5", "tie_word_embeddings": False},
    "byt5": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 4},
    "silu": {"model_type": "t5", "feed_forward_proj": "gated-silu", "num_decoder_layers": 1},
    "gelu": {"model_type": "t5", "feed_forward_proj": "gelu", "num_layers": 1, "relative_attention_num_buckets": 8},
}
"""`d_kv * num_heads` is not `d_model`, and the stacks differ in depth."""


def write_t5(folder: Path, family: str, *, dtype: str = "float32", shards: str = "5GB", **sizes: Any) -> Any:
    """Write a random model into `folder`, without a tokenizer; returns it in float32, as it reads its own file."""
    torch = require_module("torch")
    transformers = require_module("transformers")
    settings = SIZES | FAMILIES[family] | sizes
    config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shards)
    return model.float().eval()


def write_byte_tokenizer(folder: Path) -> None:
    """ByT5's own: a class without any file."""
    require_module("transformers").ByT5Tokenizer(extra_ids=0, additional_special_tokens=[]).save_pretrained(folder)
