"""A Box's clock is set: its event asks by the clock of the Measurement, and takes the times of the answer."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.answers import reach_of
from opq_cloud.makai.openings.recent_events import EventSpan, RecentEvents
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.makai_settings import EventServiceSection, TriggeringServiceSection
from opq_cloud.service import CloudContext
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, TimeSource, Waveform
from opq_proto.opqbox3_pb2 import Command
from opq_proto.wire import response_from_wire, waveform_from_frames, waveform_to_frames
from opq_proto.wire_waveforms import NOT_SAMPLED_YET

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
def test_a_request_names_a_sample_and_the_event_takes_the_times_of_the_better_clock(
    makai: Any, tmp_path: Path, running: ExitStack, set_s: float
) -> None:
    cloud, set_ns = Cloud(makai, tmp_path, running, "1", "4"), round(set_s * S)
    one, four = cloud.boxes
    at_ms = now_ms()
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


def test_what_was_neither_sent_nor_named_is_asked_for_again_and_said(
    makai: Any, tmp_path: Path, running: ExitStack
) -> None:
    """As an older gateway after a step back: another part of the span, and no gap."""
    cloud = Cloud(makai, tmp_path, running, "1")
    [one] = cloud.boxes
    at_ms = now_ms()
    saw = {"start_ns": (at_ms - 500) * 10**6, "end_ns": at_ms * 10**6}
    one.pub.send_multipart(one.measurement(80.0, at_ms, **saw))
    for _ in range(3):
        command = data_command(one)
        assert not command.data_command.HasField("sample"), "an older gateway sends no index"
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


def test_a_later_dip_with_the_times_of_an_event_of_the_clock_before_is_an_event_of_its_own() -> None:
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
    for unknown in (replace(later, first_sample=None), replace(later, box_id="4"), None):  # older gateways
        assert recent.covering("1", 40 * S, 41 * S, measurement=unknown) is known
