"""The subcommand `rolecall-client generate`."""

import argparse
import json
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from rolecall_client.client import Client
from rolecall_client.errors import RolecallError
from rolecall_client.files import BadFileError
from rolecall_client.generation import COUNTS, GenerateOptions, Generation

_NUMBERS = {
    "max_new_tokens": "tokens at most, the end of the text included",
    "min_new_tokens": "tokens at least",
    "num_beams": "beam search with so many beams",
    "length_penalty": "of beam search",
    "repetition_penalty": "above 1 against repetition",
    "no_repeat_ngram_size": "no so many tokens twice",
    "temperature": "of --sample",
    "top_k": "of --sample: choose among so many tokens, 0 for all",
    "top_p": "of --sample: choose among the tokens that have so much of the probability",
    "seed": "of --sample: the same seed, the same text",
    "num_return_sequences": "so many texts",
}


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Arguments and `run`. What is out of range, the server says."""
    parser.add_argument("prompt", help="the text to go on from; - for standard input")
    parser.add_argument("--stream", action="store_true", help="print the text as it grows")
    for name, text in _NUMBERS.items():
        kind = partial(count, COUNTS[name]) if name in COUNTS else number
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    parser.add_argument("--sample", action="store_true", help="draw tokens at random, by their probabilities")
    parser.add_argument("--early-stopping", choices=("false", "true", "never"), default="false", help="of beam search")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before it; repeatable")
    parser.add_argument("--truncation", choices=("truncate", "reject"), default="truncate", help="of a long prompt")
    parser.add_argument("--model", default="", help="instead of the server's default generator")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the text")
    parser.set_defaults(run=_generate, usage_error=parser.error)


def count(limit: int, text: str) -> int:
    """A whole number from 0, less than `limit`."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not 0 <= value < limit:
        raise argparse.ArgumentTypeError(f"{value} is out of range")
    return value


def number(text: str) -> float:
    """A number, finite or not: the server says which it takes."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def printable(text: str) -> str:
    """The text without the control characters that could steer a terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _generate(client: Client, args: argparse.Namespace) -> int:
    if args.stream and args.json:
        args.usage_error("--stream and --json exclude each other")
    prompt = _prompt(args.prompt)
    options = _options(args)
    if args.stream:
        with client.generate_stream(prompt, timeout=args.timeout, **options) as stream:
            _print_pieces(stream)
            generation = stream.result
    else:
        generation = client.generate(prompt, timeout=args.timeout, **options)
        if args.json:
            print(json.dumps(_as_json(generation), ensure_ascii=False, indent=2))
        else:
            print("\n".join(printable(candidate.text) for candidate in generation.candidates))
    _warn(generation, args)
    return 0


def _print_pieces(stream: Iterable[str]) -> None:
    """Each as it comes. What has begun ends its line, also where an error follows."""
    begun = False
    try:
        for piece in stream:
            begun = True
            print(printable(piece), end="", flush=True)
    except RolecallError:
        if begun:
            print(flush=True)
        raise
    print()


def _prompt(given: str) -> str:
    try:
        prompt = sys.stdin.read() if given == "-" else given
        prompt.encode()  # an argument that is not UTF-8 comes with lone surrogates
    except UnicodeError as error:
        raise BadFileError("the prompt is not UTF-8") from error
    return prompt


def _options(args: argparse.Namespace) -> GenerateOptions:
    options: Any = {name: getattr(args, name) for name in _NUMBERS}
    for name in ("early_stopping", "stop", "truncation", "model"):
        options[name] = getattr(args, name)
    options["do_sample"] = args.sample
    made: GenerateOptions = options
    return made


def _warn(generation: Generation, args: argparse.Namespace) -> None:
    usage = generation.usage
    if usage.truncated_tokens:
        line = f"the prompt is too long: of it {usage.truncated_tokens} tokens were left out"
        print(f"rolecall-client: {line}", file=sys.stderr)
    if generation.seed is not None and args.seed is None:
        print(f"rolecall-client: the same again with --seed {generation.seed}", file=sys.stderr)


def _as_json(generation: Generation) -> dict[str, Any]:
    model = generation.model
    return {
        "request_id": generation.request_id,
        "model": {"name": model.name, "version": model.version, "precision": model.precision},
        "candidates": [
            {
                "text": candidate.text,
                "score": candidate.score,
                "finish_reason": candidate.finish_reason,
                "token_count": candidate.token_count,
            }
            for candidate in generation.candidates
        ],
        "usage": {name: getattr(generation.usage, name) for name in generation.usage.__dataclass_fields__},
        "seed": generation.seed,
    }
