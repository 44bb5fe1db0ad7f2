"""Checks of single fields, with the path of the field in every error."""

import math
import re
from collections.abc import Mapping
from typing import TypeVar

from rolecall_server.errors import InvalidInputError

ValueT = TypeVar("ValueT")

MAX_ID_BYTES = 256
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,8}")


def check_id(value: str, path: str) -> str:
    """An id, name or version as given; InvalidInputError where it is longer than 256 bytes."""
    if len(value) * 4 > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES:
        raise InvalidInputError(path, f"is longer than {MAX_ID_BYTES} bytes")
    return value


def echoed(identifier: str) -> str:
    """An id as answers repeat it: whole, unless it is too long anyway and could make the answer too large to send."""
    return identifier[:MAX_ID_BYTES]


def check_language(tag: str, path: str) -> str:
    """A BCP-47 tag as given, or nothing; InvalidInputError for what is none."""
    if tag and not _LANGUAGE.fullmatch(tag):
        raise InvalidInputError(path, 'is not a BCP-47 tag such as "en" or "zh-Hans"')
    return tag


def check_chars(chars: int, path: str, max_text_chars: int) -> None:
    if chars > max_text_chars:
        raise InvalidInputError(path, f"is longer than {max_text_chars} characters")


def check_amount(value: float, path: str) -> float:
    """A number of years or of money: finite and not negative."""
    if not math.isfinite(value) or value < 0:
        raise InvalidInputError(path, "is not a finite number of at least 0")
    return value


def known(number: int, meanings: Mapping[int, ValueT], path: str) -> ValueT:
    """The meaning of an enum's number; InvalidInputError for a number that this server does not know."""
    try:
        return meanings[number]
    except KeyError:
        raise InvalidInputError(path, f"is {number}, a value that this server does not know") from None
