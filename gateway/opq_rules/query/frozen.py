"""State as JSON: what JSON has no form for is an object with one key that no column has."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any

import numpy as np

_MARK = "\0kind"


def frozen(value: Any) -> Any:
    """JSON alone: bytes, datetimes and arrays of samples are marked; tuples become lists."""
    kind = type(value)
    if kind is dict:
        return {key: frozen(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(each) for each in value]
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
    if kind == "bytes":
        return b64decode(value["base64"])
    if kind == "datetime":
        return datetime.fromisoformat(value["iso"])
    if kind == "array":
        data = np.frombuffer(b64decode(value["base64"]), value["dtype"])
        return data.reshape(value["shape"]).copy()
    return {key: thawed(each) for key, each in value.items()}
