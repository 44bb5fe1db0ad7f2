"""Brief training of small T5 models whose outputs depend on their sources, as those of random weights do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Pair = tuple[Sequence[int], Sequence[int]]
"""Token ids of a source and of what is to come of it, both with the end-of-sequence token."""

_IGNORED = -100  # what transformers' loss leaves out
_CLIP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """steps: of `batch` pairs each. rate: the greatest learning rate, reached after a tenth of the steps."""

    steps: int
    batch: int = 32
    rate: float = 2e-3
    seed: int = 0


def train(model: Any, pair: Callable[[random.Random, float], Pair], schedule: Schedule) -> float:
    """Train a transformers T5ForConditionalGeneration in place; returns the mean loss of the last tenth of the steps.

    pair: draws one, given how much of the schedule is done (0 to 1), so that what it draws may grow harder.
    """
    import torch

    generator = random.Random(schedule.seed)
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.0)
    rising = max(1, schedule.steps // 10)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (schedule.steps - step) / (schedule.steps - rising + 1))
    )
    losses: list[float] = []
    model.train()
    for step in range(schedule.steps):
        done = step / schedule.steps
        loss = model(**batch([pair(generator, done) for _ in range(schedule.batch)], model.config.pad_token_id)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, _CLIP)
        optimizer.step()
        rates.step()
        losses.append(loss.item())
    model.eval()
    last = losses[-rising:]
    return sum(last) / len(last)


def batch(pairs: Sequence[Pair], pad: int) -> dict[str, Any]:
    """input_ids, attention_mask and labels as int64 tensors, padded at the right."""
    import torch

    def rows(values: Sequence[Sequence[int]], fill: int) -> Any:
        width = max(len(each) for each in values)
        return torch.tensor([[*each, *[fill] * (width - len(each))] for each in values])

    sources = [source for source, _ in pairs]
    return {
        "input_ids": rows(sources, pad),
        "attention_mask": rows([[1] * len(source) for source in sources], 0),
        "labels": rows([target for _, target in pairs], _IGNORED),
    }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers and one thread for the time of the block; both are put back afterwards.

    Small matrices gain nothing from more threads, and lose much where other work takes the cores.
    """
    import torch

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(before)
