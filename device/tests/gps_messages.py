"""Sentences and messages as receivers send them, after NMEA 0183 and UBX-13003221."""

import struct
from datetime import UTC, datetime
from functools import reduce

GPS_EPOCH_S = 315_964_800


def nmea(body: str) -> bytes:
    """`body` between dollar sign and star; the checksum is the exclusive or of its bytes."""
    return f"${body}*{reduce(lambda a, b: a ^ b, body.encode(), 0):02X}\r\n".encode()


def ubx(class_id: int, message_id: int, payload: bytes) -> bytes:
    """Sync, class, id, length, payload, 8-bit Fletcher over all but the sync (32.4 of the document)."""
    body = struct.pack("<BBH", class_id, message_id, len(payload)) + payload
    a = b = 0
    for byte in body:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    return b"\xb5\x62" + body + bytes((a, b))


def _date(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, tz=UTC)


def rmc(unix_s: int, *, fix: bool = True, fraction: str = ".00", second: int | None = None) -> bytes:
    """Honolulu; `second` replaces the field, for 60."""
    date = _date(unix_s)
    shown = date.second if second is None else second
    time = f"{date:%H%M}{shown:02d}{fraction}"
    place = "2117.9500,N,15748.9800,W" if fix else ",,,"
    mode = "A" if fix else "N"
    return nmea(f"GPRMC,{time},{'A' if fix else 'V'},{place},0.0,0.0,{date:%d%m%y},,,{mode}")


def zda(unix_s: int) -> bytes:
    date = _date(unix_s)
    return nmea(f"GPZDA,{date:%H%M%S}.00,{date:%d,%m,%Y},00,00")


def gga(unix_s: int, *, quality: int = 1, satellites: int = 9) -> bytes:
    time = f"{_date(unix_s):%H%M%S}.00"
    return nmea(f"GPGGA,{time},2117.9500,N,15748.9800,W,{quality},{satellites:02d},1.0,10.0,M,0.0,M,,")


def nav_pvt(
    unix_s: int, *, fix: int = 3, valid: int = 7, nano_ns: int = 0, second: int | None = None
) -> bytes:
    """92 bytes; `valid` bits: 0 date, 1 time, 2 fully resolved."""
    date = _date(unix_s)
    shown = date.second if second is None else second
    head = struct.pack(
        "<IHBBBBBBIiBBBBii",
        0,
        *(date.year, date.month, date.day, date.hour, date.minute, shown),
        valid,
        20,
        nano_ns,
        fix,
        1 if fix else 0,
        0,
        11,
        -1_578_163_333,
        212_991_666,
    )
    return ubx(0x01, 0x07, head.ljust(92, b"\0"))


def nav_timeutc(unix_s: int, *, valid: int = 7) -> bytes:
    """20 bytes; `valid` bits: 0 time of week, 1 week, 2 leap seconds known."""
    date = _date(unix_s)
    return ubx(
        *(0x01, 0x21),
        struct.pack(
            "<IIiHBBBBBB",
            *(0, 25, -12, date.year, date.month, date.day, date.hour, date.minute, date.second),
            valid,
        ),
    )


def tim_tp(next_unix_s: int, *, utc: bool = True, leap_seconds: int = 18) -> bytes:
    """16 bytes: the pulse to come, in UTC or in GPS time."""
    since = next_unix_s - GPS_EPOCH_S + (0 if utc else leap_seconds)
    week, tow_s = divmod(since, 604_800)
    return ubx(0x0D, 0x01, struct.pack("<IIiHBB", tow_s * 1000, 0, 3000, week, 3 if utc else 0, 0))


def nav_timels(
    now_s: int,
    *,
    leap_seconds: int = 18,
    change: int = 0,
    at_s: int = 1_483_228_800,
    source: int = 2,
    dated: bool = True,
) -> bytes:
    """24 bytes: the change takes effect at the end of a day, where second `at_s` begins."""
    week, rest_s = divmod(at_s - GPS_EPOCH_S - 1, 604_800)
    date = (week, rest_s // 86_400 + 1) if dated else (0, 0)
    left_s = at_s - now_s if change else -1000
    return ubx(
        *(0x01, 0x26),
        struct.pack(
            "<IB3xBbBbiHH3xB",
            *(0, 0, 2, leap_seconds, source, change, left_s, *date, 3),
        ),
    )
