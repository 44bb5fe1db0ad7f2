"""What lowers or bans tokens by what a row holds already: repetition_penalty, no_repeat_ngram_size, min_new_tokens.

Order and meaning are those of transformers' LogitsProcessor classes for an encoder-decoder model: they see the
decoder's tokens, the start token included. Nothing is kept between steps, so beams fork at no cost.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rolecall_server.generation.stepper import TOP, Need, StepperInfo
from rolecall_server.generation.types import Decoding

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]


class Processors:
    """The processors of one request. `tokens` are a row's new tokens, without the start token."""

    def __init__(self, decoding: Decoding, info: StepperInfo) -> None:
        self._penalty = decoding.repetition_penalty
        self._ngram = decoding.no_repeat_ngram_size
        self._least = decoding.min_new_tokens
        self._info = info

    @property
    def idle(self) -> bool:
        """Whether they never change a score."""
        return self._penalty == 1.0 and self._ngram == 0 and self._least == 0

    def need(self, tokens: Sequence[int], wanted: int) -> Need:
        """What a step has to give for the `wanted` best tokens after processing to be exact.

        If at most TOP - wanted tokens can fall, `wanted` of the TOP best keep their score, and what the step left out
        has none above theirs. A penalty below 1 lifts tokens from anywhere, so it takes all logits.
        """
        if self._info.vocabulary <= TOP:
            return Need.TOP
        if self._penalty < 1.0:
            return Need.LOGITS
        falling = set(self._banned(tokens))
        if self._penalty > 1.0:
            falling.update(tokens)
            falling.add(self._info.start_token_id)
        return Need.TOP if len(falling) + wanted <= TOP else Need.LOGITS

    def changes(self, tokens: Sequence[int]) -> bool:
        """Whether they may change a score of the next token."""
        return self._penalty != 1.0 or self._ngram > 0 or len(tokens) < self._least

    def apply(self, scores: Scores, ids: Ids | None, tokens: Sequence[int]) -> Scores:
        """Changed scores of the tokens `ids` (of all of the vocabulary, if None); of their shape, a banned one -inf.

        scores: logits, with beams log-probabilities; not written to. Where the whole vocabulary is banned, the
        sequence ends (transformers goes on with token 0).
        """
        if not self.changes(tokens):
            return scores
        scores = scores.copy()
        if self._penalty != 1.0:
            at = _places([self._info.start_token_id, *tokens], ids)
            part, penalty = scores[at], np.float32(self._penalty)
            scores[at] = np.where(part < 0, part * penalty, part / penalty)
        banned = self._banned(tokens)
        if banned:
            scores[_places(banned, ids)] = -np.inf
            if scores.max() == -np.inf:
                scores[_places([self._info.eos_token_id], ids)] = 0.0
        return scores

    def _banned(self, tokens: Sequence[int]) -> list[int]:
        banned = [self._info.eos_token_id] if len(tokens) < self._least else []
        if self._ngram:
            banned.extend(_repeats([self._info.start_token_id, *tokens], self._ngram))
        return banned


def _places(tokens: list[int], ids: Ids | None) -> list[int]:
    """Where among `ids` these tokens are; in the vocabulary, if None. Repeated ones may be repeated."""
    if ids is None:
        return tokens
    wanted = set(tokens)
    return [place for place, token in enumerate(ids.tolist()) if token in wanted]


def _repeats(tokens: list[int], size: int) -> list[int]:
    """The tokens that followed the last `size` - 1 tokens wherever these came before."""
    if len(tokens) < size:
        return []
    if size == 1:
        return tokens
    last, ending = tokens[-1], tokens[1 - size :]
    return [
        tokens[at + 1]
        for at in range(size - 2, len(tokens) - 1)
        if tokens[at] == last and tokens[at + 2 - size : at + 1] == ending
    ]
