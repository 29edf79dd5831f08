"""Frames as the independent client reads them; bytes of the standard's annex D where it has an example."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmu_client import config_of, crc_ccitt, data_of, parse

from opq_gateway.measuring.feed import PhasorReport
from opq_gateway.phasors.configuration import (
    MAX_STATIONS,
    PmuStream,
    configuration,
    data,
    header,
    stations_of,
    time_base,
)
from opq_gateway.phasors.phasor_frames import (
    Frame,
    FrameKind,
    FrameReader,
    FrameTime,
    Order,
    checksum,
    frame_bytes,
    order_of,
)
from opq_gateway.phasors.quality import (
    PhasorTrigger,
    PmuStatus,
    data_quality,
    in_sync,
    message_quality,
    stat,
)
from opq_measure.synchrophasor.filter import PmuClass
from opq_proto.errors import FrameError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

GOOD = PmuStatus(there=True, in_sync=True, uncertainty_ns=50, unlocked_s=0.0)


def stream(boxes: tuple[str, ...] = ("1", "4"), reports_per_s: int = 10) -> PmuStream:
    return PmuStream(7734, reports_per_s, PmuClass.P, 0.0334, stations_of(boxes, {}))


def phasor(box_id: str = "1", t_ns: int = 0, value: complex = 120 + 0j, **more: object) -> PhasorReport:
    facts = {
        "frequency_hz": 60.0,
        "rocof_hz_per_s": 0.0,
        "uncertainty_ns": 100,
        "source": TimeSource.GPS,
        "known": True,
    }
    return PhasorReport(box_id, t_ns, value, **{**facts, **more})  # type: ignore[arg-type]


def test_header_and_command_are_the_annexs_bytes() -> None:
    said = Frame(FrameKind.HEADER, 7734, FrameTime(1149591600, 770000, 0x0F), b"Hello I'm Header Frame.")
    annex = "aa1100271e36448560300f0bbfd048656c6c6f2049276d20486561646572204672616d652e17cc"
    assert frame_bytes(said).hex() == annex
    start = Frame(
        FrameKind.COMMAND, 7734, FrameTime(1149591600, 770000, 0x0F), struct.pack(">H", Order.DATA_ON)
    )
    assert frame_bytes(start).hex() == "aa4100121e36448560300f0bbfd00002ce00"
    assert FrameReader(1024).feed(frame_bytes(start)) == [start] and order_of(start) == Order.DATA_ON


@given(st.binary(max_size=200))
def test_both_checksums_agree(body: bytes) -> None:
    assert checksum(body) == crc_ccitt(body)


@given(
    value=st.complex_numbers(max_magnitude=1e6, min_magnitude=1e-3),
    hz=st.floats(45, 65, width=32),
    rocof=st.floats(-10, 10, width=32),
    number=st.integers(0, 119),
    seconds=st.integers(0, 2**32 - 2),
    rate=st.sampled_from([1, 10, 12, 15, 25, 30, 50, 60, 100, 120]),
)
def test_a_data_frame_round_trips(
    value: complex, hz: float, rocof: float, number: int, seconds: int, rate: int
) -> None:
    number %= rate
    of = stream(reports_per_s=rate)
    t_ns = seconds * 10**9 + number * 10**9 // rate
    one = phasor(t_ns=t_ns, value=value, frequency_hz=hz, rocof_hz_per_s=rocof)
    message = parse(frame_bytes(data(of, t_ns, [(one, GOOD), (None, GOOD)])))
    config = config_of(parse(frame_bytes(configuration(of, FrameKind.CONFIGURATION_2, FrameTime(0, 0)))))
    assert (message.kind, message.version, message.id_code, message.soc) == ("data", 1, 7734, seconds)
    assert message.fracsec * rate == number * config.time_base  # the instant, exactly
    there, absent = data_of(message, config)
    assert there.phasors[0] == pytest.approx(value, rel=1e-6)
    assert (there.frequency_hz, there.rocof_hz_s) == (hz, rocof)
    assert math.isnan(abs(absent.phasors[0])) and math.isnan(absent.frequency_hz)


@pytest.mark.parametrize(
    ("kind", "name"), [(FrameKind.CONFIGURATION_1, "cfg1"), (FrameKind.CONFIGURATION_2, "cfg2")]
)
def test_a_configuration_tells_every_box(kind: FrameKind, name: str) -> None:
    message = parse(frame_bytes(configuration(stream(("1", "4", "99999")), kind, FrameTime(5, 6))))
    config = config_of(message)
    assert (message.kind, message.soc, message.fracsec) == (name, 5, 6)
    assert [pmu.station for pmu in config.pmus] == ["Box 1", "Box 4", "Box 99999"]
    assert [pmu.id_code for pmu in config.pmus] == [1, 4, 65534]
    assert [pmu.phasors for pmu in config.pmus] == [["V"]] * 3
    assert {pmu.form for pmu in config.pmus} == {0xF} and {pmu.nominal_hz for pmu in config.pmus} == {60}
    assert (config.rate, config.time_base) == (10, 1_000_000)


def test_configuration_3_tells_class_delay_and_place_too() -> None:
    message = parse(frame_bytes(configuration(stream(), FrameKind.CONFIGURATION_3, FrameTime(5, 6))))
    config = config_of(message)
    assert (message.kind, message.version) == ("cfg3", 2)
    assert [pmu.station for pmu in config.pmus] == ["Box 1", "Box 4"]
    assert config.more["class"] == [b"P"] * 2 and config.more["window_delay_us"] == [(66800, 33400)] * 2
    assert config.more["global"] == [b"OPQ0000000000001", b"OPQ0000000000004"]
    assert config.more["scales"][0] == [(0, 0b100, 0, 1.0, 0.0)]
    assert all(math.isinf(value) for value in config.more["place"][0])


def test_the_most_boxes_fit_every_frame() -> None:
    boxes = tuple(str(4_000_000_000 + number) for number in range(MAX_STATIONS))
    of = stream(boxes)
    assert len({station.id_code for station in of.stations}) == MAX_STATIONS
    for kind in (FrameKind.CONFIGURATION_2, FrameKind.CONFIGURATION_3):
        assert (
            len(config_of(parse(frame_bytes(configuration(of, kind, FrameTime(0, 0))))).pmus) == MAX_STATIONS
        )
    with pytest.raises(FrameError, match="at most 65535"):
        frame_bytes(configuration(stream(boxes * 2), FrameKind.CONFIGURATION_3, FrameTime(0, 0)))


def test_a_header_is_text_for_people() -> None:
    message = parse(frame_bytes(header(stream(), FrameTime(0, 0))))
    assert message.kind == "header" and b"2 Boxes, class P, 10 reports/s" in message.body


@pytest.mark.parametrize("rate", range(1, 121))
def test_every_report_instant_divides_the_second(rate: int) -> None:
    base = time_base(rate)
    assert base % rate == 0 and 100_000 < base < 1 << 24
    of = stream(reports_per_s=rate)
    for number in (0, 1, rate - 1, rate):
        t_ns = 7 * 10**9 + number * 10**9 // rate
        seconds, fraction = of.instant(t_ns)
        assert (seconds * base + fraction) * rate == (7 * rate + number) * base


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 17), st.binary(max_size=30))
def test_frames_are_found_in_any_cutting(bodies: list[bytes], piece: int, junk: bytes) -> None:
    junk = junk.replace(b"\xaa", b"")  # else it may begin a frame that swallows the next: the CRC's case
    frames = [Frame(FrameKind.COMMAND, 7, FrameTime(1, 2), body) for body in bodies]
    raw = b"".join(frame_bytes(frame) + junk for frame in frames)
    reader = FrameReader(256)
    found = [f for at in range(0, len(raw), piece) for f in reader.feed(raw[at : at + piece])]
    assert found == frames
    assert reader.skipped == len(junk) * len(frames) and reader.bad == (len(frames) if junk else 0)


@given(st.lists(st.binary(max_size=300) | st.just(b"\xaa\x41\x00\xff"), max_size=20))
def test_no_bytes_make_the_reader_fail_or_grow(pieces: list[bytes]) -> None:
    reader = FrameReader(256)
    good = Frame(FrameKind.COMMAND, 7, FrameTime(1, 2), b"\x00\x02")
    found = [frame for piece in pieces for frame in reader.feed(piece)]
    assert len(reader._held) < 256 and not found
    for _ in range(20):  # whatever a stray head still wanted, the reader comes back
        found += reader.feed(frame_bytes(good))
    assert found and set(found) == {good}


def test_after_garbage_the_next_frame_is_found() -> None:
    good = Frame(FrameKind.COMMAND, 7, FrameTime(1, 2), b"\x00\x02")
    raw = frame_bytes(good)
    reader = FrameReader(256)
    assert reader.feed(raw[:-1] + b"\0" + raw) == [good]
    assert reader.feed(b"\xaa\x41\xff\xff" + b"\xaa\xf1" + raw) == [good]  # too long; no such kind
    assert reader.bad == 2 and reader.skipped == len(raw) + 6


@pytest.mark.parametrize(
    ("uncertainty_ns", "of_data", "of_message"),
    [
        (0, 1, 1),
        (1, 1, 1),
        (99, 1, 3),
        (100, 2, 3),
        (101, 2, 4),
        (999, 2, 4),
        (26_000, 4, 6),
        (1_000_000, 6, 7),
        (50_000_000, 7, 9),
        (4_000_000_000, 7, 11),
        (UNKNOWN_UNCERTAINTY_NS, 7, 15),
    ],
)
def test_uncertainty_is_reported_in_the_standards_codes(
    uncertainty_ns: int, of_data: int, of_message: int
) -> None:
    assert data_quality(uncertainty_ns) == of_data
    assert message_quality(False, uncertainty_ns) == of_message
    assert message_quality(True, uncertainty_ns) == 0
    if of_message < 15:  # the code's bound holds: within 10**(code - 10) s
        assert uncertainty_ns <= 10 ** (of_message - 1)


def test_in_sync_costs_below_a_percent() -> None:
    """The part of the total vector error that comes from the time."""
    assert in_sync(TimeSource.GPS, 26_000, 60.0) and not in_sync(TimeSource.GPS, 27_000, 60.0)
    assert in_sync(TimeSource.HOLDOVER, 31_000, 50.0) and not in_sync(TimeSource.FREE, 0, 50.0)


def test_the_status_word_has_its_bits() -> None:
    assert stat(GOOD) == 0b00_0_0_0_0_0_001_00_0000
    fill = PmuStatus(False, False, UNKNOWN_UNCERTAINTY_NS, math.inf)
    assert stat(fill) == 0b10_1_0_0_0_0_111_11_0000
    dip = PmuStatus(True, False, 5_000, 99.0, PhasorTrigger.MAGNITUDE_LOW, True)
    assert stat(dip) == 0b00_1_0_1_1_0_011_01_0001
    assert stat(PmuStatus(True, False, 5_000, 100.0, PhasorTrigger.MAGNITUDE_HIGH)) & 0x3F == 0b10_0010
    assert stat(PmuStatus(True, False, 5_000, 1000.0)) & 0x30 == 0b11_0000
