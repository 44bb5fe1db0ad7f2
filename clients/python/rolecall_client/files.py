"""Profiles from files, for the command line. Whatever is wrong with a file is one readable line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rolecall.v1 import types_pb2

from rolecall_client.errors import InvalidArgumentError
from rolecall_client.profiles import to_profile


class BadFileError(Exception):
    """Names the file, and the line where it is one line's fault."""


@dataclass(frozen=True, slots=True)
class Item:
    """A profile and where it stands: `jobs.jsonl:3`."""

    profile: types_pb2.Profile
    place: str


def read_profile(path: Path) -> types_pb2.Profile:
    """One profile: a .txt file is its text, a .json file its proto3-JSON form."""
    match path.suffix.lower():
        case ".txt":
            text = _read(path).strip()
            if not text:
                raise BadFileError(f"{path}: the file is empty")
            return types_pb2.Profile(text=text)
        case ".json":
            return parse_profile(_read(path), str(path))
    raise BadFileError(f"{path}: expected a name that ends in .txt (text) or .json (a Profile)")


def read_profiles(path: Path) -> list[Item]:
    """Many profiles: each line of a .jsonl file is one in proto3-JSON form. Blank lines are skipped."""
    items = [Item(parse_profile(line, place), place) for place, line in _lines(path) if line.strip()]
    if not items:
        raise BadFileError(f"{path}: no profile in it")
    return items


def read_texts(path: Path) -> list[Item]:
    """What to embed: each line of a .txt file is a text; .jsonl as in `read_profiles`."""
    if path.suffix.lower() != ".txt":
        return read_profiles(path)
    items = [Item(types_pb2.Profile(text=line), place) for place, line in _lines(path)]
    # Skipping a blank line would shift the rows against the lines.
    blank = next((item.place for item in items if not item.profile.text.strip()), None)
    if blank is not None:
        raise BadFileError(f"{blank}: the line is blank")
    if not items:
        raise BadFileError(f"{path}: no text in it")
    return items


def parse_profile(text: str, place: str) -> types_pb2.Profile:
    """A Profile from its proto3-JSON form. place: where the text stands, for errors."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
        raise BadFileError(f"{place}: not JSON: {error.msg} at {at}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets nested as deeply
        raise BadFileError(f"{place}: not JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise BadFileError(f"{place}: expected a JSON object, a Profile")
    try:
        return to_profile(value, "profile")
    except InvalidArgumentError as error:
        reason = " ".join(error.violations[0].description.split())
        raise BadFileError(f"{place}: not a Profile: {reason}") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and content of each line. Only newlines end a line: JSON strings may hold other separators."""
    lines = _read(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return ((f"{path}:{number}", line.removesuffix("\r")) for number, line in enumerate(lines, start=1))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadFileError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadFileError(f"{path}:{line}: not UTF-8") from error
