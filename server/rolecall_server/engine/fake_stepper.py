"""A stepper without a model. It repeats its source, then ends; what it says depends on the source and on every token
before, so a cache that is forked, dropped or overwritten wrongly shows in the text."""

import random
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rolecall_server.engine.fake_tokenizer import END_TOKEN_ID, PAD_TOKEN_ID, SPECIAL_TOKENS, VOCABULARY_SIZE
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import TOP, Need, StepInput, StepOutput, StepperInfo
from rolecall_server.types import TokenIds

LEAD = 8.0
"""By how much the logit of the most likely token leads that of any other at least."""

_NOISE = np.random.default_rng(0).random((1021, VOCABULARY_SIZE), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeGeneration:
    """How a fake generator behaves. Times in seconds, rates between 0 and 1.

    max_source_tokens, max_new_tokens: tokens are bytes. max_width: see StepperInfo. wander: at such a share of the
    places another token comes than the source has. fail_prefill_rate, fail_decode_rate, die_rate: such a share of the
    calls fails, or ends its thread, by numbers drawn from `seed`. fail_on_token: so does each prefill with this id in
    it. nonfinite_on_token: a source with it gives numbers that are not finite.
    """

    seconds_per_step: float = 0.0
    seconds_per_row: float = 0.0
    seconds_per_prefill: float = 0.0
    seconds_per_source_token: float = 0.0
    max_source_tokens: int = 2048
    max_new_tokens: int = 512
    max_width: int = 8
    wander: float = 0.0
    fail_prefill_rate: float = 0.0
    fail_decode_rate: float = 0.0
    die_rate: float = 0.0
    fail_on_token: int | None = None
    nonfinite_on_token: int | None = None
    seed: int = 0

    def info(self, rows: int) -> StepperInfo:
        """Of a stepper of so many rows."""
        return StepperInfo(
            rows=rows,
            max_source_tokens=self.max_source_tokens,
            max_new_tokens=self.max_new_tokens,
            max_width=self.max_width,
            vocabulary=VOCABULARY_SIZE,
            start_token_id=PAD_TOKEN_ID,
            eos_token_id=END_TOKEN_ID,
            pad_token_id=PAD_TOKEN_ID,
        )


@dataclass(slots=True)
class _Row:
    """content: the tokens to repeat. written: what is in the cache. digests[i]: of the source and written[:i]."""

    content: list[int]
    broken: bool
    written: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)

    def copy(self) -> "_Row":
        return _Row(self.content, self.broken, list(self.written), list(self.digests))

    def write(self, tokens: Sequence[int], position: int) -> None:
        if position > len(self.written):
            raise EngineError(f"position {position} leaves a hole in a cache of {len(self.written)} tokens")
        del self.written[position:], self.digests[position + 1 :]
        for token in tokens:
            self.written.append(token)
            self.digests.append(zlib.crc32(token.to_bytes(8, "little"), self.digests[-1]))


class FakeStepper:
    """Implements Stepper. sleep: replaced in tests that count time themselves."""

    def __init__(
        self,
        behaviour: FakeGeneration,
        rows: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        seed: int = 0,
    ) -> None:
        """seed: added to the behaviour's, so that several steppers don't fail at the same calls."""
        self._behaviour = behaviour
        self._info = behaviour.info(rows)
        self._sleep = sleep
        self._random = random.Random(f"{behaviour.seed} {seed}")
        self._rows: list[_Row] = []

    @property
    def info(self) -> StepperInfo:
        return self._info

    @property
    def rows(self) -> int:
        return len(self._rows)

    def prefill(self, sources: Sequence[TokenIds]) -> None:
        behaviour = self._behaviour
        if not sources or len(self._rows) + len(sources) > self._info.rows:
            raise EngineError(f"{len(sources)} sources for {self._info.rows - len(self._rows)} free rows")
        padded = len(sources) * max(len(source) for source in sources)
        self._spend(behaviour.seconds_per_prefill + behaviour.seconds_per_source_token * padded)
        self._maybe_fail(behaviour.fail_prefill_rate, "prefill")
        rows = [self._read(source) for source in sources]
        self._rows.extend(rows)

    def decode(self, step: StepInput) -> StepOutput:
        behaviour = self._behaviour
        width = step.tokens.shape[1]
        if len(step.tokens) != len(self._rows) or not 1 <= width <= self._info.max_width:
            raise EngineError(f"a step of shape {step.tokens.shape} for {len(self._rows)} rows")
        self._spend(behaviour.seconds_per_step + behaviour.seconds_per_row * len(self._rows))
        self._maybe_fail(behaviour.fail_decode_rate, "decode")
        if behaviour.die_rate and self._random.random() < behaviour.die_rate:
            raise SystemExit("the fake stepper was told to die")
        for row, tokens, position in zip(self._rows, step.tokens.tolist(), step.positions.tolist(), strict=True):
            row.write(tokens, position)
        best = np.array([[self._best(row, at) for at in _last(row, width)] for row in self._rows], dtype=np.int64)
        if step.need is Need.BEST:
            return StepOutput(best)
        logits = np.stack([self._logits(row, width) for row in self._rows])
        return _with_logits(best, logits, step.need)

    def keep(self, rows: Sequence[int]) -> None:
        if len(rows) > self._info.rows:
            raise EngineError(f"{len(rows)} rows; there is room for {self._info.rows}")
        seen: set[int] = set()
        kept = []
        for index in rows:
            kept.append(self._rows[index].copy() if index in seen else self._rows[index])
            seen.add(index)
        self._rows = kept

    def _read(self, source: TokenIds) -> _Row:
        behaviour = self._behaviour
        if not 1 <= len(source) <= self._info.max_source_tokens:
            raise EngineError(f"a source of {len(source)} tokens; at most {self._info.max_source_tokens} are taken")
        if behaviour.fail_on_token is not None and behaviour.fail_on_token in source:
            raise EngineError(f"the fake stepper was told to fail on token {behaviour.fail_on_token}")
        broken = behaviour.nonfinite_on_token is not None and behaviour.nonfinite_on_token in source
        content = [token for token in source.tolist() if token >= len(SPECIAL_TOKENS)]
        row = _Row(content, broken)
        row.digests.append(zlib.crc32(np.asarray(content, dtype="<i8").tobytes()))
        return row

    def _best(self, row: _Row, at: int) -> int:
        """What comes after written[at]: that many tokens of the output are there, as the first one was the start."""
        if row.broken:
            return -1
        if at >= len(row.content):
            return self._info.eos_token_id
        wander = self._behaviour.wander
        if wander and row.digests[at + 1] % 1024 < wander * 1024:
            return len(SPECIAL_TOKENS) + row.digests[at + 1] % (VOCABULARY_SIZE - len(SPECIAL_TOKENS))
        return row.content[at]

    def _logits(self, row: _Row, width: int) -> NDArray[np.float32]:
        """[width, vocabulary]: noise between 0 and 1 by what was written, and the best one ahead of all."""
        if row.broken:
            return np.full((width, VOCABULARY_SIZE), np.nan, dtype=np.float32)
        places = _last(row, width)
        logits = _NOISE[[row.digests[at + 1] % len(_NOISE) for at in places]]
        logits[np.arange(width), [self._best(row, at) for at in places]] += LEAD
        return logits

    def _spend(self, seconds: float) -> None:
        if seconds:
            self._sleep(seconds)

    def _maybe_fail(self, rate: float, call: str) -> None:
        if rate and self._random.random() < rate:
            raise EngineError(f"the fake stepper was told that {call} fails at times")


def _last(row: _Row, width: int) -> range:
    """Where the last `width` written tokens stand."""
    return range(len(row.written) - width, len(row.written))


def _with_logits(best: NDArray[np.int64], logits: NDArray[np.float32], need: Need) -> StepOutput:
    order = np.argsort(-logits, axis=-1, kind="stable")[..., :TOP]
    highest = logits.max(axis=-1, keepdims=True)
    return StepOutput(
        best,
        top_ids=order.astype(np.int64),
        top_logits=np.take_along_axis(logits, order, axis=-1),
        log_sum_exp=(highest + np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True)))[..., 0],
        logits=logits if need is Need.LOGITS else None,
    )
