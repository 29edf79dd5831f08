"""A start of a Box has a name, and its samples keep what was stated in it: docs/identity.md."""

from dataclasses import replace
from pathlib import Path

import pytest
from intake_bench import HELLO, T0_NS, Bench, samples
from telling_blocks import blocks, ns
from test_measuring_thread import Bench as MeasuringBench
from test_measuring_thread import blocks_of

from opq_gateway.blocks import SampleBlock, boot_id_of
from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.commands.requests import OF_NO_START, DataRequest, answer, ready
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.box_interruptions import BoxInterruptions
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealing import seal
from opq_gateway.ring.time_axes import SampleStamp
from opq_gateway.serial_side.sample_stream import HELLO_WAIT_S
from opq_gateway.uplink.queue import Queue
from opq_proto.link.log_codes import STARTED
from opq_proto.link.messages import FLAG_RESENT, Command, Log, Operation
from opq_proto.measurement.continuity import GapReason, clock_set_s, missing_s
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Measurement, TimeSource, Waveform
from opq_proto.wire.frames import data_command, waveform_from_frames
from opq_sim.mains import mains

ALL = (0, 2**62)
LATE_SAMPLES = 400
"""Two blocks come before it is sure that the indices fell."""
FIRST, SECOND = 5 << 32 | 7, 9 << 32 | 7
"""Two starts with one boot id, as an emulated Box of one seed has."""


def starts_of(bench: Bench) -> list[int]:
    return list(dict.fromkeys(block.start_id for block in bench.behind.blocks))


# ---- the ring ----------------------------------------------------------------------------------------------


def test_the_ring_keeps_start_and_nominal_values(tmp_path: Path) -> None:
    """In live, closed and sealed files."""
    ring = Ring(tmp_path, "1", 24.0)
    first = blocks(0, 24_000, boot=FIRST, nominal_v=120.0, nominal_hz=60.0)
    second = blocks(0, 24_000, boot=SECOND, t0_ns=ns(48_000), nominal_v=230.0, nominal_hz=50.0)
    ring.append_all(first)
    ring.append_all(second)
    wanted = [FIRST, 120.0, 60.0], [SECOND, 230.0, 50.0]

    def stated(reader: Ring) -> list[list[float | None]]:
        waves = [reader.read(0, ns(24_000)), reader.read(ns(48_000), 2**62)]
        return [[wave.start_id, wave.nominal_v, wave.nominal_hz] for wave in waves if wave is not None]

    assert stated(ring) == list(wanted) == stated(Ring(tmp_path, "1", 24.0))
    ring.close()
    for segment in ring.unsealed():
        made = seal(segment.path)
        assert made is not None and ring.replace(segment, made)
    again = Ring(tmp_path, "1", 24.0)
    assert stated(ring) == list(wanted) == stated(again)
    assert [each.start_id for each in again.segments()] == [FIRST, SECOND]


def test_another_nominal_voltage_begins_a_file(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 24.0)
    ring.append_all(blocks(0, 12_000, boot=FIRST, nominal_v=120.0, nominal_hz=60.0))
    ring.append_all(blocks(12_000, 24_000, boot=FIRST, nominal_v=230.0, nominal_hz=60.0))
    ring.close()
    assert [each.facts.nominal_v for each in ring.segments()] == [120.0, 230.0]
    assert ring.read_lost(*ALL) == []
    found = Ring(tmp_path, "1", 24.0).read_blocks(*ALL)
    assert [each.nominal_v for each in found] == [120.0] * 60 + [230.0] * 60
    assert {each.start_id for each in found} == {FIRST}


# ---- the serial side ---------------------------------------------------------------------------------------


def test_each_start_has_a_reversible_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for boot_id in (5, 6, 5, 0):
        bench.intake.accept_message(replace(HELLO, boot_id=boot_id))
        bench.feed(0, 2000)
    found = starts_of(bench)
    assert [boot_id_of(each) for each in found] == [5, 6, 5, 0]
    assert all(0 < each >> 32 < 2**31 for each in found) and len(set(found)) == 4


def test_falling_numbers_begin_another_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.intake.accept_message(HELLO)
    bench.feed(0, 20_000)
    bench.feed(0, 20_000)
    bench.now_s += HELLO_WAIT_S
    bench.feed(20_000, 22_000)
    first, second = starts_of(bench)
    assert boot_id_of(first) == boot_id_of(second) == 5 and first != second
    assert bench.status.start_id == second
    assert sum(len(block.counts) for block in bench.behind.blocks) == 20_000 + 22_000 - LATE_SAMPLES


@pytest.mark.parametrize(("cause", "reason"), [(1, GapReason.DARK), (3, GapReason.RESTART)])
def test_a_late_hello_names_its_start(tmp_path: Path, cause: int, reason: GapReason) -> None:
    """The port was opened again while the Box came back: the first hello was lost."""
    bench = Bench(tmp_path)
    bench.status.started = Log(STARTED, 5, 4 - cause, 3)
    bench.intake.accept_message(HELLO)
    bench.feed(0, 20_000)
    interruptions = BoxInterruptions(bench.status)
    bench.feed(4_400, 6_000)
    assert len(starts_of(bench)) == 1, "it waits for its hello"
    assert Command(1, Operation.HELLO) in bench.sent
    for message in (replace(HELLO, boot_id=6), Log(STARTED, 6, cause, 3)):
        bench.intake.accept_message(message)
    bench.feed(6_000, 8_000)
    (second,) = starts_of(bench)[1:]
    assert boot_id_of(second) == 6 and bench.counters["restarts"] == 1
    assert interruptions._reason_of_start(second) is reason
    assert sum(len(block.counts) for block in bench.behind.blocks) == 20_000 + 3_600 - LATE_SAMPLES


def test_a_hello_with_another_gain_begins_a_start(tmp_path: Path) -> None:
    """Also after its first samples."""
    bench = Bench(tmp_path)
    bench.intake.accept_message(HELLO)
    bench.feed(0, 20_000)
    bench.feed(4_400, 6_000)
    bench.intake.accept_message(replace(HELLO, boot_id=6, v_per_lsb=0.01))
    bench.feed(6_000, 8_000)
    assert [boot_id_of(each) for each in starts_of(bench)] == [5, 5, 6]


@pytest.mark.parametrize(
    ("source", "begins_at", "clock_s", "monotonic_s", "goes_on"),
    [
        (TimeSource.GPS, 30_000, 0.0, 0.0, True),
        (TimeSource.GPS, 30_000, 0.0, 500.0, True),  # an emulated Box that is slower than its clock
        (TimeSource.GPS, 400, 70.0, 70.0, False),  # emulated-boots-alike: one boot id, lower numbers
        (TimeSource.GPS, 30_000, 1000.0, 1000.0, False),  # and one that ran further before it was heard
        (TimeSource.FREE, 30_000, 0.0, 0.0, True),
        (TimeSource.FREE, 400, 0.0, 70.0, False),
        (TimeSource.FREE, 30_000, 0.0, 1000.0, False),
        (TimeSource.NTP, 30_000, 3600.0, 0.0, True),  # its clock was set
        (TimeSource.NTP, 30_000, 0.0, 1000.0, False),
    ],
)
def test_a_restarted_gateway_continues_only_proven_starts(
    tmp_path: Path, source: TimeSource, begins_at: int, clock_s: float, monotonic_s: float, goes_on: bool
) -> None:
    """It continues the ring's start only where it can show that it is the same."""
    known = {
        "source": source,
        "uncertainty_ns": UNKNOWN_UNCERTAINTY_NS if source is TimeSource.FREE else 1000,
    }
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 24_000, **known)
    before.intake.close()
    after = Bench(tmp_path)
    after.now_s = before.now_s + max(0, begins_at - 24_000) / 12_000 + monotonic_s
    after.intake.accept_message(HELLO)
    for at in range(begins_at, begins_at + 36_000, 200):
        t_ns = samples(at).t_ns + round(clock_s * 1e9)
        after.intake.accept_message(replace(samples(at), t_ns=t_ns, **known))
        after.now_s += 200 / 12_000
        after.intake.tick()
    after.intake.close()
    (was,), (now,) = starts_of(before), starts_of(after)
    assert (now == was) is goes_on and boot_id_of(now) == 5


def test_a_returned_port_may_bring_another_start(tmp_path: Path) -> None:
    """An emulated Box of one seed that ended, and began again with more samples than were heard before."""
    bench = Bench(tmp_path)
    bench.intake.accept_message(HELLO)
    bench.feed(0, 24_000)
    bench.intake.lost()
    bench.now_s += 5.0
    bench.intake.opened()
    bench.intake.accept_message(HELLO)
    bench.feed(84_000, 86_000)  # five seconds later by both: the plug was out
    assert len(starts_of(bench)) == 1
    bench.intake.lost()
    bench.now_s += 100.0
    bench.intake.opened()
    bench.intake.accept_message(HELLO)
    for at in range(120_000, 132_000, 200):
        bench.intake.accept_message(replace(samples(at), t_ns=samples(at).t_ns + 97 * 10**9))
    bench.intake.accept_message(HELLO)  # the answer to the gateway
    first, second = starts_of(bench)
    assert first != second and bench.counters["restarts"] == 1


def test_resent_samples_decide_nothing(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 5000)
    after = Bench(tmp_path)
    after.intake.accept_message(HELLO)
    after.intake.accept_message(replace(samples(1000), flags=FLAG_RESENT))
    assert after.behind.blocks == []
    after.intake.accept_message(samples(5000))
    assert starts_of(after) == starts_of(before)


# ---- measuring ---------------------------------------------------------------------------------------------


def told(measurement: Measurement) -> Measurement:
    """As the cloud reads it."""
    return measurement_from_wire(measurement_to_wire(measurement))


def stating(found: list[SampleBlock], start_id: int, nominal_v: float, hz: float) -> list[SampleBlock]:
    return [replace(each, start_id=start_id, nominal_v=nominal_v, nominal_hz=hz) for each in found]


def test_the_rings_samples_keep_their_nominal_voltage(tmp_path: Path) -> None:
    """`up` with one nominal voltage, then with another: the end of the first is not a sag of the second."""
    volts, _ = mains(8.0, 12_000, voltage_v=60.0, frequency_hz=60.0)
    was = stating(blocks_of(volts), FIRST, 60.0, 60.0)
    ring = Ring(tmp_path / "ring", "1", 24.0)
    ring.append_all(was)
    since_ns = T0_NS + 4 * 10**9
    bench = MeasuringBench(
        tmp_path / "ledger",
        hello=replace(HELLO, nominal_v=150.0, nominal_hz=50.0),
        backlog=lambda _: RingBacklog(ring, since_ns, ring.segments()),
    )
    volts, _ = mains(6.0, 12_000, voltage_v=150.0, frequency_hz=50.0)
    bench.status.started = Log(STARTED, 7, 4, 120)
    bench.feed(stating(blocks_of(volts, T0_NS + 60 * 10**9), SECOND, 150.0, 50.0)).end()
    found = [told(each) for each in bench.measurements]
    backfilled = [each for each in found if each.backfilled]
    assert {(each.start_id, each.nominal_v, each.nominal_hz) for each in backfilled} == {(FIRST, 60.0, 60.0)}
    live = [each for each in found if not each.backfilled]
    assert {(each.start_id, each.nominal_v, each.nominal_hz) for each in live} == {(SECOND, 150.0, 50.0)}
    assert min(each.start_ns or 0 for each in backfilled) >= since_ns - 2_000_000, "none is measured twice"
    assert all(each.metrics["rms"].average == pytest.approx(each.nominal_v, rel=1e-3) for each in found)
    assert not any("flagged" in each.metrics for each in backfilled[:-1]), "no dip and no swell"
    assert bench.told_in.take_all() == []
    starts = [each for each in live if missing_s(each.metrics)]
    assert len(starts) == 1 and not any(clock_set_s(each.metrics) for each in found)


def test_a_corrected_nominal_voltage_applies_from_then() -> None:
    volts, _ = mains(8.0, 12_000, voltage_v=150.0, frequency_hz=50.0)
    wrong, right = blocks_of(volts)[:240], blocks_of(volts)[240:]
    bench = MeasuringBench()
    bench.feed(stating(wrong, FIRST, 120.0, 50.0) + stating(right, FIRST, 150.0, 50.0)).end()
    found = [told(each) for each in bench.measurements]
    assert {each.start_id for each in found} == {FIRST}
    assert [each.nominal_v for each in found] == sorted(each.nominal_v or 0 for each in found)
    assert {each.nominal_v for each in found} == {120.0, 150.0}
    assert not any(missing_s(each.metrics) or clock_set_s(each.metrics) for each in found)


def test_two_starts_of_one_boot_are_a_restart() -> None:
    volts, _ = mains(5.0, 12_000, voltage_v=120.0, frequency_hz=60.0)
    bench = MeasuringBench()
    first, again = blocks_of(volts), blocks_of(volts, T0_NS + 70 * 10**9)
    bench.feed([replace(each, start_id=FIRST) for each in first])
    bench.status.started = Log(STARTED, 7, 4, 120)
    bench.feed([replace(each, start_id=SECOND) for each in again]).end()
    reported = [missing_s(each.metrics) for each in bench.measurements if missing_s(each.metrics)]
    assert [sum(each.values()) for each in reported] == [pytest.approx(65.0, abs=0.02)]
    assert not any(clock_set_s(each.metrics) for each in bench.measurements)


# ---- requests ----------------------------------------------------------------------------------------------


def asked(ring: Ring, start_id: int | None, at: int, t_ns: int) -> tuple[Waveform | None, str]:
    """The answer to a request of a second from a sample's time on."""
    stamp = SampleStamp(at, t_ns, start_id)
    request = DataRequest("1", 3, t_ns, t_ns + 10**9, stamp=stamp).placed(ring)
    assert ready(ring, request)
    frames = answer(ring, request, 1)
    header, wave = waveform_from_frames(frames[0], frames[1:])
    return wave, header.get_data_response.gap[0].reason if header.get_data_response.gap else ""


def test_a_named_start_answers_or_is_gone(tmp_path: Path) -> None:
    """Two starts with equal numbers at the same time: a clock was set back between them."""
    ring = Ring(tmp_path, "1", 24.0)
    ring.append_all(blocks(0, 48_000, boot=FIRST, nominal_v=120.0, nominal_hz=60.0))
    ring.append_all(blocks(0, 48_000, boot=SECOND, nominal_v=230.0, nominal_hz=50.0))
    for start_id, nominal_v in ((FIRST, 120.0), (SECOND, 230.0)):
        wave, _ = asked(ring, start_id, 12_000, ns(12_000))
        assert wave is not None and wave.numbered
        assert (wave.start_id, wave.nominal_v, wave.first_sample) == (start_id, nominal_v, 12_000)
    assert asked(ring, 99 << 32 | 7, 12_000, ns(12_000)) == (None, OF_NO_START)


def test_a_request_falls_back_to_its_sample(tmp_path: Path) -> None:
    """The clock by which the Box was measured then was replaced, and its file is gone."""
    ring = Ring(tmp_path, "1", 24.0)
    ring.append_all(blocks(0, 48_000, boot=FIRST))
    wave, _ = asked(ring, FIRST, 12_000, ns(12_000) - 3600 * 10**9)
    assert wave is not None and (wave.first_sample, len(wave.counts)) == (12_000, 12_000)


def test_a_command_names_its_start_on_the_wire(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 24.0)
    ring.append_all(blocks(0, 48_000, boot=FIRST, nominal_v=120.0, nominal_hz=60.0))
    ring.append_all(blocks(0, 48_000, boot=SECOND, nominal_v=230.0, nominal_hz=50.0))
    answers: list[list[bytes]] = []
    handler = CommandHandler(120.0, now_ns=lambda: ns(60_000))
    desk = CommandedBox(BoxStatus("1", 60), ring, BoxCounters(), "key", lambda _: None, answers.append)
    handler.add("1", desk)
    for start_id in (FIRST, SECOND, 99 << 32):
        stamp = 12_000, ns(12_000)
        command = data_command("1", ns(12_000), ns(24_000), "data_t_i", stamp=stamp, start_id=start_id)
        handler.handle_command("1", command)
    found = [waveform_from_frames(frames[0], frames[1:]) for frames in answers]
    stated = [None if wave is None else (wave.start_id, wave.nominal_v) for _, wave in found]
    assert stated == [(FIRST, 120.0), (SECOND, 230.0), None]
    assert found[2][0].get_data_response.gap[0].reason == OF_NO_START


def test_a_queued_measurement_keeps_its_start(tmp_path: Path) -> None:
    row = Measurement("1", 2000, {}, 10**9, 2 * 10**9, first_sample=5, samples=9, start_id=SECOND)
    queue = Queue(tmp_path / "queue.sqlite", {"1": BoxCounters()})
    queue.store([("1", row)])
    queue.close()
    again = Queue(tmp_path / "queue.sqlite", {"1": BoxCounters()})
    ((_, body),) = again.read("1", 0, 2**62, 10)
    again.close()
    assert measurement_from_wire(body).start_id == SECOND
