"""Messages of each second: UBX (u-blox M8 specification, 32.17) or NMEA 0183 (RMC, GGA, ZDA)."""

import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import reduce

from opq_proto.time_units import DAY_S

SYNC = b"\xb5\x62"
NAV_PVT = (0x01, 0x07)
NAV_TIMELS = (0x01, 0x26)
TIM_TP = (0x0D, 0x01)
GPS_EPOCH_S = 315_964_800
"""1980-01-06, a Sunday."""
LATITUDE_E7 = 213_057_167
"""Honolulu, in 1e-7 degrees; no Box is there."""
LONGITUDE_E7 = -1_578_169_833
"""The longitude of that place."""


def ubx_message(kind: tuple[int, int], payload: bytes) -> bytes:
    """Sync, class, id, length, payload, and the 8-bit Fletcher checksum over all but the sync."""
    body = bytes(kind) + struct.pack("<H", len(payload)) + payload
    a = b = 0
    for byte in body:
        a = (a + byte) & 0xFF
        b = (b + a) & 0xFF
    return SYNC + body + bytes((a, b))


def ubx_second(
    moment: datetime, in_leap: bool, valid: bool, satellites: int, leap: tuple[int, int | None]
) -> bytes:
    """NAV-PVT and NAV-TIMELS of one second."""
    gps_less_utc, left = leap
    itow_ms = round(moment.timestamp() + in_leap - GPS_EPOCH_S + gps_less_utc) % 604_800 * 1000
    pvt = struct.pack(
        "<IHBBBBBBIiBBBBiiiiIIiiiiiIIH6xih2x",
        itow_ms,
        *(moment.year, moment.month, moment.day, moment.hour, moment.minute),
        60 if in_leap else moment.second,
        0x07 if valid else 0x00,  # validDate, validTime, fullyResolved
        25 if valid else 0xFFFFFFFF,  # tAcc, ns
        0,
        3 if valid else 0,  # fixType
        1 if valid else 0,  # gnssFixOK
        0,
        satellites,
        *((LONGITUDE_E7, LATITUDE_E7) if valid else (0, 0)),
        *(16_400, 12_300, 1500, 2500, 0, 0, 0, 4, 0, 50, 18_000_000, 110, 0, 0),
    )
    week, day = _date(moment, left) if left is not None else (0, 0)
    timels = struct.pack(
        "<IB3xBbBbiHH3xB",
        itow_ms,
        0,
        2 if valid else 0,  # srcOfCurrLs: GPS
        gps_less_utc,
        2 if left is not None else 0,
        1 if left is not None else 0,
        left if left is not None else 0,
        *(week, day),
        3 if valid else 0,
    )
    return ubx_message(NAV_PVT, pvt) + ubx_message(NAV_TIMELS, timels)


def tim_tp_second(
    moment: datetime, in_leap: bool, valid: bool, satellites: int, leap: tuple[int, int | None]
) -> bytes:
    """TIM-TP alone: the second of the next pulse, in UTC's weeks."""
    next_s = round(moment.timestamp()) + in_leap + 1 - GPS_EPOCH_S
    week, of_week_s = divmod(next_s, 604_800)
    flags = 0x03 if valid else 0x21  # timeBase, utc; TpNotLocked
    return ubx_message(TIM_TP, struct.pack("<IIiHBB", of_week_s * 1000, 0, 0, week, flags, 0))


def _date(moment: datetime, left: int) -> tuple[int, int]:
    """GPS week, and day of it (1: Sunday), at whose end the leap second lies `left` seconds ahead."""
    midnight_s = round((moment.timestamp() + left) / DAY_S) * DAY_S
    days = (midnight_s - GPS_EPOCH_S) // DAY_S - 1
    return days // 7, days % 7 + 1


LATITUDE = "2118.3430,N"
LONGITUDE = "15749.0190,W"
"""Honolulu; no Box is there."""


def nmea_sentence(body: str) -> bytes:
    """`$body*checksum CR LF`; the checksum is the exclusive or of the body's bytes."""
    return f"${body}*{reduce(lambda sum_, byte: sum_ ^ byte, body.encode(), 0):02X}\r\n".encode()


def nmea_second(
    moment: datetime, in_leap: bool, valid: bool, satellites: int, leap: tuple[int, int | None]
) -> bytes:
    """RMC, GGA and ZDA of one second; `leap` has no place in NMEA and is left out."""
    seconds = 60 if in_leap else moment.second
    clock = f"{moment:%H%M}{seconds:02d}.00"
    where = f"{LATITUDE},{LONGITUDE}" if valid else ",,,"
    mode = "A" if valid else "N"
    return b"".join(
        (
            nmea_sentence(f"GNRMC,{clock},{'A' if valid else 'V'},{where},0.004,,{moment:%d%m%y},,,{mode}"),
            nmea_sentence(f"GNGGA,{clock},{where},{1 if valid else 0},{satellites:02d},1.01,12.3,M,4.1,M,,"),
            nmea_sentence(f"GNZDA,{clock},{moment:%d,%m,%Y},00,00"),
        )
    )


SecondMessages = Callable[[datetime, bool, bool, int, tuple[int, int | None]], bytes]
FORMS: Mapping[str, tuple[SecondMessages, ...]] = {
    "ubx": (ubx_second,),
    "nmea": (nmea_second,),
    "ubx_nmea": (ubx_second, nmea_second),
    "tim_tp": (tim_tp_second,),
}
"""What a receiver sends, by the name of its form."""
