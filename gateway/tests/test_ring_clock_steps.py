"""A Box's clock is set: which samples a read and a request by time get; the counts say which they are."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opq_gateway.blocks import SampleBlock
from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealing import seal
from opq_gateway.ring.segment import Segment, StatedFacts
from opq_gateway.ring.time_axes import TimeAxes
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource, Waveform
from opq_proto.wire.frames import Response, data_command, waveform_from_frames

S = 10**9
T0_NS = 1_795_659_441 * S
RATE = 12_000
YEAR_S = 365 * 86_400
BOUNDS = {TimeSource.FREE: UNKNOWN_UNCERTAINTY_NS, TimeSource.NTP: 5_000_000, TimeSource.GPS: 200}
Part = tuple[TimeSource, float, float]
"""Source, seconds that it lasts, and how far its stamps are ahead of the truth, in seconds."""


def true_ns(sample: int) -> int:
    return T0_NS + sample * S // RATE


class Recorder:
    """Writes blocks of one boot as a gateway does, a second at a time."""

    def __init__(self, folder: Path, boot_id: int = 7) -> None:
        self.ring = Ring(folder, "1", 1.0)
        self.boot_id, self.sample = boot_id, 0

    def write(self, source: TimeSource, lasting_s: float, ahead_s: float) -> None:
        blocks = []
        for first in range(self.sample, self.sample + round(lasting_s * 60) * 200, 200):
            counts = np.full(200, first // 200 % 30_000, np.int16)
            t_ns = true_ns(first) + round(ahead_s * S)
            blocks.append(
                SampleBlock(self.boot_id, 0.01, first, t_ns, BOUNDS[source], source, RATE * 1000, counts)
            )
        self.sample += round(lasting_s * 60) * 200
        for at in range(0, len(blocks), 60):
            self.ring.append_all(blocks[at : at + 60])


def recorded(folder: Path, *parts: Part) -> Ring:
    recorder = Recorder(folder)
    for part in parts:
        recorder.write(*part)
    return recorder.ring


def span_of(wave: Waveform | None) -> tuple[str, int, int] | None:
    """Source and [first, end) of the samples, which have to be those of their indices."""
    if wave is None:
        return None
    assert not wave.gaps
    indices = np.arange(wave.first_sample, wave.first_sample + len(wave.counts))
    assert np.array_equal(wave.counts, indices // 200 % 30_000)
    return wave.source.name, wave.first_sample, wave.first_sample + len(wave.counts)


def read(ring: Ring, start_s: float, end_s: float) -> tuple[str, int, int] | None:
    """Without the blocks that touch the span by the rounding of a time: 2 ns."""
    return span_of(ring.read(T0_NS + round(start_s * S) + 2, T0_NS + round(end_s * S) - 2))


def seconds(start_s: float, end_s: float) -> tuple[int, int]:
    return round(start_s * RATE), round(end_s * RATE)


FREE_THEN_GPS = (TimeSource.FREE, 30, 10.0), (TimeSource.GPS, 20, 0.0)


@pytest.mark.parametrize("how", ["live", "reader", "sealed"])
def test_after_a_step_back_the_better_clock_counts(tmp_path: Path, how: str) -> None:
    ring = recorded(tmp_path, *FREE_THEN_GPS)
    if how == "sealed":
        ring.close()
        for segment in ring.unsealed():
            made = seal(segment.path)
            assert made is not None and ring.replace(segment, made)
    if how != "live":
        ring = Ring(tmp_path, "1", 1.0)
    for start_s, end_s in ((30, 33), (33, 35), (36, 41), (39.5, 40.5), (40, 42), (48, 50)):
        assert read(ring, start_s, end_s) == ("GPS", *seconds(start_s, end_s))
    for start_s, end_s in ((0, 2), (27, 31), (29.5, 30.5)):  # recorded before the lock, or across it
        assert read(ring, start_s, end_s) == ("HOLDOVER", *seconds(start_s, end_s))


@pytest.mark.parametrize(
    "ahead_s", [-0.6, -4.2, -500, -10_800, -10 * YEAR_S, 0.6, 4.2, 500, 10_800, 10 * YEAR_S]
)
def test_a_window_across_a_step_is_whole(tmp_path: Path, ahead_s: float) -> None:
    ring = recorded(tmp_path, (TimeSource.FREE, 30, ahead_s), (TimeSource.GPS, 20, 0.0))
    assert read(ring, 28, 32) == ("HOLDOVER", *seconds(28, 32))
    assert read(ring, 31, 33) == ("GPS", *seconds(31, 33))
    span = ring.span()
    assert span is not None
    assert abs(span.start_ns - T0_NS) <= 2 and abs(span.end_ns - T0_NS - 50 * S) <= 1


def test_times_of_the_earlier_clock_keep_samples(tmp_path: Path) -> None:
    ring = recorded(tmp_path, (TimeSource.FREE, 30, -10_800), (TimeSource.GPS, 20, 0.0))
    assert read(ring, -10_790, -10_780) == ("FREE", *seconds(10, 20))
    assert read(ring, -10_900, -10_890) is None


def test_of_two_equal_clocks_the_later_one_counts(tmp_path: Path) -> None:
    ring = recorded(tmp_path, (TimeSource.FREE, 30, 10.0), (TimeSource.FREE, 30, 0.0))
    assert read(ring, 33, 39) == ("FREE", *seconds(33, 39))
    assert read(ring, 28, 32) == ("FREE", *seconds(28, 32))


def test_a_contradicting_clock_counts(tmp_path: Path) -> None:
    ring = recorded(tmp_path, (TimeSource.NTP, 30, 2.0), (TimeSource.NTP, 30, 0.0))
    assert read(ring, 28, 32) == ("NTP", *seconds(28, 32))


def test_a_better_clock_stamps_back_within_its_bound(tmp_path: Path) -> None:
    """The rate is known to 2 x 200 ns in 20 s and 10 ppm: 5 ms after 500 s."""
    ring = recorded(tmp_path, (TimeSource.NTP, 900, 0.003), (TimeSource.GPS, 20, 0.0))
    near, far = (ring.read(T0_NS + at_s * S + 2, T0_NS + (at_s + 1) * S) for at_s in (800, 100))
    assert near is not None and near.source is TimeSource.HOLDOVER
    assert abs(near.start_ns - true_ns(near.first_sample)) <= 10 and near.first_sample == 800 * RATE - 200
    assert 1_000_000 < near.uncertainty_ns < 1_100_000
    assert far is not None and far.source is TimeSource.NTP and far.uncertainty_ns == 5_000_000


def test_the_boot_with_most_of_the_span_answers(tmp_path: Path) -> None:
    """Two boots hold a part of it."""
    first = Recorder(tmp_path)
    first.write(TimeSource.FREE, 30, 0.0)
    second = Recorder(tmp_path, boot_id=8)
    second.ring = first.ring
    second.write(TimeSource.GPS, 10, 30.5)
    wave = first.ring.read(T0_NS + 20 * S, T0_NS + 31 * S)
    assert wave is not None and span_of(wave) == ("FREE", *seconds(20, 30))
    second.write(TimeSource.FREE, 10, 25.0)  # it restarted, and its clock is 5 s behind
    assert span_of(first.ring.read(T0_NS + 36 * S, T0_NS + 38 * S)) == ("GPS", *seconds(5.5, 7.5))


def test_only_a_step_forwards_begins_a_file(
    tmp_path: Path,
) -> None:
    """A clock that jumps with each block begins none."""
    ring = recorded(tmp_path / "set", (TimeSource.FREE, 10, -4.2), (TimeSource.GPS, 10, 0.0))
    assert [segment.first_sample for segment in ring.segments()] == [0, 120_000]
    recorder = Recorder(tmp_path / "jumps")
    for number in range(600):
        recorder.write(TimeSource.FREE, 1 / 60, 0.005 * number)
    assert len(recorder.ring.segments()) <= 21
    assert sum(len(block.counts) for block in recorder.ring.read_blocks(0, 2**62)) == 600 * 200


def test_a_thousand_clock_steps_keep_reads_fast(tmp_path: Path) -> None:
    """A day of a Box whose clock is set every minute and a half; the rest of the ring is not read."""
    segments = [
        Segment(tmp_path, StatedFacts(7, 0.01), 1, T0_NS + at * 91 * S, T0_NS + (at * 91 + 90) * S)
        for at in range(1000)
    ]
    for at, segment in enumerate(segments):
        segment.first_sample, segment.end_sample = at * 90 * RATE, (at + 1) * 90 * RATE
        segment.clock = BOUNDS[TimeSource.NTP], TimeSource.NTP
    began_s = time.process_time()
    axes = TimeAxes(segments, lambda segment: segment.clock or (0, TimeSource.FREE))
    assert len(axes.axes) == 1000
    for at in range(20):
        assert axes.meant(T0_NS + at * S, T0_NS + (at + 2) * S) is not None
    assert axes.start_ns() == pytest.approx(T0_NS + 999 * S, abs=10 * S)  # all by the last one
    assert time.process_time() - began_s < 2.0


class Desk:
    """The command handler of a ring that grows, by a clock in its hands."""

    def __init__(self, folder: Path, respond: Callable[[list[bytes]], None] | None = None) -> None:
        self.recorder = Recorder(folder)
        self.ahead_s = 0.0
        self.answers: list[list[bytes]] = []
        self.handler = CommandHandler(20.0, now_ns=lambda: T0_NS, monotonic_s=self.now_s)
        self.status, self.counters = BoxStatus("1", 60), BoxCounters()
        desk = CommandedBox(
            self.status, self.recorder.ring, self.counters, "key", lambda _: None, self.answers.append
        )
        self.handler.add("1", desk)

    def now_s(self) -> float:
        return self.recorder.sample / RATE

    def run(self, source: TimeSource, lasting_s: float, ahead_s: float) -> None:
        """Lets the Box sample, and the handler answer every tenth of a second."""
        until = self.recorder.sample + round(lasting_s * RATE)
        while self.recorder.sample < until:
            self.recorder.write(source, min(0.1, (until - self.recorder.sample) / RATE), ahead_s)
            self.status.sample_ns = true_ns(self.recorder.sample) + round(ahead_s * S)
            self.status.sample_monotonic_s = self.now_s()
            while self.handler.serve_waiting():
                pass

    def ask(self, start_s: float, end_s: float, stamp: tuple[int, int] | None = None) -> None:
        start_ns, end_ns = (T0_NS + round(at_s * S) for at_s in (start_s, end_s))
        self.handler.handle_command("1", data_command("1", start_ns, end_ns, "data_t_i", stamp=stamp))

    def answer(self) -> tuple[Response, tuple[str, int, int]]:
        """The only answer."""
        [frames] = self.answers
        response, wave = waveform_from_frames(frames[0], frames[1:])
        found = span_of(wave)
        assert found is not None
        return response, found


STEPS_S = [0.6, 2.0, 10.6, 3603.0, 10.0 * YEAR_S, -0.6, -2.0, -4.2, -10_796.0, -10.0 * YEAR_S]


@pytest.mark.parametrize("ahead_s", STEPS_S)
@pytest.mark.parametrize("after_s", [0.3, 1.0, 12.0])
def test_a_request_before_the_step_means_those_samples(
    tmp_path: Path, ahead_s: float, after_s: float
) -> None:
    """A crossing 0.4 s before the lock: the request comes after it, and again later."""
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 30, ahead_s)
    desk.run(TimeSource.GPS, after_s, 0.0)
    desk.ask(28.0 + ahead_s, 31.0 + ahead_s, (348_000, T0_NS + round((29 + ahead_s) * S)))
    desk.run(TimeSource.GPS, 7, 0.0)
    response, found = desk.answer()
    assert found == ("HOLDOVER", *seconds(28, 31))
    header = response.get_data_response
    assert not header.gap and abs(header.moved_ns + ahead_s * S) < 1000
    assert abs(header.start_ts * 10**6 - true_ns(336_200)) < 10**6
    assert desk.counters["requests_moved"] == 1


@pytest.mark.parametrize("ahead_s", STEPS_S)
def test_a_request_during_a_step_gets_one_answer(tmp_path: Path, ahead_s: float) -> None:
    """A whole one."""
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 29.8, ahead_s)
    desk.ask(28.3 + ahead_s, 31.3 + ahead_s)
    desk.run(TimeSource.FREE, 0.2, ahead_s)
    desk.run(TimeSource.GPS, 1.2, 0.0)
    assert desk.answers == []  # it waits for samples, whatever the older stamps are
    desk.run(TimeSource.GPS, 1.0, 0.0)
    response, found = desk.answer()
    assert found == ("HOLDOVER", 339_600, 375_600) and not response.get_data_response.gap


@pytest.mark.parametrize("ahead_s", [10.6, 600.0, 3603.0])
def test_an_event_of_the_new_clock_waits(tmp_path: Path, ahead_s: float) -> None:
    """The older stamps reach further: the answer came too early, and of other samples, in two pieces."""
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 30, ahead_s)
    desk.run(TimeSource.GPS, 6, 0.0)
    desk.ask(34.8, 36.933)
    desk.run(TimeSource.GPS, 0.9, 0.0)
    assert desk.answers == []
    desk.run(TimeSource.GPS, 0.3, 0.0)
    response, found = desk.answer()
    assert found == ("GPS", 417_600, 443_200)  # 25,600 samples
    assert not response.get_data_response.gap and not response.get_data_response.HasField("moved_ns")


def test_without_its_sample_a_request_means_old_time(
    tmp_path: Path,
) -> None:
    """An older cloud names no sample; its triggers ask for what was measured, never for what will be."""
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 30, 10.0)
    desk.run(TimeSource.GPS, 0.5, 0.0)
    desk.ask(38, 41)
    desk.run(TimeSource.GPS, 1, 0.0)
    assert desk.answer()[1] == ("HOLDOVER", *seconds(28, 31))


def test_a_request_ends_at_its_time_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 30, 3600.0)
    desk.run(TimeSource.GPS, 2, 0.0)
    desk.ask(31, 33)
    desk.recorder.sample += 7 * RATE  # time goes on, and nothing comes
    desk.handler.serve_waiting()
    response, found = desk.answer()
    assert found == ("GPS", *seconds(31, 32))
    [gap] = response.get_data_response.gap
    assert (gap.first_sample, gap.samples) == (384_000, 12_000)
    assert gap.reason == "not sampled yet when the answer was due"


def test_an_ended_boots_sample_is_answered_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run(TimeSource.FREE, 30, 10.0)
    ring = desk.recorder.ring
    desk.recorder = Recorder(tmp_path, boot_id=8)
    desk.recorder.ring = ring
    desk.recorder.sample = 0
    desk.run(TimeSource.GPS, 35, 31.0)  # true time goes on
    desk.ask(38, 41, (336_000, T0_NS + 38 * S))
    response, found = desk.answer()
    assert found == ("FREE", *seconds(28, 30))
    [gap] = response.get_data_response.gap
    assert gap.samples == 12_000 and gap.reason == "the gateway has no samples of this time"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ahead_s=st.lists(
        st.one_of(
            st.floats(-20, 20), st.floats(-86_400, 86_400), st.sampled_from([10 * YEAR_S, -10 * YEAR_S])
        ),
        min_size=2,
        max_size=2,
    ),
    sources=st.permutations([TimeSource.FREE, TimeSource.NTP]),
    at=st.integers(3 * RATE, 57 * RATE),
    later_s=st.floats(0.1, 15),
)
def test_a_measurements_sample_is_in_its_answer(
    tmp_path_factory: pytest.TempPathFactory,
    ahead_s: list[float],
    sources: list[TimeSource],
    at: int,
    later_s: float,
) -> None:
    """Two steps after 20 and 40 s, a crossing anywhere, its request some time after."""
    desk = Desk(tmp_path_factory.mktemp("ring"))
    parts = [(sources[0], 20.0, ahead_s[0]), (sources[1], 20.0, ahead_s[1]), (TimeSource.GPS, 60.0, 0.0)]
    mine = parts[min(2, at // (20 * RATE))]
    stamp_ns = true_ns(at) + round(mine[2] * S)
    asked = False
    for source, lasting_s, ahead in parts:
        for _ in range(round(lasting_s)):
            desk.run(source, 1.0, ahead)
            if not asked and desk.recorder.sample >= at + later_s * RATE:
                asked = True
                start_ns, end_ns = stamp_ns - S, stamp_ns + S
                command = data_command("1", start_ns, end_ns, "data_t_i", stamp=(at, stamp_ns))
                desk.handler.handle_command("1", command)
        if desk.answers:
            break
    response, (_, first, end) = desk.answer()
    assert first <= at - RATE and end >= at + RATE and end - first <= 24_400
    assert not response.get_data_response.gap
