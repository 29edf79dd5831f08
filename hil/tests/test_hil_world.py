"""The world that an emulated Box lives in: its file, its GPS, its oscillator. No emulator needed."""

import struct
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import START_UTC_S, Gps
from opq_hil.gps.second_messages import nmea_sentence, ubx_message
from opq_hil.world.world import INTERNAL, BitNoise, Played, PowerScript, Sine, World
from opq_proto.link import frames as link
from opq_proto.link.messages import Command, Operation
from opq_proto.time_units import NS_PER_S

MIDNIGHT_S = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def lines(world: World, folder: Path) -> list[str]:
    return world.write(folder).read_text().splitlines()


def test_fifty_ppm_lengthen_a_second_by_50_us() -> None:
    """Fifty ppm fast makes a true second 50 us longer in virtual time."""
    fast = Oscillator(offset_ppb=50_000)
    assert fast.virtual_ns(NS_PER_S) == 1_000_050_000
    assert fast.true_ns(1_000_050_000) == NS_PER_S


def test_a_temperature_ramp_gains_its_area() -> None:
    # 100 ppb/K, 25 to 30 C within 100 s: a triangle of 500 ppb x 100 s / 2 = 25 us, then 500 ns each second
    warm = Oscillator(ppb_per_k=100, temperature=((0.0, 25.0), (100.0, 30.0)))
    assert warm.virtual_ns(100 * NS_PER_S) == 100 * NS_PER_S + 25_000
    assert warm.virtual_ns(110 * NS_PER_S) == 110 * NS_PER_S + 30_000
    assert warm.celsius(50.0) == pytest.approx(27.5)
    assert abs(warm.true_ns(warm.virtual_ns(73_123_456_789)) - 73_123_456_789) <= 1


def test_pulses_fall_on_utc_seconds() -> None:
    gps = Gps(utc_start_ns=START_UTC_S * NS_PER_S + 300_000_000)
    pulses = gps.pulses(Oscillator(), 3 * NS_PER_S)
    assert pulses == [700_000_000, 1_700_000_000, 2_700_000_000]
    assert all(gps.utc_ns(pulse) % NS_PER_S == 0 for pulse in pulses)


def test_pulses_fail_as_asked() -> None:
    gps = Gps(
        utc_start_ns=START_UTC_S * NS_PER_S,
        fix_s=2.0,
        outages=((7.0, 9.0),),
        missing=(4,),
        glitches=(5.25,),
        late_ns=((6, 300),),
    )
    assert gps.pulses(Oscillator(), 11 * NS_PER_S) == [
        2 * NS_PER_S,
        3 * NS_PER_S,
        5 * NS_PER_S,
        5_250_000_000,
        6 * NS_PER_S + 300,
        9 * NS_PER_S,
        10 * NS_PER_S,
    ]


def test_jitter_has_its_spread_and_seed() -> None:
    """Jitter has the spread asked for and the same seed the same pulses."""
    gps = Gps(utc_start_ns=START_UTC_S * NS_PER_S + 500_000_000, jitter_ns=30.0)
    pulses = np.array(gps.pulses(Oscillator(), 2000 * NS_PER_S))
    errors = pulses - (np.arange(len(pulses)) * NS_PER_S + 500_000_000)
    assert len(pulses) == 2000 and 27 < errors.std() < 33
    assert gps.pulses(Oscillator(), 2000 * NS_PER_S) == pulses.tolist()


def test_a_sentences_checksum_is_published() -> None:
    # the sample sentence of the NMEA FAQ (P. Bennett, 1997), whose checksum is 47
    body = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
    assert nmea_sentence(body) == f"${body}*47\r\n".encode()


def test_a_ubx_checksum_is_published() -> None:
    # poll of NAV-PVT, printed in many u-blox notes: B5 62 01 07 00 00 08 19
    assert ubx_message((0x01, 0x07), b"") == bytes.fromhex("b562010700000819")


def test_text_names_the_last_pulses_second() -> None:
    gps = Gps(utc_start_ns=START_UTC_S * NS_PER_S, form="nmea")
    (first, text), (second, _) = gps.text(Oscillator(), 2 * NS_PER_S)
    assert (first, second) == (180_000_000, 1_180_000_000)
    assert text.startswith(b"$GNRMC,100000.00,A,") and b"201126" in text


def test_tim_tp_names_the_next_pulse() -> None:
    # 2026-11-20 10:00:01 is 432,000 + 36,001 s into week 2445 (2019-04-07 began week 2048), counted in UTC
    gps = Gps(utc_start_ns=START_UTC_S * NS_PER_S, form="tim_tp")
    [(_, text)] = gps.text(Oscillator(), NS_PER_S)
    assert text[:6] == bytes.fromhex("b5620d011000")
    assert struct.unpack_from("<IIiHBB", text, 6) == (468_001_000, 0, 0, 2445, 3, 0)


def test_a_receiver_of_both_sends_ubx_first() -> None:
    both = Gps(form="ubx_nmea").text(Oscillator(), NS_PER_S)[0][1]
    assert both == b"".join(Gps(form=form).text(Oscillator(), NS_PER_S)[0][1] for form in ("ubx", "nmea"))


def test_a_leap_second_is_named_sixty() -> None:
    """UTC counts the next second twice."""
    gps = Gps(utc_start_ns=(MIDNIGHT_S - 2) * NS_PER_S, leap_after_utc_s=MIDNIGHT_S, form="nmea")
    names = [text[7:13] for _, text in gps.text(Oscillator(), 5 * NS_PER_S)]
    assert names == [b"235958", b"235959", b"235960", b"000000", b"000001"]
    assert [gps.utc_ns(second * NS_PER_S) // NS_PER_S - MIDNIGHT_S for second in range(5)] == [
        -2,
        -1,
        0,
        0,
        1,
    ]


def test_ubx_announces_a_leap_second() -> None:
    gps = Gps(utc_start_ns=(MIDNIGHT_S - 1) * NS_PER_S, leap_after_utc_s=MIDNIGHT_S)
    texts = [text for _, text in gps.text(Oscillator(), 3 * NS_PER_S)]
    seconds = [text[6 + 10] for text in texts]
    assert seconds == [59, 60, 0]
    pvt = 6 + 92 + 2
    leaps = [struct.unpack_from("<bBbi", text, pvt + 6 + 9) for text in texts]
    assert leaps == [(18, 2, 1, 2), (18, 2, 1, 1), (19, 0, 0, 0)]
    # 2026-12-31 is a Thursday, day 5, of GPS week 2451 (2019-04-07 began week 2048)
    assert [struct.unpack_from("<HH", text, pvt + 6 + 16) for text in texts] == [(2451, 5), (2451, 5), (0, 0)]
    itows = [struct.unpack_from("<I", text, 6)[0] for text in texts]
    assert [later - earlier for earlier, later in pairwise(itows)] == [1000, 1000]


def test_a_wrong_label_is_heard() -> None:
    gps = Gps(
        utc_start_ns=START_UTC_S * NS_PER_S,
        wrong_labels=((1, -1),),
        unplugged=((2.0, 3.0),),
        fix_s=1.0,
        form="nmea",
    )
    texts = [text for _, text in gps.text(Oscillator(), 4 * NS_PER_S)]
    assert [text[7:13] for text in texts] == [b"100000", b"100000", b"100003"]
    assert [text.split(b",")[2] for text in texts] == [b"V", b"A", b"A"]


def test_a_worlds_file_has_everything(tmp_path: Path) -> None:
    hello = Command(1, Operation.HELLO)
    world = World(
        end_ns=2 * NS_PER_S,
        mains=Sine(INTERNAL, 50.0, 1500, 2048, 0.5, dips=((10**9, 1_100_000_000, 0.4),)),
        gps=Gps(utc_start_ns=START_UTC_S * NS_PER_S),
        power=PowerScript(adc=((8, 0, 2000),), pvd=((5, True),), cut_ns=1_500_000_000),
        messages=((700, b"\1\2"), (500, hello)),
        noise=(BitNoise(1e-4, True, 3),),
        pins=(("B2", 0, True),),
        seed=7,
    )
    written = lines(world, tmp_path)
    assert written == [
        "seed 7",
        "mains_sine adc1 50000000 1500 2048 500",
        "dip 1000000000 1100000000 400",
        "pps 0",
        "pps 1000000000",
        "bytes_file usart2 gps.txt",
        f"bytes usart1 500 {(bytes(1) + link.encode(hello, 0)).hex()}",
        "bytes usart1 700 0102",
        "adc 8 0 2000",
        "pvd 5 1",
        "cut 1500000000",
        "pin B2 0 1",
        "noise usart1 rx 100000 3",
        "end 2000000000",
    ]
    assert len((tmp_path / "gps.txt").read_text().splitlines()) == 2


def test_played_counts_are_beside_the_world(tmp_path: Path) -> None:
    counts = np.array([-32768, 0, 32767], np.int16)
    written = lines(World(NS_PER_S, Played(counts, start_ns=5, loop=True), gps=None), tmp_path)
    assert written[1] == "mains spi2 mains.i16 12000000 5 1"
    assert (tmp_path / "mains.i16").read_bytes() == bytes.fromhex("00800000ff7f")
