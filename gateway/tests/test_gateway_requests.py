"""Data requests out of the ring: whole Cycles, and every missing sample named."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opq_gateway.blocks import SampleBlock
from opq_gateway.commands.command_handler import COMMANDS_WAITING, CommandedBox, CommandHandler
from opq_gateway.commands.requests import DataRequest, answer
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring, RingSpan
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_proto.messages import TimeSource
from opq_proto.wire.frames import (
    Response,
    data_command,
    plugin_command,
    response_from_wire,
    waveform_from_frames,
)

T0_NS = 1_700_000_000_000_000_000


def ns(sample: int) -> int:
    return T0_NS + sample * 10**12 // 12_000_000


def pattern(first: int, count: int) -> np.ndarray:
    return ((np.arange(first, first + count, dtype=np.int64) * 7919) % 65536 - 32768).astype(np.int16)


def filled(folder: Path, spans: list[tuple[int, int]]) -> Ring:
    ring = Ring(folder, "1", 1.0)
    for first, end in spans:
        for at in range(first, end, 200):
            counts = pattern(at, min(200, end - at))
            ring.append(SampleBlock(7, 0.01, at, ns(at), 1000, TimeSource.GPS, 12_000_000, counts))
    return ring


def ask(ring: Ring, start: int, end: int) -> tuple[Response, object]:
    frames = answer(ring, DataRequest("1", 3, ns(start), ns(end)), 1)
    header, wave = waveform_from_frames(frames[0], frames[1:])
    return header, wave


def test_whole_cycles_cover_the_span(tmp_path: Path) -> None:
    ring = filled(tmp_path, [(0, 20_000)])
    header, wave = ask(ring, 1050, 2010)
    assert (wave.first_sample, len(wave.counts)) == (1000, 1200)
    assert np.array_equal(wave.counts, pattern(1000, 1200)) and not wave.gaps
    data = header.get_data_response
    assert data.volts_per_lsb == 0.01 and data.rate_millihz == 12_000_000 and not data.gap
    assert (data.start_ts, data.end_ts) == (round(ns(1200) / 1e6), round(ns(2200) / 1e6))
    assert (data.available_start_ns, data.available_end_ns) == (ns(0), ns(20_000))
    assert (header.box_id, header.seq, header.timestamp_ms) == (1, 3, 1)


def test_without_waiting_cycles_end_inside_the_span(tmp_path: Path) -> None:
    """docs/reference/opq-interop.md G.5: windows with start < t < end, both strict; t is a window's end, in
    ms."""
    ring = filled(tmp_path, [(0, 20_000)])
    for start_ms, end_ms in ((100, 400), (133, 400), (87, 412), (101, 134), (100, 1000)):
        asked = DataRequest("1", 3, T0_NS + start_ms * 10**6, T0_NS + end_ms * 10**6, inside=True)
        header, wave = waveform_from_frames(*(lambda frames: (frames[0], frames[1:]))(answer(ring, asked, 1)))
        stamps = [round((n + 1) * 1000 / 60) for n in range(100)]
        expected = [n for n, stamp in enumerate(stamps) if start_ms < stamp < end_ms]
        assert wave is not None
        assert (wave.first_sample, len(wave.counts)) == (200 * expected[0], 200 * len(expected))
        assert not header.get_data_response.gap
    none = answer(ring, DataRequest("1", 3, T0_NS + 101 * 10**6, T0_NS + 110 * 10**6, inside=True), 1)
    assert len(none) == 1, "no window ends in this span"


def test_a_gap_includes_its_incomplete_cycle(tmp_path: Path) -> None:
    ring = filled(tmp_path, [(0, 1100), (1700, 5000)])
    header, wave = ask(ring, 0, 3000)
    gaps = [(gap.first_sample, gap.samples) for gap in header.get_data_response.gap]
    assert gaps == [(1000, 700)]  # 1000..1099 are there, but half a Cycle
    assert [(run.first_sample, len(run.counts)) for run in wave.runs()] == [(0, 1000), (1700, 1400)]
    assert wave.time_ns(1700) == ns(1700)


def test_a_span_beyond_the_ring_is_named(tmp_path: Path) -> None:
    ring = filled(tmp_path, [(4000, 8000)])
    header, wave = ask(ring, 3000, 9000)
    assert len(wave.counts) == 4000
    gaps = [(gap.first_sample, gap.samples, gap.reason) for gap in header.get_data_response.gap]
    assert gaps == [
        (3000, 1000, "older than the ring holds"),
        (8000, 1000, "not sampled yet when the answer was due"),
    ]


@pytest.mark.parametrize(("start", "end"), [(9000, 9500), (100, 200), (6000, 5000), (5000, 5000)])
def test_an_empty_answer_has_a_reason(tmp_path: Path, start: int, end: int) -> None:
    ring = filled(tmp_path, [(4000, 8000)])
    header, wave = ask(ring, start, end)
    data = header.get_data_response
    assert wave is None and (data.start_ts, data.end_ts) == (0, 0) and data.gap[0].reason
    assert header.WhichOneof("response") == "get_data_response"


def test_an_empty_ring_answers_too(tmp_path: Path) -> None:
    header, wave = ask(Ring(tmp_path, "1", 1.0), 0, 200)
    assert wave is None and not header.get_data_response.HasField("available_start_ns")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 3000), min_size=2, max_size=8, unique=True),
    start=st.integers(-500, 3500),
    length=st.integers(1, 2500),
)
def test_every_requested_sample_is_sent_or_missing(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], start: int, length: int
) -> None:
    cuts = sorted(cuts)
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    ring = filled(tmp_path_factory.mktemp("ring"), spans)
    header, wave = ask(ring, start, start + length)
    if wave is None:
        return
    sent = {n for run in wave.runs() for n in range(run.first_sample, run.first_sample + len(run.counts))}
    gone = set()
    for gap in header.get_data_response.gap:
        gone |= set(range(gap.first_sample, gap.first_sample + gap.samples))
    assert set(range(max(start, 0), start + length)) <= sent | gone
    assert not sent & gone
    for run in wave.runs():
        assert np.array_equal(run.counts, pattern(run.first_sample, len(run.counts)))


class Bench:
    def __init__(self, ring: Ring) -> None:
        self.now_s = 0.0
        self.counters = BoxCounters()
        self.answers: list[list[bytes]] = []
        self.commands = CommandHandler(
            10.0, now_ns=lambda: T0_NS + round(self.now_s * 1e9), monotonic_s=lambda: self.now_s
        )
        self.status = BoxStatus("1", 60)
        self.told: list[CloudAcknowledgement] = []
        self.ring = ring
        self.add(self.answers.append)

    def add(self, respond: Callable[[list[bytes]], None]) -> None:
        desk = CommandedBox(
            self.status,
            self.ring,
            self.counters,
            "key",
            lambda cycles: None,
            respond,
            acknowledge=self.told.append,
        )
        self.commands.add("1", desk)


def test_a_future_request_waits_a_minute_at_most(tmp_path: Path) -> None:
    bench = Bench(filled(tmp_path, [(0, 2000)]))
    bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 9 * 10**9, "i"))
    bench.commands.handle_command("1", data_command("1", T0_NS + 3600 * 10**9, T0_NS + 3601 * 10**9, "i"))
    bench.now_s = 13.9
    bench.commands.serve_waiting()
    assert bench.answers == []
    bench.now_s = 14.1  # the end and five seconds
    bench.commands.serve_waiting()
    assert len(bench.answers) == 1 and len(bench.answers[0]) == 11
    bench.now_s = 60.1
    bench.commands.serve_waiting()
    assert len(bench.answers) == 2 and len(bench.answers[1]) == 1


def test_a_request_is_answered_soon_after_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the ring is seldom read."""
    ring = filled(tmp_path, [(0, 2000)])
    bench = Bench(ring)
    looks = 0

    def span(real: Callable[[], RingSpan | None] = ring.span) -> RingSpan | None:
        nonlocal looks
        looks += 1
        return real()

    monkeypatch.setattr(ring, "span", span)
    bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 4 * 10**9, "i"))
    for first in range(2000, 60_000, 200):
        ring.append(
            SampleBlock(7, 0.01, first, ns(first), 1000, TimeSource.GPS, 12_000_000, pattern(first, 200))
        )
        bench.now_s = (first + 200) / 12_000
        bench.commands.serve_waiting()
        if bench.answers:
            break
    assert 4.0 < bench.now_s < 4.1
    assert looks < 30


@pytest.mark.parametrize("behind_s", [7.0, 3600.0])
def test_a_slow_box_clock_is_waited_for(tmp_path: Path, behind_s: float) -> None:
    ring = filled(tmp_path, [(0, 2000)])
    bench = Bench(ring)
    bench.now_s = behind_s
    bench.status.sample_ns, bench.status.sample_monotonic_s = ns(2000), bench.now_s
    bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 10**9, "i"))
    bench.commands.serve_waiting()
    assert bench.answers == []
    ring.append(SampleBlock(7, 0.01, 2000, ns(2000), 1000, TimeSource.GPS, 12_000_000, pattern(2000, 20_000)))
    bench.now_s += 1.0
    bench.commands.serve_waiting()
    assert len(bench.answers) == 1 and len(bench.answers[0]) == 1 + 60


def test_a_silent_slow_clock_is_not_waited_for(tmp_path: Path) -> None:
    bench = Bench(filled(tmp_path, [(0, 2000)]))
    bench.now_s = 13.0
    bench.status.sample_ns, bench.status.sample_monotonic_s = ns(2000), 1.0
    bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 10**9, "i"))
    assert len(bench.answers) == 1


def test_excess_waiting_requests_are_answered_at_once(tmp_path: Path) -> None:
    bench = Bench(filled(tmp_path, [(0, 2000)]))
    for _ in range(COMMANDS_WAITING + 2):
        bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 9 * 10**9, "i"))
    assert [len(frames) for frames in bench.answers] == [11, 11]
    assert bench.counters["requests_unwaited"] == 2


def test_the_end_does_not_wait_for_long_answers(tmp_path: Path) -> None:
    bench = Bench(filled(tmp_path, [(0, 2000)]))
    stop = threading.Event()

    def respond(frames: list[bytes]) -> None:  # each takes 0.2 s
        stop.set()
        bench.now_s += 0.2
        bench.answers.append(frames)

    bench.add(respond)
    for _ in range(20):
        bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 9 * 10**9, "i"))  # waits
        bench.commands.offer("1", data_command("1", T0_NS, T0_NS + 10**8, "i", wait=False))
    bench.commands.run(stop)
    assert len(bench.answers) == 1 + 3
    assert bench.counters["responses_dropped"] == 17


def test_a_long_request_is_cut_and_says_so(tmp_path: Path) -> None:
    ring = filled(tmp_path, [(0, 200_000)])
    bench = Bench(ring)
    bench.now_s = 100.0
    bench.commands.handle_command("1", data_command("1", T0_NS, T0_NS + 16 * 10**9, "i"))
    header = response_from_wire(bench.answers[0][0]).get_data_response
    assert len(bench.answers[0]) == 1 + 600  # 10 s
    assert header.gap[-1].reason == "the request is longer than one answer may be"
    assert bench.counters["requests_shortened"] == 1


def test_a_request_before_the_ring_gets_the_oldest(tmp_path: Path) -> None:
    bench = Bench(filled(tmp_path, [(24_000, 200_000)]))
    bench.now_s = 100.0
    for start_ns, end_ns in ((0, 2**62), (T0_NS - 3600 * 10**9, T0_NS + 5 * 10**9)):
        bench.commands.handle_command("1", data_command("1", start_ns, end_ns, "i", wait=False))
    first, second = (waveform_from_frames(frames[0], frames[1:]) for frames in bench.answers)
    assert (
        first[1].first_sample == 24_000 and len(first[1].counts) == 119_800
    )  # 10 s, none that ends with them
    reasons = [gap.reason for gap in first[0].get_data_response.gap]
    assert reasons == ["older than the ring holds", "the request is longer than one answer may be"]
    assert second[1].first_sample == 24_000 and len(second[1].counts) == 35_800  # to its end, 5 s
    assert bench.counters["requests_shortened"] == 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_no_bytes_of_a_peer_end_the_handler(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    bench = Bench(Ring(tmp_path_factory.mktemp("ring"), "1", 1.0))
    bench.commands.handle_command("1", data)
    bench.commands.serve_waiting()


def test_an_acknowledgement_gets_no_answer(tmp_path: Path) -> None:
    bench = Bench(Ring(tmp_path, "1", 1.0))
    bench.now_s = 5.0
    bench.commands.handle_command("1", plugin_command("1", "opq-ack", "17,19-23", "i"))
    bench.commands.handle_command("1", plugin_command("1", "opq-ack", "17,19", "i"))
    assert bench.told == [CloudAcknowledgement(17, ((19, 23),))]
    assert bench.status.acknowledged_sequence == 17 and bench.status.acknowledged_monotonic_s == 5.0
    assert bench.counters["acknowledgements"] == bench.counters["commands_malformed"] == 1
    assert bench.answers == []
