"""What a generation is asked for and what comes of it. Standard library and numpy only: Triton runs this too."""

from dataclasses import dataclass
from enum import Enum

from rolecall_server.errors import RolecallError
from rolecall_server.types import Priority, TokenIds


class EarlyStopping(Enum):
    """When beam search ends once `num_beams` hypotheses are complete, as in transformers' GenerationConfig."""

    FALSE = "false"
    """When it is unlikely that a better one comes: judged by the present length."""
    TRUE = "true"
    """At once."""
    NEVER = "never"
    """When no better one can come: judged, for a positive length_penalty, by the greatest length."""


class FinishReason(Enum):
    EOS = "eos"
    LENGTH = "length"
    STOP = "stop"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are chosen. Meanings and defaults are those of transformers' GenerationConfig.

    max_new_tokens counts the end-of-sequence token; its `max_length=100` is 99 here. top_k: 0 for no limit.
    seed: of this request's own random numbers.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    num_beams: int = 1
    early_stopping: EarlyStopping = EarlyStopping.FALSE
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int = 0
    num_return_sequences: int = 1
    stop: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the batch that the request holds while it runs."""
        return max(self.num_beams, self.num_return_sequences)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One source and how to decode it. `id` is unique among the requests of an engine.

    source: with the end-of-sequence token. deadline and arrived: seconds of `time.monotonic`. streams: whether text is
    wanted while it grows; with more than one row it comes with the end.
    """

    id: int
    source: TokenIds
    decoding: Decoding
    priority: Priority
    arrived: float
    deadline: float
    streams: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One finished text. token_ids: without the start token, with the end-of-sequence token where it came.

    score: sum of the log-probabilities divided by length ** length_penalty with beams; without beams, 0.0.
    """

    token_ids: tuple[int, ...]
    text: str
    score: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """Of one request, in seconds since it arrived and in counts. steps: decoder steps it took part in. batch_size: the
    most rows of a step among them. drafted, accepted: tokens proposed from the source, and those that held."""

    queue_seconds: float
    first_token_seconds: float
    total_seconds: float
    steps: int = 0
    batch_size: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of a request that streams: valid UTF-8, never part of a stop string. `tokens` stand behind it."""

    request_id: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The one terminal answer of a request that ran to its end; best hypothesis first."""

    request_id: int
    hypotheses: tuple[Hypothesis, ...]
    stats: GenerationStats


@dataclass(frozen=True, slots=True)
class Failed:
    """The one terminal answer of a request that did not."""

    request_id: int
    error: RolecallError


Event = Delta | Finished | Failed
