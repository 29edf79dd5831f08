"""Digests of texts (as cast to string) and bytes, in lower-case hexadecimal. Source: rules.md, D.5."""

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from opq_rules.functions.arguments import text, want
from opq_rules.functions.registry import Definition, Scalar


def _bytes(value: Any) -> bytes:
    return value if type(value) is bytes else text(value).encode()


def _digest(name: str) -> Callable[[Any], str]:
    return lambda value: hashlib.new(name, _bytes(value), usedforsecurity=False).hexdigest()


FUNCTIONS: tuple[Definition, ...] = (
    *[
        Scalar(name, _digest(name), 1, 1, check=want("text"))
        for name in ("md5", "sha1", "sha256", "sha384", "sha512")
    ],
    Scalar("crc32", lambda value: f"{zlib.crc32(_bytes(value)):x}", 1, 1, check=want("text")),
)
