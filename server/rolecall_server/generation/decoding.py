"""What a request may ask of decoding: its limits, and the check that names the first field to break one."""

from rolecall_server.errors import InvalidInputError
from rolecall_server.generation.stepper import StepperInfo
from rolecall_server.generation.types import Decoding

MAX_BEAMS = 8
MAX_RETURN_SEQUENCES = 8
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 100.0
MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY = 0.01, 10.0
"""Nearer to 0, a division by either leaves float32."""
MAX_LENGTH_PENALTY = 5.0
"""Either sign. Beyond it, length ** length_penalty leaves nothing of the log-probabilities."""
MAX_SEED = 2**64 - 1
MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256
LONGEST_PIECE = 16
"""Characters of the longest token: SentencePiece's own limit, `max_sentencepiece_length`, where nobody raised it."""


def check(
    decoding: Decoding, info: StepperInfo, *, field: str = "decoding", longest_piece: int = LONGEST_PIECE
) -> None:
    """Raise InvalidInputError, with the path of the field below `field`, for what can't be or makes no sense.

    Numbers are judged whether the rest of the request uses them or not; options that merely have no effect, such as
    `length_penalty` without beams, pass, as they do in transformers. longest_piece: characters of the tokenizer's
    longest token; a stop string that is longer than all tokens together can make can't come.
    """
    _check_lengths(decoding, info, field)
    _check_sampling(decoding, info, field)
    _check_sequences(decoding, info, field)
    _check_penalties(decoding, info, field)
    _check_stop(decoding, field, longest_piece)


def _check_lengths(decoding: Decoding, info: StepperInfo, field: str) -> None:
    _within(f"{field}.max_new_tokens", decoding.max_new_tokens, 1, info.max_new_tokens)
    if decoding.min_new_tokens > decoding.max_new_tokens:
        raise InvalidInputError(f"{field}.min_new_tokens", f"is above max_new_tokens, {decoding.max_new_tokens}")
    _within(f"{field}.min_new_tokens", decoding.min_new_tokens, 0, info.max_new_tokens)


def _check_sequences(decoding: Decoding, info: StepperInfo, field: str) -> None:
    # Below twice as many tokens as beams, a step has not the candidates that beam search chooses from.
    beams = min(MAX_BEAMS, info.rows, max(1, info.vocabulary // 2))
    _within(f"{field}.num_beams", decoding.num_beams, 1, beams)
    _within(f"{field}.num_return_sequences", decoding.num_return_sequences, 1, min(MAX_RETURN_SEQUENCES, info.rows))
    if decoding.num_beams > 1:
        if decoding.do_sample:
            raise InvalidInputError(f"{field}.do_sample", "sampling with num_beams above 1 is not supported")
        if decoding.num_return_sequences > decoding.num_beams:
            raise InvalidInputError(f"{field}.num_return_sequences", "is above num_beams")
    elif decoding.num_return_sequences > 1 and not decoding.do_sample:
        raise InvalidInputError(
            f"{field}.num_return_sequences", "greedy decoding has one result; more need num_beams or do_sample"
        )


def _check_sampling(decoding: Decoding, info: StepperInfo, field: str) -> None:
    _within(f"{field}.temperature", decoding.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)
    # The default may be more than a tiny vocabulary has; then it limits nothing.
    _within(f"{field}.top_k", decoding.top_k, 0, max(info.vocabulary, Decoding().top_k))
    if not 0.0 < decoding.top_p <= 1.0:
        raise InvalidInputError(f"{field}.top_p", "must be above 0 and at most 1")
    _within(f"{field}.seed", decoding.seed, 0, MAX_SEED)


def _check_penalties(decoding: Decoding, info: StepperInfo, field: str) -> None:
    penalty = decoding.repetition_penalty
    _within(f"{field}.repetition_penalty", penalty, MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY)
    _within(f"{field}.no_repeat_ngram_size", decoding.no_repeat_ngram_size, 0, info.max_new_tokens)
    _within(f"{field}.length_penalty", decoding.length_penalty, -MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY)


def _check_stop(decoding: Decoding, field: str, longest_piece: int) -> None:
    if len(decoding.stop) > MAX_STOP_STRINGS:
        raise InvalidInputError(f"{field}.stop", f"has more than {MAX_STOP_STRINGS} strings")
    output = decoding.max_new_tokens * longest_piece
    for index, text in enumerate(decoding.stop):
        name = f"{field}.stop[{index}]"
        if not text:
            raise InvalidInputError(name, "is empty")
        if len(text) > MAX_STOP_CHARACTERS:
            raise InvalidInputError(name, f"has more than {MAX_STOP_CHARACTERS} characters")
        if len(text) > output:
            raise InvalidInputError(name, f"is longer than {decoding.max_new_tokens} new tokens can be")


def _within(field: str, value: float, least: float, most: float) -> None:
    # NaN compares false, so it is refused.
    if not least <= value <= most:
        raise InvalidInputError(field, f"must be from {least} to {most}")
