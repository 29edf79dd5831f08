"""What lies in the database: JSON-able values as MessagePack; whole numbers beyond 64 bits as JSON.

A value of a foreign type (a plug-in's) is kept as its text.
"""

import json
from typing import Any

import msgspec

_ENCODE = msgspec.msgpack.Encoder(enc_hook=str).encode
_DECODE = msgspec.msgpack.Decoder().decode
_JSON = b"J"
"""First byte of the JSON form: in MessagePack that is the number 74, which is never packed alone."""


def packed(value: Any) -> bytes:
    """Of JSON, bytes, datetimes."""
    try:
        data = _ENCODE(value)
    except (OverflowError, ValueError):
        return _JSON + json.dumps(value, default=str).encode()
    return data if data != _JSON else b"J74"


def unpacked(data: bytes) -> Any:
    return json.loads(data[1:]) if data[:1] == _JSON else _DECODE(data)
