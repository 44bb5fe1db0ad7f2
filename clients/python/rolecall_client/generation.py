"""Texts written by the server's generator: what callers ask for, the messages made of it, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

import grpc
from rolecall.v1 import generation_pb2

from rolecall_client.errors import RolecallError, make_error
from rolecall_client.requests import PRIORITIES, TRUNCATIONS, Priority, choice
from rolecall_client.results import ModelStamp, Timing

PromptTruncation: TypeAlias = Literal["truncate", "reject"]
EarlyStopping: TypeAlias = Literal["false", "true", "never"]

_EARLY_STOPPINGS = {
    "false": generation_pb2.EARLY_STOPPING_FALSE,
    "true": generation_pb2.EARLY_STOPPING_TRUE,
    "never": generation_pb2.EARLY_STOPPING_NEVER,
}

COUNTS = {
    "max_new_tokens": 2**32,
    "min_new_tokens": 2**32,
    "num_beams": 2**32,
    "no_repeat_ngram_size": 2**32,
    "top_k": 2**32,
    "seed": 2**64,
    "num_return_sequences": 2**32,
}
"""Whole numbers from 0, and what each must be less than to be sent at all; the server is stricter."""


class GenerateOptions(TypedDict, total=False):
    """The optional fields of GenerateQuery, as keyword arguments of `generate` and `generate_stream`."""

    max_new_tokens: int | None
    min_new_tokens: int | None
    num_beams: int | None
    early_stopping: EarlyStopping
    length_penalty: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    do_sample: bool
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None
    num_return_sequences: int | None
    stop: Sequence[str]
    truncation: PromptTruncation
    priority: Priority
    model: str
    model_version: str
    request_id: str


@dataclass(frozen=True, slots=True)
class GenerateQuery:
    """One generation. None leaves a choice to the server, whose defaults are those of transformers' GenerationConfig.

    max_new_tokens counts the end-of-sequence token: transformers' max_length=100 is 99 here. truncation: of a prompt
    longer than the model reads. model and model_version: empty for the default generator and its newest version.
    request_id: made up where empty.
    """

    prompt: str
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    num_beams: int | None = None
    early_stopping: EarlyStopping = "false"
    length_penalty: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    num_return_sequences: int | None = None
    stop: Sequence[str] = ()
    truncation: PromptTruncation = "truncate"
    priority: Priority = "interactive"
    model: str = ""
    model_version: str = ""
    request_id: str = ""

    def to_message(self) -> generation_pb2.GenerateRequest:
        return generation_pb2.GenerateRequest(**self._fields())

    def to_stream_message(self) -> generation_pb2.GenerateStreamRequest:
        return generation_pb2.GenerateStreamRequest(**self._fields())

    def _fields(self) -> dict[str, Any]:
        if isinstance(self.stop, str):
            raise TypeError("stop: expected a sequence of texts, not a single one")
        return {
            "prompt": generation_pb2.FreeText(text=self.prompt),
            "decoding": self._decoding(),
            "truncation": choice("truncation", self.truncation, TRUNCATIONS),
            "priority": choice("priority", self.priority, PRIORITIES),
            "model": self.model,
            "model_version": self.model_version,
            "request_id": self.request_id,
        }

    def _decoding(self) -> generation_pb2.Decoding:
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < COUNTS[name]:
                raise ValueError(f"{name}: {value} is out of range")
        return generation_pb2.Decoding(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            num_beams=self.num_beams,
            early_stopping=choice("early_stopping", self.early_stopping, _EARLY_STOPPINGS),
            length_penalty=self.length_penalty,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            do_sample=self.do_sample,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            num_return_sequences=self.num_return_sequences,
            stop=self.stop,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text. score: with beams, the higher the better; else 0. finish_reason: `eos` (the model ended it), `length`,
    `stop` or `cancelled`. token_count: the end-of-sequence token included."""

    text: str
    score: float
    finish_reason: str
    token_count: int


@dataclass(frozen=True, slots=True)
class GenerateUsage:
    """Tokens that the model read, those of the prompt that it did not, and those that it wrote, over all candidates."""

    prompt_tokens: int = 0
    truncated_tokens: int = 0
    generated_tokens: int = 0

    @classmethod
    def from_message(cls, message: generation_pb2.GenerateUsage) -> GenerateUsage:
        return cls(message.prompt_tokens, message.truncated_tokens, message.generated_tokens)


@dataclass(frozen=True, slots=True)
class Generation:
    """candidates: best first, at least one. seed: what sampling started from, for the same text again; else None."""

    request_id: str
    candidates: tuple[Candidate, ...]
    usage: GenerateUsage
    model: ModelStamp
    timing: Timing
    seed: int | None = None

    @property
    def text(self) -> str:
        """The best one."""
        return self.candidates[0].text

    @classmethod
    def from_message(cls, message: generation_pb2.GenerateResponse) -> Generation:
        candidates = tuple(
            Candidate(one.text, one.score, _reason(one.finish_reason), one.token_count) for one in message.candidates
        )
        if not candidates:
            raise make_error(grpc.StatusCode.INTERNAL, "the server's answer holds no text")
        return _generation(message, candidates)


def _generation(
    message: generation_pb2.GenerateResponse | generation_pb2.GenerateStreamResponse, candidates: tuple[Candidate, ...]
) -> Generation:
    return Generation(
        request_id=message.request_id,
        candidates=candidates,
        usage=GenerateUsage.from_message(message.usage),
        model=ModelStamp.from_message(message.model),
        timing=Timing.from_messages([message.timing]),
        seed=message.seed if message.HasField("seed") else None,
    )


def _reason(number: generation_pb2.FinishReason) -> str:
    """A reason that this client does not know comes as its number."""
    if number not in generation_pb2.FinishReason.values():
        return str(number)
    return generation_pb2.FinishReason.Name(number).removeprefix("FINISH_REASON_").lower()


class TextBook:
    """The bookkeeping of one stream: takes its messages, gives the text of each, and at the end what there is to say of
    the whole. Does no IO."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._result: Generation | None = None
        self.begun = False

    def take(self, message: generation_pb2.GenerateStreamResponse) -> str:
        """The text that a message adds."""
        self.begun = True
        if message.delta:
            self._pieces.append(message.delta)
        if message.finish_reason:
            text = "".join(self._pieces)
            reason = _reason(message.finish_reason)
            candidate = Candidate(text, message.score, reason, message.usage.generated_tokens)
            self._result = _generation(message, (candidate,))
        return message.delta

    @property
    def ended(self) -> bool:
        return self._result is not None

    @property
    def result(self) -> Generation:
        """The whole; RuntimeError before its end."""
        if self._result is None:
            raise RuntimeError("the text has not come to its end")
        return self._result


def cut_short() -> RolecallError:
    """For a stream that ended without its last message."""
    return make_error(grpc.StatusCode.UNAVAILABLE, "the server ended the stream before the text was complete")
