"""What a receiver says in NMEA 0183 text, second by second (IEC 61162-1: RMC, GGA, ZDA)."""

from datetime import datetime
from functools import reduce

LATITUDE = "2118.3430,N"
LONGITUDE = "15749.0190,W"
"""Honolulu; no Box is there."""


def sentence(body: str) -> bytes:
    """`$body*checksum CR LF`; the checksum is the exclusive or of the body's bytes."""
    return f"${body}*{reduce(lambda sum_, byte: sum_ ^ byte, body.encode(), 0):02X}\r\n".encode()


def second(
    moment: datetime, in_leap: bool, valid: bool, satellites: int, leap: tuple[int, int | None]
) -> bytes:
    """RMC, GGA and ZDA of one second; `leap` has no place in NMEA and is not told."""
    seconds = 60 if in_leap else moment.second
    clock = f"{moment:%H%M}{seconds:02d}.00"
    where = f"{LATITUDE},{LONGITUDE}" if valid else ",,,"
    mode = "A" if valid else "N"
    return b"".join(
        (
            sentence(f"GNRMC,{clock},{'A' if valid else 'V'},{where},0.004,,{moment:%d%m%y},,,{mode}"),
            sentence(f"GNGGA,{clock},{where},{1 if valid else 0},{satellites:02d},1.01,12.3,M,4.1,M,,"),
            sentence(f"GNZDA,{clock},{moment:%d,%m,%Y},00,00"),
        )
    )
