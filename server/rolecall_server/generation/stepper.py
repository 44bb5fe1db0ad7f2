"""The seam between decoding and whatever runs the decoder: a batch of rows, advanced step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rolecall_server.types import TokenIds

TOP = 64
"""Candidates of a row that a step gives in order; beam search needs twice its beams, sampling its top_k."""


class Need(IntEnum):
    """What the choice of a row's next token needs of a step; more includes less."""

    BEST = 0
    """The most likely token."""
    TOP = 1
    """The TOP most likely ones with their logits, and the log-sum-exp over all."""
    LOGITS = 2
    """All logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepperInfo:
    """Facts about a stepper and its model.

    rows: the most at a time. max_source_tokens, max_new_tokens: of one row. max_width: the most tokens of a row that
    one step takes; 1 where drafts can't be verified. vocabulary: logits of a row. row_bytes: memory of the caches of a
    row whose source and output are as long as they may be.
    """

    rows: int
    max_source_tokens: int
    max_new_tokens: int
    max_width: int
    vocabulary: int
    start_token_id: int
    eos_token_id: int
    pad_token_id: int
    row_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StepInput:
    """One step for all rows that the stepper holds.

    tokens: int64 [rows, width]; row i's next tokens, the first one certain and the others drafted, padded at the right
    with any id. positions: int64 [rows]; the tokens that are in row i's cache already, so the position of tokens[i, 0].
    What a step wrote beyond what was accepted is overwritten by the next.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    need: Need


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What follows each token of a step. Arrays are valid until the next call of the stepper.

    best: int64 [rows, width]; of equal logits the lowest id, -1 where the logits are no numbers. top_ids: int64,
    top_logits: float32, [rows, width, K] in falling order, K at most TOP, and log_sum_exp: float32 [rows, width] from
    Need.TOP on. logits: float32 [rows, width, vocabulary] with Need.LOGITS.
    """

    best: NDArray[np.int64]
    top_ids: NDArray[np.int64] | None = None
    top_logits: NDArray[np.float32] | None = None
    log_sum_exp: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None


class Stepper(Protocol):
    """Holds the caches of up to `info.rows` rows, numbered from 0 without gaps. Not thread-safe.

    A row's results depend on that row alone: not on other rows, their number, or the row's place. Any call may raise
    EngineError; after one from `decode` or `keep` the rows are lost, and `keep([])` starts anew.
    """

    @property
    def info(self) -> StepperInfo: ...

    @property
    def rows(self) -> int:
        """How many there are now."""

    def prefill(self, sources: Sequence[TokenIds]) -> None:
        """Encode 1 to N sources; each becomes a new row after those there are. On an error there are none of them."""

    def decode(self, step: StepInput) -> StepOutput:
        """Advance all rows by one step."""

    def keep(self, rows: Sequence[int]) -> None:
        """Row i becomes what rows[i] was: drops, reorders and copies rows. Those that stay in their place cost
        nothing, so who drops a row fills its place with the last one."""
