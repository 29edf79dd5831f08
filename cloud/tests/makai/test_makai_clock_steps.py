"""A Box's clock is set: its event asks by the clock of the Measurement, and takes the times of the answer."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_triggers import batch

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection, TriggeringServiceSection
from opq_cloud.makai.box_starts import BoxStarts
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.answers import reach_of
from opq_cloud.makai.openings.recent_events import EventSpan, RecentEvents
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement, TimeSource, Waveform
from opq_proto.wire.frames import response_from_wire, waveform_from_frames, waveform_to_frames
from opq_proto.wire.opqbox3_pb2 import Command
from opq_proto.wire.waveforms import NOT_SAMPLED_YET

S = 10**9
RATE = 12_000


class Cloud:
    """Both brokers, the triggering and the event service, all running, and Boxes that were heard."""

    def __init__(self, makai: Any, folder: Path, running: ExitStack, *box_ids: str) -> None:
        brokers = makai.brokers()
        shared = CloudContext(lambda: open_store(None, folder / "store"))
        running.callback(shared.close)
        acquisition, free = brokers.acquisition_config, makai.free_endpoint
        ends = {"request_endpoint": acquisition.request_endpoint}
        backend = brokers.triggering_config.backend_endpoint
        triggering = TriggeringServiceSection(measurement_endpoint=backend, batch_ms=20, **ends)
        self.events = EventService(
            EventServiceSection(
                answer_endpoint=acquisition.answer_endpoint,
                event_endpoint=free(),
                event_id_endpoint=free(),
                answer_timeout_s=60.0,
                ask_again_s=1.0,
                **ends,
            ),
            shared,
        )
        service = TriggeringService(triggering, shared, Nominal(120.0, 60.0))
        for each in (brokers.triggering, brokers.acquisition, service, self.events):
            running.enter_context(makai.running(each))
        self.boxes = [makai.box(brokers, box_id) for box_id in box_ids]
        self.store, self.wait_for = shared.store, makai.wait_for
        for box_id in box_ids:
            self.wait_for(lambda each=box_id: brokers.acquisition.counters.of("boxes_listening", each))

        def all_heard() -> bool:
            for box in self.boxes:
                box.pub.send_multipart(box.measurement(timestamp_ms=now_ms()))
            time.sleep(0.02)
            return {part.name for part in service.health()} >= set(box_ids)

        self.wait_for(all_heard)

    def finished(self) -> Any:
        """The record of the only event, once it is finished."""
        [record] = self.wait_for(lambda: [each for each in self.store.events() if each.finished])
        return record


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def data_command(box: Any) -> Command:
    """The next data command to this Box; acknowledgements are left out."""
    while (command := box.command()) is not None:
        if command.WhichOneof("command") == "data_command":
            return command
    pytest.fail("no data command")


def answered(
    command: Command, first: int, start_ns: int, samples: int, moved_ns: int = 0, gap: Any = None
) -> list[bytes]:
    """A gateway's answer with `samples` from index `first` on."""
    counts = np.arange(samples, dtype=np.int64).astype(np.int16)
    wave = Waveform(str(command.box_id), start_ns, 200, TimeSource.GPS, RATE * 1000, 0.01, first, counts)
    frames = waveform_to_frames(wave, wave.box_id, command.seq, 1, start_ns, start_ns + 10**12)
    response = response_from_wire(frames[0])
    if moved_ns:
        response.get_data_response.moved_ns = moved_ns
    if gap:
        response.get_data_response.gap.add(**gap)
    return [response.SerializeToString(), *frames[1:]]


@pytest.mark.parametrize("set_s", [-3603, 10_796, -10.6, 10 * 365 * 86_400])
def test_an_event_takes_the_better_clocks_times(
    makai: Any, tmp_path: Path, running: ExitStack, set_s: float
) -> None:
    """A request names a sample; the event takes the times of the better clock."""
    cloud, set_ns = Cloud(makai, tmp_path, running, "1", "4"), round(set_s * S)
    one, four = cloud.boxes
    behind_ms = round(set_s * 1000) if set_s > 86_400 else 0  # it is set to now: next year is refused
    at_ms = now_ms() - behind_ms
    start_ns = (at_ms - 500) * 10**6
    saw = {"start_ns": start_ns, "end_ns": at_ms * 10**6, "first_sample": 348_000, "samples": 6000}
    one.pub.send_multipart(one.measurement(80.0, at_ms, **saw))
    first, other = (data_command(box) for box in (one, four))
    assert (first.data_command.sample, first.data_command.sample_ns) == (348_000, start_ns)
    assert not other.data_command.HasField("sample"), "the clock of Box 4 is another one"
    again = data_command(one)  # it did not answer
    assert again.data_command == first.data_command
    asked_ns = first.data_command.start_ms * 10**6
    begin = 348_000 - (start_ns - asked_ns) * RATE // S
    one.push.send_multipart(answered(again, begin, asked_ns + set_ns, 40_000, set_ns))
    four.push.send_multipart(answered(other, 5_000_000, asked_ns, 40_000))
    record = cloud.finished()
    assert record.short == {} and record.missing == {}
    assert abs(record.start_ns - asked_ns - set_ns) < 10**6
    assert record.onset_stamp == (348_000, start_ns + set_ns)
    mine, _ = cloud.store.event(record.event_id).waveforms
    assert mine.first_sample == begin and mine.first_sample <= 348_000 < begin + len(mine.counts)
    assert mine.start_ns == asked_ns + set_ns and mine.gaps == ()


def test_a_part_neither_sent_nor_named_is_requested(makai: Any, tmp_path: Path, running: ExitStack) -> None:
    """An original Box sends another part of the span after a step back, and names no gap."""
    cloud = Cloud(makai, tmp_path, running, "1")
    [one] = cloud.boxes
    at_ms = now_ms()
    saw = {"start_ns": (at_ms - 500) * 10**6, "end_ns": at_ms * 10**6}
    one.pub.send_multipart(one.measurement(80.0, at_ms, **saw))
    for _ in range(3):
        command = data_command(one)
        assert not command.data_command.HasField("sample"), "an original Box sends no index"
        start_ns = command.data_command.start_ms * 10**6
        one.push.send_multipart(answered(command, 348_000, start_ns + S, 13_000))
    record = cloud.finished()
    assert "neither sent nor named as missing" in record.short["1"]
    assert cloud.events.counters.total("answers_short") == 2


def test_an_answer_is_compared_with_what_was_asked() -> None:
    command, start_ns = Command(seq=1, box_id=1), 1_795_659_441 * S
    span = start_ns, start_ns + 2 * S

    def reach(first_s: float, samples: int, moved_s: float = 0, reason: str = "") -> Any:
        at_ns = start_ns + round((first_s + moved_s) * S)
        gap = {"first_sample": 112_000, "samples": 12_000, "reason": reason} if reason else {}
        frames = answered(command, 100_000, at_ns, samples, round(moved_s * S), gap)
        return reach_of(*waveform_from_frames(frames[0], frames[1:]), *span)

    assert reach(0, 24_000).short is None
    assert reach(-0.01, 24_200).short is None
    assert reach(0.02, 23_600).short is None, "a Cycle less"
    assert reach(0, 24_000, moved_s=-3603.0).short is None
    ends = reach(0, 12_000)
    assert ends.short == "1000 ms of the span were neither sent nor named as missing" and not ends.ours
    assert reach(1, 12_000).short == ends.short and reach(1, 12_000).reach_ns == start_ns
    assert reach(-10, 12_000).short == "2000 ms of the span were neither sent nor named as missing"
    assert reach(0, 12_000, reason="older than the ring holds").ours
    yet = reach(0, 12_000, -3603.0, NOT_SAMPLED_YET)
    assert yet.short == NOT_SAMPLED_YET and yet.reach_ns == start_ns + S, "by the clock of the request"


def test_a_dip_after_a_clock_step_is_new() -> None:
    """The clock was set back by 10 s between them; 2 s after the first dip the same one is seen again."""
    known = EventSpan(7, 38 * S, 42 * S, {"1", "4"}, stamps={"1": (348_000, 39 * S)})
    recent = RecentEvents(10, [known])
    same = Measurement("1", 0, {}, 40 * S, 41 * S, first_sample=360_000, samples=RATE)
    assert recent.covering("1", 40 * S, 41 * S, measurement=same) is known
    assert recent.around(40 * S, 41 * S, False, same) is known
    later = replace(same, first_sample=480_000)
    assert recent.covering("1", 40 * S, 41 * S, measurement=later) is None
    assert recent.around(40 * S, 41 * S, False, later) is None
    assert recent.near(40 * S, 41 * S, S, later) is None
    started_again = replace(same, first_sample=6000)
    assert recent.covering("1", 40 * S, 41 * S, measurement=started_again) is None
    for unknown in (replace(later, first_sample=None), replace(later, box_id="4"), None):  # original Boxes
        assert recent.covering("1", 40 * S, 41 * S, measurement=unknown) is known


def test_a_dip_after_a_start_is_new() -> None:
    """The clock was set back meanwhile: each dip comes 29 s after a start, and both at the same time."""
    starts = BoxStarts()
    known = EventSpan(7, 38 * S, 42 * S, {"1"}, stamps={"1": (348_000, 39 * S)}, numbers={"1": 500})
    recent = RecentEvents(10, [known], starts)
    dip = Measurement("1", 0, {}, 40 * S, 41 * S, sequence=501, first_sample=360_000, samples=RATE)
    starts.note_columns(batch(dip))
    assert recent.covering("1", 40 * S, 41 * S, measurement=dip) is known
    starts.note_columns(batch(replace(dip, sequence=502, first_sample=348_000)))  # measured once more
    starts.note_columns(batch(replace(dip, sequence=490, first_sample=0)))  # late
    assert starts.began_with("1") is None
    starts.note_columns(batch(replace(dip, sequence=503, first_sample=0)))
    later = replace(dip, sequence=540)
    starts.note_columns(batch(later))
    assert starts.began_with("1") == 503
    for found in (
        recent.covering("1", 40 * S, 41 * S, measurement=later),
        recent.around(40 * S, 41 * S, False, later),
        recent.near(40 * S, 41 * S, S, later),
    ):
        assert found is None
    at_once = replace(dip, sequence=503, first_sample=6000)  # half a second old: a brown-out of this dip
    assert recent.covering("1", 40 * S, 41 * S, measurement=at_once) is known
    from_disk = replace(dip, sequence=541, backfilled=True)
    assert recent.covering("1", 40 * S, 41 * S, measurement=from_disk) is known


def test_dip_after_start_and_clock_step_opens_one(makai: Any, tmp_path: Path, running: ExitStack) -> None:
    """The Box starts again, and its clock is set back meanwhile."""
    cloud = Cloud(makai, tmp_path, running, "1")
    [one], end_ms, number = cloud.boxes, now_ms(), 1000

    def send(first_s: float, rms: float) -> None:
        nonlocal number
        number += 1
        ends_ms = end_ms + round(1000 * first_s)
        span = {"start_ns": (ends_ms - 1000) * 10**6, "end_ns": ends_ms * 10**6}
        index = {"first_sample": 400_000 + round(RATE * first_s), "samples": RATE, "sequence": number}
        one.pub.send_multipart(one.measurement(rms, ends_ms, **span, **index))

    def dips() -> list[Any]:
        return [each for each in cloud.store.events() if "threshold: rms" in each.because]

    for first_s in (-1, 0, 1):
        send(first_s, 84.0 if first_s == 0 else 120.0)
    assert len(cloud.wait_for(dips)) == 1
    for first_s in (-33, -32, -1):
        send(first_s, 120.0)
    send(0, 48.0)
    cloud.wait_for(lambda: len(dips()) == 2)


def test_a_start_is_found_in_columns_too() -> None:
    starts, both, zeros = BoxStarts(), (Nominal(120.0, 60.0),) * 2, np.zeros(2, np.int64)
    values = np.ones((2, 4, 3), np.float32)
    plain = Measurements.of_windows(
        ("1", "4"), both, np.arange(2), zeros, zeros + S, values, 0, TimeSource.FREE
    )

    def note(number: int, *firsts: int) -> None:
        starts.note_columns(replace(plain, sequence=zeros + number, first_sample=np.array(firsts)))

    note(7, 340_000, 900_000)
    note(8, 0, 912_000)
    note(9, 12_000, -1)  # an original Box
    assert (starts.began_with("1"), starts.began_with("4")) == (8, None)


def test_a_named_start_decides_over_index_and_time() -> None:
    """Whatever index and time say."""
    starts = BoxStarts()
    dip = Measurement(
        "1", 0, {}, 40 * S, 41 * S, sequence=501, first_sample=360_000, samples=RATE, start_id=7
    )
    starts.note_columns(batch(dip))
    known = EventSpan(7, 38 * S, 42 * S, {"1"}, stamps={"1": (348_000, 39 * S)}, starts={"1": 7})
    recent = RecentEvents(10, [known], starts)
    assert recent.covering("1", 40 * S, 41 * S, measurement=dip) is known
    again = replace(dip, sequence=601, start_id=8)  # the same index at the same time by its clock
    starts.note_columns(batch(again))
    assert (starts.present("1"), starts.began_with("1")) == (8, 601)
    assert recent.covering("1", 40 * S, 41 * S, measurement=again) is None
    assert recent.around(40 * S, 41 * S, False, again) is None
    unnamed = replace(dip, sequence=602, start_id=None)
    assert recent.covering("1", 40 * S, 41 * S, measurement=unnamed) is known, "an original Box names none"


def test_two_gateways_of_one_box_are_reported() -> None:
    """Their starts take turns, also once a minute; starts that follow one another are a Box that restarts."""
    now_s = 0.0
    boxes = BoxRegister(Nominal(120.0, 60.0), lambda: now_s)
    row = Measurement("1", 0, {}, 40 * S, 41 * S, first_sample=0, samples=RATE)

    def reported(starts: list[int], every_s: float) -> list[str]:
        nonlocal now_s
        for start_id in starts:
            now_s += every_s
            boxes.note_columns(batch(replace(row, start_id=start_id)))
        return [each.name for each in boxes.health() if not each.ok]

    assert reported([1, 2, 3, 4, 5, 6, 7, 8, 9], 1.0) == []
    assert reported([8, 9, 9, 9, 10, 9, 9], 1.0) == []  # three rows overtook others
    assert reported([11, 12] * 3, 30.0) == ["gateway of Box 1"]
    assert reported([12] * 3, 40.0) == []  # one of them has ended


def test_the_arrival_order_shows_a_clock_step() -> None:
    """The order of arrival shows that the clock of an original Box was set back."""
    arrivals = iter((11, 22))
    starts = BoxStarts(lambda: next(arrivals))
    first = Measurement("1", 40_000, {})
    starts.note_columns(batch(first))
    known = EventSpan(7, 38 * S, 42 * S, {"1", "2"})
    recent = RecentEvents(10, [known], starts)
    assert recent.covering("1", 39 * S, 40 * S, measurement=first) is known
    for timestamp_ms, present in ((41_000, None), (39_900, 11), (40_900, 11), (30_000, 22)):
        starts.note_columns(batch(replace(first, timestamp_ms=timestamp_ms)))
        assert starts.present("1") == present
    later = replace(first, timestamp_ms=41_900)
    assert recent.covering("1", 40 * S, 41 * S, measurement=later) is None
    assert recent.around(40 * S, 41 * S, False, later) is None
    assert recent.covering("2", 40 * S, 41 * S, measurement=replace(later, box_id="2")) is known
