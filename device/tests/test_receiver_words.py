"""Each value of each field in docs/receivers.md: the Box takes what the table says."""

import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from clock_on_pc import TICK_HZ, UBX_CONFIRMED, Receiver
from gps_messages import GPS_EPOCH_S, gga, nav_pvt, nav_timels, nav_timeutc, nmea, tim_tp, ubx, zda
from host_library import DEVICE

NOW_S = int(datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC).timestamp())
MIDNIGHT_S = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
WEEK_S = 604_800
GRID_S = {0: 18, 1: 3 * 3600, 2: 4 - 1356 * WEEK_S, 3: 18}
"""timeRefGnss -> its seconds since the start of its weeks, less UTC's since 1980-01-06."""
LEAPS = nav_timels(NOW_S)
ANNOUNCED = nav_timels(NOW_S, change=1, at_s=MIDNIGHT_S)
Message = Callable[[int], bytes]


def with_field(message: bytes, form: str, offset: int, value: int) -> bytes:
    """The same UBX message with another field."""
    payload = bytearray(message[6:-2])
    struct.pack_into(form, payload, offset, value)
    return ubx(message[2], message[3], bytes(payload))


def timels_dated(day: int, source: int) -> bytes:
    """A change at the end of the last day of a month that has this number; in any week where none has."""
    firsts = (datetime(2026 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(240))
    ends_s = [int(first.timestamp()) - 1 - GPS_EPOCH_S for first in firsts]
    weekday = day + (source == 4)
    week = next((end // WEEK_S for end in ends_s if end % WEEK_S // 86_400 + 1 == weekday), 2400)
    message = with_field(ANNOUNCED, "<B", 10, source)
    return with_field(with_field(message, "<H", 16, week), "<H", 18, day)


def with_length(message: bytes, length: int) -> bytes:
    """The same UBX message, cut off or with zeros after it."""
    return ubx(message[2], message[3], message[6:-2][:length].ljust(length, b"\0"))


def zda_of(year: int = 2026, zone: int = 0, minutes: int = 0) -> bytes:
    return nmea(f"GPZDA,150926.00,14,03,{year:04d},{zone:02d},{minutes:02d}")


def week_tp(week: int) -> bytes:
    """TIM-TP in UTC on a Monday."""
    return with_field(tim_tp(GPS_EPOCH_S + 86_400), "<H", 12, week)


def rmc(*, status: str = "A", mode: str | None = "A", date: str = "140326") -> bytes:
    tail = "" if mode is None else f",{mode}"
    return nmea(f"GPRMC,150926.00,{status},2117.95,N,15748.98,W,0.0,0.0,{date},,{tail}")


def grid_tp(grid: int) -> bytes:
    week, tow_s = divmod(NOW_S + 1 - GPS_EPOCH_S + GRID_S.get(grid, 0), WEEK_S)
    return ubx(0x0D, 0x01, struct.pack("<IIiHBB", tow_s * 1000, 0, 0, week, 0, grid))


BY_NUMBER: dict[tuple[str, str], Message] = {
    ("NAV-PVT", "fixType"): lambda v: with_field(nav_pvt(NOW_S), "<B", 20, v),
    ("NAV-PVT", "gnssFixOK"): lambda v: with_field(nav_pvt(NOW_S), "<B", 21, v),
    ("NAV-PVT", "valid"): lambda v: with_field(nav_pvt(NOW_S), "<B", 11, v | 8),
    ("NAV-PVT", "tAcc"): lambda v: with_field(nav_pvt(NOW_S), "<I", 12, v),
    ("NAV-PVT", "nano"): lambda v: with_field(nav_pvt(NOW_S), "<i", 16, v),
    ("NAV-PVT", "month"): lambda v: with_field(nav_pvt(NOW_S), "<B", 6, v),
    ("NAV-PVT", "year"): lambda v: with_field(nav_pvt(NOW_S), "<H", 4, v),
    ("NAV-PVT", "length"): lambda v: with_length(nav_pvt(NOW_S), v),
    ("NAV-PVT", "invalidLlh"): lambda v: with_field(nav_pvt(NOW_S), "<B", 78, v),
    ("NAV-TIMEUTC", "valid"): lambda v: with_field(nav_timeutc(NOW_S), "<B", 19, v),
    ("NAV-TIMEUTC", "utcStandard"): lambda v: with_field(nav_timeutc(NOW_S), "<B", 19, v << 4 | 7),
    ("NAV-TIMEUTC", "tAcc"): lambda v: with_field(nav_timeutc(NOW_S), "<I", 4, v),
    ("NAV-TIMEUTC", "year"): lambda v: with_field(nav_timeutc(NOW_S), "<H", 12, v),
    ("NAV-TIMEUTC", "length"): lambda v: with_length(nav_timeutc(NOW_S), v),
    ("NAV-TIMELS", "length"): lambda v: with_length(LEAPS, v),
    ("NAV-TIMELS", "srcOfCurrLs"): lambda v: with_field(LEAPS, "<B", 8, v),
    ("NAV-TIMELS", "validCurrLs"): lambda v: with_field(LEAPS, "<B", 23, 2 | v),
    ("NAV-TIMELS", "validTimeToLsEvent"): lambda v: with_field(ANNOUNCED, "<B", 23, v << 1 | 1),
    ("NAV-TIMELS", "srcOfLsChange"): lambda v: nav_pvt(NOW_S) + with_field(ANNOUNCED, "<B", 10, v),
    ("NAV-TIMELS", "lsChange"): lambda v: nav_pvt(NOW_S) + with_field(ANNOUNCED, "<b", 11, v),
    ("NAV-TIMELS", "dateOfLsGpsDn of GPS"): lambda v: timels_dated(v, 2),
    ("NAV-TIMELS", "dateOfLsGpsDn of BeiDou"): lambda v: timels_dated(v, 4),
    ("TIM-TP", "timeBase and utc"): lambda v: (
        LEAPS + with_field(tim_tp(NOW_S + 1) if v & 1 else grid_tp(0), "<B", 14, v)
    ),
    ("TIM-TP", "TpNotLocked"): lambda v: (
        with_field(tim_tp(NOW_S + 1), "<B", 14, v << 5 | 3) + (nav_pvt(NOW_S) if v else b"")
    ),
    ("TIM-TP", "timeRefGnss"): lambda v: LEAPS + grid_tp(v),
    ("TIM-TP", "week"): week_tp,
    ("TIM-TP", "length"): lambda v: with_length(tim_tp(NOW_S + 1), v),
    ("TIM-TP", "away from NAV-PVT"): lambda v: nav_pvt(NOW_S) + tim_tp(NOW_S + v),
    ("RMC", "year"): lambda v: rmc(date=f"1403{v:02d}"),
    ("RMC", "day of February 2026"): lambda v: rmc(date=f"{v:02d}0226"),
    ("ZDA", "year"): zda_of,
    ("ZDA", "zone"): lambda v: zda_of(zone=v),
    ("ZDA", "zone minutes"): lambda v: zda_of(minutes=v),
    ("GGA", "quality"): lambda v: gga(NOW_S, quality=v) + zda(NOW_S),
}
BY_LETTER: dict[tuple[str, str], Callable[[str | None], bytes]] = {
    ("RMC", "status"): lambda v: rmc(status=v or ""),
    ("RMC", "mode"): lambda v: rmc(mode=v),
}
WHOLE = {
    **dict.fromkeys((("NAV-PVT", "fixType"), ("NAV-PVT", "month")), (0, 255)),
    **dict.fromkeys((("NAV-PVT", "year"), ("NAV-TIMEUTC", "year"), ("TIM-TP", "week")), (0, 65_535)),
    ("ZDA", "year"): (0, 9999),
    **{(name, "length"): (0, 1024) for name in ("NAV-PVT", "NAV-TIMEUTC", "NAV-TIMELS", "TIM-TP")},
    ("NAV-PVT", "tAcc"): (0, 2**32 - 1),
    ("NAV-TIMEUTC", "tAcc"): (0, 2**32 - 1),
    ("NAV-TIMELS", "srcOfCurrLs"): (0, 255),
    ("NAV-TIMELS", "srcOfLsChange"): (0, 255),
    ("NAV-TIMELS", "lsChange"): (-128, 127),
    ("NAV-TIMELS", "dateOfLsGpsDn of GPS"): (0, 65_535),
    ("NAV-TIMELS", "dateOfLsGpsDn of BeiDou"): (0, 65_535),
    ("NAV-TIMEUTC", "utcStandard"): (0, 15),
    ("TIM-TP", "timeRefGnss"): (0, 15),
    ("RMC", "year"): (0, 99),
}
"""Fields whose rows have all values of their type."""


def rows() -> list[tuple[str, str, str, str]]:
    """Message, field, values, what the Box takes."""
    page = (DEVICE.parent / "docs" / "receivers.md").read_text(encoding="utf-8")
    found = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and cells[0] not in ("message", "---"):
            found.append((cells[0], cells[1], cells[2], cells[4]))
    return found


def spans(text: str) -> list[tuple[int, int]]:
    ends = re.findall(r"(-?\d+)(?:-(-?\d+))?", text)
    return [(int(first), int(last or first)) for first, last in ends]


def values(text: str) -> list[int]:
    """All of short spans, the ends and neighbours of long ones."""
    found = []
    for first, last in spans(text):
        long = last - first > 300
        found += [first, first + 1, (first + last) // 2, last - 1, last] if long else range(first, last + 1)
    return found


def letters(text: str) -> list[str | None]:
    found: list[str | None] = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        if part == "none":
            found.append(None)
        else:
            found += [chr(code) for code in range(ord(first), ord(last or first) + 1)]
    return found


def taken(name: str, message: bytes) -> set[str]:
    """What the last message is taken for; messages before it only prepare the receiver."""
    receiver = Receiver()
    receiver.feed(message, TICK_HZ)
    label, _, leap, counts = receiver.reports()
    if name == "NAV-TIMELS":
        receiver.feed(grid_tp(0), TICK_HZ + 1)
        ahead = {0: "none ahead", 2: "not said what is ahead"}.get(leap["change"], "announced")
        known = receiver.reports()[3]["labels"] > counts["labels"]
        return {ahead, "leap seconds" if known else "no leap seconds"}
    if counts["labels"] and not label["valid"]:
        return {"no fix"}
    before = message.count(nav_pvt(NOW_S)) if name == "TIM-TP" else 0
    if counts["labels"] == before:
        return {"nothing"}
    if name == "GGA":
        return {"label of ZDA"}
    return {"confirmed" if label["kind"] == UBX_CONFIRMED else "label"}


def message_of(name: str, field: str, value: int | str | None) -> bytes:
    if (name, field) in BY_LETTER:
        assert not isinstance(value, int)
        return BY_LETTER[name, field](value)
    assert isinstance(value, int)
    return BY_NUMBER[name, field](value)


@pytest.mark.parametrize(("name", "field", "text", "takes"), rows())
def test_each_value_is_taken_as_the_page_says(name: str, field: str, text: str, takes: str) -> None:
    found = letters(text) if (name, field) in BY_LETTER else values(text)
    for value in found:
        assert takes in taken(name, message_of(name, field, value)), value


def test_the_page_has_every_value_once() -> None:
    fields: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for name, field, text, _ in rows():
        if (name, field) not in BY_LETTER:
            fields.setdefault((name, field), []).extend(spans(text))
    assert set(fields) == set(BY_NUMBER)
    for field, found in fields.items():
        found.sort()
        for before, after in pairwise(found):
            assert before[1] < after[0], field
        if field in WHOLE:
            assert (found[0][0], found[-1][1]) == WHOLE[field]
            assert all(one[1] + 1 == two[0] for one, two in pairwise(found)), field


REPORTED = {
    "GPRMC,144602.00,V,,,,,,,011120,,,N*7B": "no fix",  # 107-Arduino-NMEA-Parser 21: a date without a fix
    "GPRMC,193517.00,A,4837.99895,N,01301.58584,E,0.793,,111020,,,A*7D": "label",  # its 9: no course
    "GPRMC,112435.00,V,,,,,,,,,,N*7D": "no fix",  # its 10: a time without a date
    "GPRMC,,V,,,,,,,,,,N*53": "no fix",  # MicroNMEA 4: nothing
    "GPRMC,194812.00,V,,,,,,,290317,,,N*74": "no fix",  # MicroNMEA 1
    "GPZDA,,,,,00,00*48": "nothing",  # NeoGPS 137: no time and no date yet
    "GPZDA,124243.19,,,,00,00*6C": "nothing",  # a time without a date
    "GPZDA,142504.00,28,03,2020,00,00*68": "nothing",  # the sum is 69: it was written by hand
    "GPZDA,142504.00,28,03,2020,00,00*69": "label",
    "GNRMC,021152.000,A,2929.000108,N,10629.000282,E,0.003,316.55,020717,,E,A*09": "label",  # nmea0183 23
    "GNZDA,021152.000,02,07,2017,00,00*4C": "label",  # the same receiver, of GPS and BeiDou
    "GPRMC,000000.00,A,0.000,N,0.000,E,0.0,0.0,050505,0.0,E*6D": "label",  # esp32-nmea2000 38
    "GPGGA,,,,,,0,00,99.99,,,,,,*48": "no fix",  # the same receiver without satellites
    "GPRMC,202827.00,A,2117.95,N,15748.98,W,0.0,0.0,220300,,,A*45": "label",  # OVMS 284: weeks are lost
    "GPRMC,000012.00,V,,,,,,,010913,,,N*74": "no fix",  # oXs_on_RP2040 71: the firmware's first week
    "GPGGA,004646,3350.7509,N,11818.7148,W,1,06,1.3,52.6,M,-35.2,M,,*49": "nothing",  # nmea_navsat_driver 105
    "GNRMC,005518.134,A,1346.14300,N,10036.94806,E,0.00,,300726,,,A*60": "nothing",  # Momentum 576: .134
    "GNGGA,1681483.279,46,N,005,E,0,12,0089,0231,M,0047,M,0,0000*56": "no fix",  # meshtastic 2451
    "GPGGA,,,,,,,,,,,,,,*56": "no fix",  # TinyGPSPlus 5
}
"""Sentences as users reported them, each with the project and its issue, and what is taken."""


@pytest.mark.parametrize("sentence", REPORTED)
def test_reported_sentences_are_taken_for_what_they_are(sentence: str) -> None:
    assert taken("", f"${sentence}\r\n".encode()) == {REPORTED[sentence]}


NO_FIX = {
    "fixType": ("<B", 20, 1),
    "gnssFixOK": ("<B", 21, 0),
    "valid": ("<B", 11, 2),
    "tAcc": ("<I", 12, 2**32 - 1),
}
"""Field of NAV-PVT -> one value of it that is not a fix."""


@pytest.mark.parametrize("field", NO_FIX)
@pytest.mark.parametrize("other", [nav_timeutc(NOW_S), tim_tp(NOW_S + 1)])
def test_no_message_contradicts_nav_pvt(field: str, other: bytes) -> None:
    receiver = Receiver()
    receiver.feed(with_field(nav_pvt(NOW_S), *NO_FIX[field]) + other, TICK_HZ)
    assert not receiver.reports()[0]["valid"]


def test_a_free_pulse_counts_with_nav_pvt_only() -> None:
    for solution, valid in ((nav_pvt, False), (nav_timeutc, True)):
        receiver = Receiver()
        receiver.feed(with_field(tim_tp(NOW_S + 1), "<B", 14, 1 << 5 | 3) + solution(NOW_S), TICK_HZ)
        assert bool(receiver.reports()[0]["valid"]) is valid


@pytest.mark.parametrize("grid", sorted(GRID_S))
@pytest.mark.parametrize("orders", ["P L T", "P T L", "T P L", "L T", "L P T", "T L P"])
def test_every_grid_names_the_same_second(grid: int, orders: str) -> None:
    """In each order in which a receiver may send, second after second."""
    receiver = Receiver()
    kinds = {"P": nav_pvt, "L": nav_timels, "T": lambda now_s: _grid_at(grid, now_s)}
    for second in range(3):
        for kind in orders.split():
            receiver.feed(kinds[kind](NOW_S + second), TICK_HZ * (second + 1))
            label = receiver.reports()[0]
            if label["utc_s"]:
                assert label["utc_s"] - label["of_next_pulse"] in (NOW_S + second, NOW_S + second - 1)
    assert receiver.reports()[3]["labels"] >= 3


def _grid_at(grid: int, now_s: int) -> bytes:
    week, tow_s = divmod(now_s + 1 - GPS_EPOCH_S + GRID_S[grid], WEEK_S)
    return ubx(0x0D, 0x01, struct.pack("<IIiHBB", tow_s * 1000, 0, 0, week, 0, grid))
