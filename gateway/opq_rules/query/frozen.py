"""State as JSON: what JSON has no form for is an object with one key that no column has."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

_MARK = "\0kind"


_DEEPEST = 100
"""Levels that are walked; what lies deeper goes as JSON text, for Python's stack is short."""


def frozen(value: Any, level: int = 0) -> Any:
    """JSON alone: bytes, datetimes and arrays of samples are marked; tuples become lists."""
    kind = type(value)
    if level > _DEEPEST and isinstance(value, dict | list | tuple):
        return {_MARK: "text", "json": msgspec.json.encode(value).decode()}
    if kind is dict:
        return {key: frozen(each, level + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(each, level + 1) for each in value]
    if kind is bytes:
        return {_MARK: "bytes", "base64": b64encode(value).decode()}
    if isinstance(value, datetime):
        return {_MARK: "datetime", "iso": value.isoformat()}
    if isinstance(value, np.ndarray):
        data = b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_MARK: "array", "dtype": value.dtype.str, "shape": list(value.shape), "base64": data}
    if isinstance(value, np.generic):
        return value.item()
    return value


def thawed(value: Any) -> Any:
    """The inverse; tuples stay lists."""
    if isinstance(value, list):
        return [thawed(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_MARK)
    if kind == "text":
        return msgspec.json.decode(value["json"])
    if kind == "bytes":
        return b64decode(value["base64"])
    if kind == "datetime":
        return datetime.fromisoformat(value["iso"])
    if kind == "array":
        data = np.frombuffer(b64decode(value["base64"]), value["dtype"])
        return data.reshape(value["shape"]).copy()
    return {key: thawed(each) for key, each in value.items()}
