"""What transformers generates in float32: the reference of every T5 export, where torch is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rolecall_export.progress import Advance
from rolecall_export.t5_weights import T5Config

_BATCH_SIZE = 40


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one source: tokens without the start, with the end-of-sequence token where it came.

    margins: by how much each token's logit led the next best one, float32 [tokens]; None where nobody looked.
    """

    tokens: tuple[int, ...]
    margins: npt.NDArray[np.float32] | None = None


def available() -> bool:
    """Whether torch and transformers are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def transformers_greedy(
    folder: Path,
    config: T5Config,
    sources: Sequence[npt.NDArray[np.int64]],
    *,
    max_new_tokens: int,
    advance: Advance,
) -> list[Written]:
    """Greedy texts by transformers of the checkpoint in `folder`, in batches of like length; one advance a source."""
    import torch
    import transformers

    with _quiet():
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ).eval()
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    found: dict[int, Written] = {}
    for start in range(0, len(order), _BATCH_SIZE):
        batch = order[start : start + _BATCH_SIZE]
        found |= dict(zip(batch, _generate(model, config, [sources[i] for i in batch], max_new_tokens), strict=True))
        advance(len(batch))
    return [found[index] for index in range(len(sources))]


def _generate(
    model: Any, config: T5Config, sources: Sequence[npt.NDArray[np.int64]], max_new_tokens: int
) -> list[Written]:
    import torch

    width = max(map(len, sources))
    ids = np.full((len(sources), width), config.pad_token_id, np.int64)
    mask = np.zeros_like(ids)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = source
        mask[row, : len(source)] = 1
    with torch.inference_mode():
        answer = model.generate(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            generation_config=_greedy(config, max_new_tokens),
            past_key_values=_empty_cache(),
            return_dict_in_generate=True,
            output_logits=True,
        )
        best = [torch.topk(step, 2, dim=-1).values for step in answer.logits]
        margins = torch.stack([two[:, 0] - two[:, 1] for two in best], dim=1).numpy()
    rows = answer.sequences[:, 1:].tolist()
    return [_written(row, margins[index], config.eos_token_id) for index, row in enumerate(rows)]


def _greedy(config: T5Config, max_new_tokens: int) -> Any:
    """Plain greedy decoding, whatever the checkpoint's own generation_config.json prefers."""
    import transformers

    return transformers.GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_beams=1,
        do_sample=False,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )


def _empty_cache() -> Any:
    """One that grows: the one transformers makes has as many layers as the encoder, which may be too few."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _written(row: list[int], margins: npt.NDArray[np.float32], end: int) -> Written:
    length = row.index(end) + 1 if end in row else len(row)
    return Written(tuple(row[:length]), margins[:length])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's notes, which say nothing to a user, off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
