"""NMEA and UBX byte by byte: the results, and how garbage is counted."""

import ctypes
import struct
from datetime import UTC, datetime

import pytest
from clock_on_pc import NMEA, UBX, UBX_CONFIRMED, Receiver, clock_library
from gps_messages import gga, nav_pvt, nav_timels, nav_timeutc, nmea, rmc, tim_tp, ubx, zda

NOW_S = int(datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC).timestamp())
NEW_YEAR_S = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp())


def fed(*messages: bytes) -> Receiver:
    receiver = Receiver()
    for k, message in enumerate(messages):
        receiver.feed(message, 1000 * (k + 1))
    return receiver


def test_rmc_names_its_second_and_the_place() -> None:
    label, fix, _, counts = fed(rmc(NOW_S)).reports()
    assert label == {"utc_s": NOW_S, "tick": 1000, "kind": NMEA, "valid": 1, "leap": 0, "of_next_pulse": 0}
    # 21 deg 17.95 min = 21.2991666..., 157 deg 48.98 min = 157.8163333...
    assert (fix["latitude_e7"], fix["longitude_e7"]) == (212_991_666, -1_578_163_333)
    assert counts["labels"] == 1 and counts["sentences"] == 1


def test_rmc_without_a_fix_says_so() -> None:
    for sentence in (rmc(NOW_S, fix=False), nmea("GPRMC,,V,,,,,,,,,,N")):
        label, _, _, counts = fed(sentence).reports()
        assert counts["labels"] == 1 and label["valid"] == 0 and counts["nmea_malformed"] == 0


def test_zda_needs_a_fix() -> None:
    assert fed(zda(NOW_S)).reports()[0]["utc_s"] == NOW_S
    counts = fed(rmc(NOW_S, fix=False), zda(NOW_S)).reports()[3]
    assert counts["labels"] == 1


def test_gga_counts_satellites() -> None:
    _, fix, _, counts = fed(gga(NOW_S, satellites=12)).reports()
    assert fix["satellites"] == 12 and fix["position"] == 1 and counts["fixes"] == 1


def test_gga_without_a_fix_says_so() -> None:
    """A receiver may send no RMC; ZDA then names no second either."""
    label, _, _, counts = fed(gga(NOW_S, quality=6), zda(NOW_S)).reports()
    assert counts["labels"] == 1 and label["valid"] == 0


def test_second_60_is_marked() -> None:
    label = fed(rmc(NEW_YEAR_S - 1, second=60)).reports()[0]
    assert (label["utc_s"], label["leap"]) == (NEW_YEAR_S, 1)


def test_a_fraction_of_a_second_is_no_label() -> None:
    assert fed(rmc(NOW_S, fraction=".20")).reports()[3]["labels"] == 0
    assert fed(rmc(NOW_S, fraction="")).reports()[3]["labels"] == 1


@pytest.mark.parametrize(
    ("bad", "counter"),
    [
        (rmc(NOW_S).replace(b"*", b"*0"), "nmea_checksums"),
        (b"$GPRMC,150926.00,A\r\n", "nmea_checksums"),
        (rmc(NOW_S)[:30] + rmc(NOW_S), "nmea_checksums"),
        (nmea("GPRMC,250926.00,A,2117.95,N,15748.98,W,0,0,140326,,,A"), "nmea_malformed"),
        (nmea("GPRMC,150960.00,A,2117.95,N,15748.98,W,0,0,140326,,,A"), "nmea_malformed"),
        (nmea("GPZDA,150926.00,32,03,2026,00,00"), "nmea_malformed"),
        (nmea("GPZDA,150926.00,31,02,2026,00,00"), "nmea_malformed"),
        (nmea("GPRMC,150926.00,A,2117.95,N,15748.98,W,0,0,290226,,,A"), "nmea_malformed"),
        (nmea("GPGGA,150926.00,,,,,1,999,"), "nmea_malformed"),
        (b"$" + b"A" * 200 + b"\r\n", "overlong"),
    ],
)
def test_bad_sentences_move_their_counter(bad: bytes, counter: str) -> None:
    assert fed(bad).reports()[3][counter] == 1


def test_pvt_names_its_second() -> None:
    label, fix, _, _ = fed(nav_pvt(NOW_S)).reports()
    assert (label["utc_s"], label["kind"], label["valid"]) == (NOW_S, UBX_CONFIRMED, 1)
    assert fix == {
        "satellites": 11,
        "latitude_e7": 212_991_666,
        "longitude_e7": -1_578_163_333,
        "position": 1,
    }
    assert fed(nav_pvt(NOW_S, valid=3)).reports()[0]["kind"] == UBX
    assert fed(nav_pvt(NOW_S, fix=0)).reports()[0]["valid"] == 0
    assert fed(nav_pvt(NOW_S, nano_ns=200_000_000)).reports()[3]["labels"] == 0


def test_timeutc_needs_a_fix() -> None:
    label = fed(nav_timeutc(NOW_S)).reports()[0]
    assert (label["utc_s"], label["kind"]) == (NOW_S, UBX_CONFIRMED)
    assert fed(nav_timeutc(NOW_S, valid=3)).reports()[0]["kind"] == UBX
    assert not fed(nav_timeutc(NOW_S, valid=1)).reports()[0]["valid"]
    assert fed(nav_pvt(NOW_S, fix=0), nav_timeutc(NOW_S)).reports()[3]["labels"] == 1


def test_tim_tp_names_the_next_pulse() -> None:
    label = fed(tim_tp(NOW_S + 1)).reports()[0]
    assert (label["utc_s"], label["of_next_pulse"]) == (NOW_S + 1, 1)
    assert fed(tim_tp(NOW_S + 1, utc=False)).reports()[3]["labels"] == 0
    label = fed(nav_timels(NOW_S), tim_tp(NOW_S + 1, utc=False)).reports()[0]
    assert label["utc_s"] == NOW_S + 1


def test_timels_announces_the_second_that_follows_the_change() -> None:
    leap = fed(nav_timels(NEW_YEAR_S - 50, leap_seconds=17, change=1, at_s=NEW_YEAR_S)).reports()[2]
    assert leap == {"utc_s": NEW_YEAR_S, "change": 1, "leap_seconds": 17}
    leap = fed(nav_timels(NOW_S)).reports()[2]
    assert leap == {"utc_s": 0, "change": 0, "leap_seconds": 18}
    leap = fed(nav_timels(NOW_S, source=0)).reports()[2]
    assert leap == {"utc_s": 0, "change": 2, "leap_seconds": 18}  # says nothing of what is ahead


def test_timels_without_date_means_nearest_midnight() -> None:
    for left_s in (49, 50, 51):
        message = nav_timels(NEW_YEAR_S - left_s, leap_seconds=17, change=1, at_s=NEW_YEAR_S, dated=False)
        leap = fed(nav_pvt(NEW_YEAR_S - 50), message).reports()[2]
        assert leap == {"utc_s": NEW_YEAR_S, "change": 1, "leap_seconds": 17}
    assert fed(message).reports()[2]["change"] == 2  # what is left, from when on?


def test_damaged_ubx_is_counted() -> None:
    good = nav_pvt(NOW_S)
    flipped = bytearray(good)
    flipped[40] ^= 4
    endless = b"\xb5\x62\x01\x07\xff\xff"
    long = ubx(0x02, 0x15, bytes(600))
    counts = fed(bytes(flipped) + good + endless + good + long + good + b"\xb5" + good).reports()[3]
    assert counts["labels"] == 4
    assert (counts["ubx_checksums"], counts["ubx_malformed"], counts["skipped"]) == (1, 1, 1)


def test_a_length_of_no_page_is_counted() -> None:
    for message in (nav_pvt(NOW_S), nav_timeutc(NOW_S), nav_timels(NOW_S), tim_tp(NOW_S + 1)):
        longer = ubx(message[2], message[3], message[6:-2] + bytes(4))
        counts = fed(longer).reports()[3]
        assert (counts["ubx_malformed"], counts["labels"], counts["leaps"]) == (1, 0, 0)


def test_both_languages_may_be_mixed_on_the_line() -> None:
    counts = fed(rmc(NOW_S) + nav_pvt(NOW_S) + zda(NOW_S) + nav_timels(NOW_S)).reports()[3]
    assert (counts["labels"], counts["leaps"]) == (3, 1)


MSGOUT_UART1 = {"NAV_PVT": 0x20910007, "NAV_TIMELS": 0x20910061, "TIM_TP": 0x2091017E}
"""Keys of CFG-MSGOUT-UBX_..._UART1, u-blox F9 interface description."""
UART1OUTPROT_NMEA = 0x10740002
UBX_MESSAGES = ((1, 0x07), (1, 0x26), (0x0D, 0x01))
NMEA_MESSAGES = tuple((0xF0, number) for number in (0, 1, 2, 3, 4, 5, 8))


@pytest.mark.parametrize("ubx_wanted", [True, False])
def test_a_receiver_gets_messages_of_one_form(ubx_wanted: bool) -> None:
    """Over UBX three messages and no NMEA, whose bytes would make them late; and the other way round."""
    out = ctypes.create_string_buffer(32)
    assert clock_library().opq_ubx_valset(ubx_wanted, out) == 32
    pairs = b"".join(struct.pack("<IB", key, ubx_wanted) for key in MSGOUT_UART1.values())
    pairs += struct.pack("<IB", UART1OUTPROT_NMEA, not ubx_wanted)
    assert out.raw == ubx(0x06, 0x8A, b"\x00\x01\x00\x00" + pairs)
    requests = []
    while clock_library().opq_ubx_request(len(requests), ubx_wanted, out):
        requests.append(out.raw[:11])
    kinds = [(*kind, ubx_wanted) for kind in UBX_MESSAGES]
    kinds += [(*kind, not ubx_wanted) for kind in NMEA_MESSAGES]
    assert requests == [ubx(0x06, 0x01, bytes(kind)) for kind in kinds]
