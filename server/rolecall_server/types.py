"""Domain types that several components share, and the Observer they report to. Standard library and numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int64]
"""Token ids of one sequence, shape [length], special tokens included, no padding."""

Vector = NDArray[np.float32]
"""One embedding, shape [dimensions], of unit length."""


class Priority(IntEnum):
    """Smaller is served first."""

    INTERACTIVE = 0
    BULK = 1


class TextKind(Enum):
    """Which side of a match a text is on; some encoders put another prefix before each."""

    QUERY = "query"
    DOCUMENT = "document"


class Truncation(Enum):
    """What to do with a text longer than the model's window."""

    CHUNK = "chunk"
    TRUNCATE = "truncate"
    REJECT = "reject"


class Metric(Enum):
    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


@dataclass(frozen=True, slots=True, order=True)
class ModelKey:
    """One version of one model; `version` is the name of its folder, a decimal number."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the manifest of a model version says of it.

    family: `encoder`, or that of a generator, such as `t5`. max_tokens: of a window, or of a generator's source.
    max_new_tokens: of a generator's output; 0 for an encoder.
    """

    key: ModelKey
    precision: str
    weights_hash: str
    source: str
    licence: str
    max_tokens: int
    dimensions: int
    languages: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    family: str = "encoder"
    max_new_tokens: int = 0

    @property
    def generates(self) -> bool:
        """Whether it is a generator."""
        return self.max_new_tokens > 0


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What travels with a request: its id, its deadline (seconds of `time.monotonic`), its priority."""

    request_id: str
    deadline: float
    priority: Priority = Priority.INTERACTIVE


@dataclass(slots=True)
class Timing:
    """Where a request's time went, in seconds; the meaning of each field is that of the contract's Timing."""

    tokenize_seconds: float = 0.0
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0
    padded_tokens: int = 0

    def include_batch(
        self, *, queue_seconds: float, inference_seconds: float, batch_size: int, padded_tokens: int
    ) -> None:
        """Take in the batch that one of the request's sequences ran in."""
        self.queue_seconds = max(self.queue_seconds, queue_seconds)
        self.inference_seconds = max(self.inference_seconds, inference_seconds)
        if padded_tokens > self.padded_tokens:
            self.batch_size, self.padded_tokens = batch_size, padded_tokens


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """input_tokens reached the model over all windows; truncated_tokens of the text did not."""

    input_tokens: int = 0
    truncated_tokens: int = 0
    chunks: int = 0


BatchTrigger = Literal["full", "delay", "idle"]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch as it ran. Seconds; `tokens` without padding, `padded_tokens` with it."""

    model: ModelKey
    size: int
    tokens: int
    padded_tokens: int
    trigger: BatchTrigger
    inference_seconds: float
    queue_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a request of some tokens would find: all tokens queued, the seconds until it would be done by the average
    rate, and those that its last batch may run on the top of it."""

    queued_tokens: int
    wait_seconds: float
    batch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationReport:
    """What a generator did in one or a few decoder steps. Times in seconds.

    tokens: new ones of all rows. queue_seconds: waits of the requests that joined. first_token_seconds: of those that
    gave their first token, since they arrived. inter_token_seconds: for each running request and step, the time since
    the step before. drafted, accepted: tokens proposed from the sources, and those of them that held.
    """

    model: ModelKey
    tokens: int
    queue_seconds: tuple[float, ...]
    first_token_seconds: tuple[float, ...]
    inter_token_seconds: tuple[float, ...]
    drafted: int
    accepted: int


class Observer(Protocol):
    """Hears what components do; implemented with a metrics library at the edge, with a list in tests."""

    def on_queue(self, model: str, priority: Priority, *, size: int, tokens: int) -> None:
        """The queue of a model changed; sizes are those after the change, `tokens` over all priorities."""

    def on_batch(self, report: BatchReport) -> None: ...

    def on_tokenized(self, seconds: float, *, truncated_inputs: int) -> None: ...

    def on_shed(self, reason: str) -> None:
        """A request was refused or dropped before it ran; `reason` is one of a few fixed words."""

    def on_cancelled(self, stage: str) -> None:
        """Work of a client that went away was dropped in `queue` or finished for nothing in `running`."""

    def on_cache(self, *, hits: int, misses: int) -> None: ...

    def on_evicted(self, count: int) -> None: ...

    def on_scores(self, scores: NDArray[np.float32]) -> None: ...

    def on_nonfinite(self, count: int) -> None: ...

    def on_generation(self, report: GenerationReport) -> None: ...

    def on_running(self, change: int) -> None:
        """So many rows more, or fewer, take part in decoder steps."""

    def on_model(self, info: ModelInfo, *, provider: str, fallback_nodes: int, loaded: bool) -> None: ...
