"""Conversions: cast, base 64, hexadecimal, compression. Source: docs/reference/rules.md, D.5, Conversion."""

import base64
import gzip
import re
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from functools import partial
from zoneinfo import ZoneInfo

from opq_rules.functions.arguments import number, octets, one_of, reads, text, time, whole
from opq_rules.functions.registry import Definition, Scalar
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import NUMBERS, shown, unix_ms

MAX_UNPACKED_BYTES = 64 * 2**20

_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_HEXADECIMAL = re.compile(r"\s*[+-]?(0[xX])?[0-9a-fA-F]+\s*")
_BIGINT = range(-(2**63), 2**63)
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def _to_bigint(value: Value) -> int:
    """The value as a bigint: fractions are cut off; a datetime becomes Unix ms."""
    if type(value) is datetime:
        return unix_ms(time(value))
    if type(value) is bool or type(value) in NUMBERS or (type(value) is str and _WHOLE.fullmatch(value)):
        found = int(value)
        if found in _BIGINT:
            return found
        raise ValueError(f"{shown(value)} does not fit into 64 bits")
    hint = "; cast to float first" if type(value) is str and _NUMBER.fullmatch(value) else ""
    raise TypeError(f"{shown(value)} is not a bigint{hint}")


def _to_float(value: Value) -> float:
    if type(value) is datetime:
        return float(unix_ms(time(value)))
    if type(value) is bool or type(value) in NUMBERS:
        return float(value)
    if type(value) is str and _NUMBER.fullmatch(value):
        found = float(value)
        if abs(found) < float("inf"):
            return found
    raise TypeError(f"{shown(value)} is not a float")


def _to_boolean(value: Value) -> bool:
    if type(value) is bool or type(value) in NUMBERS:
        return bool(value)
    if type(value) is str and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise TypeError(f"{shown(value)} is not a boolean")


def _to_bytea(value: Value) -> bytes:
    """The bytes of a text in base 64, as bytea is written in JSON."""
    if type(value) is bytes:
        return value
    if type(value) is str:
        return _of_base64(value)
    raise TypeError(f"{shown(value)} is not bytea")


_CASTS: dict[str, Callable[[Value], Value]] = {
    "bigint": _to_bigint,
    "float": _to_float,
    "string": text,
    "boolean": _to_boolean,
    "bytea": _to_bytea,
    "datetime": time,
}


def _cast(value: Value, kind: Value) -> Value:
    work = _CASTS.get(text(kind).lower())
    if work is None:
        raise ValueError(f"type {kind!r}; want one of {', '.join(_CASTS)}")
    return work(value)


def _chr(value: Value) -> str:
    """The character with this code; a text of one character is returned unchanged."""
    if type(value) is str:
        if len(value) != 1:
            raise ValueError(f"{shown(value)}; want one character")
        return value
    return chr(int(number(value)))


def _dec2hex(value: Value) -> str:
    given = whole(value)
    return f"0x{given:x}" if given >= 0 else f"-0x{-given:x}"


def _hex2dec(value: Value) -> int:
    digits = text(value)
    if not _HEXADECIMAL.fullmatch(digits):
        raise ValueError(f"{shown(value)} is not a hexadecimal number")
    return int(digits, 16)


def _trunc(value: Value, places: Value) -> Value:
    """The value cut to 0 .. 34 decimal places, towards zero."""
    if type(number(value)) is int:
        return value
    step = Decimal(1).scaleb(-max(0, min(34, whole(places))))
    exact = Decimal(repr(value))
    if exact.adjusted() > 15 or exact == 0:  # no places are left in a float
        return value
    return float(exact.quantize(step, rounding=ROUND_DOWN))


def _encode(value: Value, form: Value) -> str:
    _base64_alone(form)
    return base64.b64encode(octets(value)).decode()


def _decode(value: Value, form: Value) -> bytes:
    _base64_alone(form)
    return _of_base64(text(value))


def _of_base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise ValueError(f"{shown(value)} is not base 64: {error}") from None


def _base64_alone(form: Value) -> None:
    if text(form).lower() != "base64":
        raise ValueError(f"encoding {form!r}; want base64")


def _zstd() -> Value:
    try:
        import zstandard  # of the extra `rules`
    except ImportError as error:
        raise ValueError("zstd needs the package zstandard: pip install 'opq-toolkit[rules]'") from error
    return zstandard


def compressor(method: str) -> Callable[[bytes], bytes]:
    """The compressor, for one thread. ValueError: another method, or zstd without its package."""
    if method == "gzip":
        return partial(gzip.compress, mtime=0)
    if method == "zstd":
        packer = _zstd().ZstdCompressor()
        return lambda data: bytes(packer.compress(data))
    return partial(zlib.compress, wbits=_window_bits(method))


def _compress(value: Value, method: Value) -> bytes:
    return compressor(text(method).lower())(octets(value))


def _decompress(value: Value, method: Value) -> bytes:
    """At most MAX_UNPACKED_BYTES of unpacked data, from bytes or from their base 64 text."""
    packed = _to_bytea(value)
    name = text(method).lower()
    if name == "zstd":
        zstd = _zstd()
        try:
            with zstd.ZstdDecompressor().stream_reader(packed) as reader:
                unpacked = reader.read(MAX_UNPACKED_BYTES + 1)
        except zstd.ZstdError as error:
            raise ValueError(str(error)) from None
    else:
        inflate = zlib.decompressobj(wbits=31 if name == "gzip" else _window_bits(name))
        try:
            unpacked = inflate.decompress(packed, MAX_UNPACKED_BYTES + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(unpacked) <= MAX_UNPACKED_BYTES and not inflate.eof:
            raise ValueError("the data ends too early")
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes")
    return bytes(unpacked)


def _window_bits(name: str) -> int:
    """The window bits for zlib: with its header, or raw (flate)."""
    bits = {"zlib": 15, "flate": -15}.get(name)
    if bits is None:
        raise ValueError(f"method {name!r}; want zlib, gzip, flate or zstd")
    return bits


def _convert_tz(value: Value, zone: Value) -> datetime:
    return time(value).astimezone(_zone(zone))


def _zone(name: Value) -> ZoneInfo:
    try:
        return ZoneInfo(text(name))
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{shown(name)} is not a time zone; want for example Pacific/Honolulu") from None


_METHODS = one_of(1, "zlib", "gzip", "flate", "zstd")

FUNCTIONS: tuple[Definition, ...] = (
    Scalar("cast", _cast, 2, 2, check=one_of(1, *_CASTS)),
    Scalar("chr", _chr, 1, 1),
    Scalar("dec2hex", _dec2hex, 1, 1),
    Scalar("hex2dec", _hex2dec, 1, 1),
    Scalar("encode", _encode, 2, 2, check=one_of(1, "base64")),
    Scalar("decode", _decode, 2, 2, check=one_of(1, "base64")),
    Scalar("trunc", _trunc, 2, 2, check=reads(1, whole)),
    Scalar("convert_tz", _convert_tz, 2, 2, check=reads(1, _zone)),
    Scalar("to_seconds", lambda value: unix_ms(time(value)) // 1_000, 1, 1),
    Scalar("compress", _compress, 2, 2, check=_METHODS),
    Scalar("decompress", _decompress, 2, 2, check=_METHODS),
)
