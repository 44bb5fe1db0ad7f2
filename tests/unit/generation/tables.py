"""A language model in a table, for tests of decoding: the same numbers as a Stepper and as a transformers model."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rolecall_server.generation.choice import RowScores
from rolecall_server.generation.stepper import TOP, Need, StepperInfo

START, EOS = 0, 1


class Table:
    """Logits that depend on the last three tokens. `eos` is added to the logit of the end, so that it comes often."""

    def __init__(self, seed: int, *, vocabulary: int = 30, eos: float = 0.0, spread: float = 2.0) -> None:
        random = np.random.default_rng(seed)
        self._parts = random.normal(0.0, spread, (3, vocabulary, vocabulary)).astype(np.float32)
        self._parts[:, :, EOS] += eos / 3
        self.vocabulary = vocabulary

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """[vocabulary], after `tokens`, which begin with the start token."""
        last = [*tokens[::-1], START, START][:3]
        return self._parts[0, last[0]] + self._parts[1, last[1]] * 0.5 + self._parts[2, last[2]] * 0.25

    def scores(self, tokens: Sequence[int]) -> RowScores:
        """What a stepper would give after a row's new tokens."""
        return scores_of(self.logits([START, *tokens]))

    def info(self, *, rows: int = 16, max_new_tokens: int = 64) -> StepperInfo:
        return info(self.vocabulary, rows=rows, max_new_tokens=max_new_tokens)


def info(vocabulary: int, *, rows: int = 16, max_new_tokens: int = 64) -> StepperInfo:
    return StepperInfo(
        rows=rows,
        max_source_tokens=64,
        max_new_tokens=max_new_tokens,
        max_width=8,
        vocabulary=vocabulary,
        start_token_id=START,
        eos_token_id=EOS,
        pad_token_id=START,
    )


def scores_of(logits: NDArray[np.float32]) -> RowScores:
    """Everything that a step can say about these logits."""
    order = np.argsort(-logits, kind="stable")[:TOP]
    highest = logits.max()
    return RowScores(
        best=int(order[0]),
        top_ids=order,
        top_logits=logits[order],
        log_sum_exp=float(highest + np.log(np.exp(logits - highest).sum(dtype=np.float32))),
        logits=logits,
    )


def as_transformers(table: Table, torch: ModuleType, transformers: ModuleType) -> Any:
    """The table as a model with `generate`; its prompt is the start token, as the decoder's of an encoder-decoder."""

    class TableModel(transformers.PreTrainedModel, transformers.GenerationMixin):  # type: ignore[misc, name-defined]
        config_class = transformers.PretrainedConfig

        def __init__(self) -> None:
            config = transformers.PretrainedConfig(
                vocab_size=table.vocabulary, pad_token_id=START, eos_token_id=EOS, bos_token_id=START
            )
            super().__init__(config)
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids}

        def forward(self, input_ids: Any, **_: Any) -> Any:
            rows = np.stack([table.logits(row) for row in input_ids.tolist()])
            return transformers.modeling_outputs.CausalLMOutput(logits=torch.from_numpy(rows)[:, None])

    return TableModel().eval()


def only(scores: RowScores, need: Need) -> RowScores:
    """The scores of a stepper that gives what it was asked for, and no more."""
    return RowScores(
        best=scores.best,
        top_ids=scores.top_ids if need >= Need.TOP else None,
        top_logits=scores.top_logits if need >= Need.TOP else None,
        log_sum_exp=scores.log_sum_exp if need >= Need.TOP else 0.0,
        logits=scores.logits if need >= Need.LOGITS else None,
    )
