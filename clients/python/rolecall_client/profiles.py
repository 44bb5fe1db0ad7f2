"""From what callers have (text, mappings, messages, vectors) to Profile messages."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from rolecall.v1 import types_pb2

from rolecall_client.errors import invalid

ProfileLike: TypeAlias = str | Mapping[str, Any] | types_pb2.Profile | NDArray[Any]
"""A text; a mapping in proto3-JSON form of Profile; a Profile; or a ready embedding, shape [dimensions]."""


def to_profile(value: ProfileLike, field: str) -> types_pb2.Profile:
    """The message for `value`. `field` names it in errors, for example `documents[3]`.

    Raises InvalidArgumentError for what has the right type and can't be a Profile, TypeError for anything else.
    """
    match value:
        case types_pb2.Profile():
            return value
        case str():
            try:
                return types_pb2.Profile(text=value)
            except ValueError as error:  # a lone surrogate has no UTF-8 form
                raise invalid(f"{field}.text", str(error)) from error
        case np.ndarray():
            if value.ndim != 1:
                raise invalid(f"{field}.embedding", f"expected one dimension, not the shape {value.shape}")
            return types_pb2.Profile(embedding=np.ascontiguousarray(value, dtype="<f4").tobytes())
        case Mapping():
            try:
                return json_format.ParseDict(dict(value), types_pb2.Profile())
            except (json_format.ParseError, ValueError) as error:
                raise invalid(field, str(error)) from error
    raise TypeError(f"{field}: expected a text, a mapping, a Profile or an array, not {type(value).__name__}")
