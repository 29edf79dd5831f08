"""Answers that are short, come in parts, wait for a slow store, or belong to somebody else's request.

Real brokers with CURVE, plain Boxes, a real store; what is awaited is a fact, never a time.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.answer_inbox import AnswerInbox
from opq_cloud.makai.events.answers import lacking_at_ends, reach_of
from opq_cloud.store import open_store
from opq_gateway.blocks import SampleBlock
from opq_gateway.commands.requests import DataRequest, answer
from opq_gateway.ring.ring import Ring
from opq_proto.errors import StoreError
from opq_proto.messages import Gap, TimeSource, Trigger, Waveform
from opq_proto.wire.frames import response_from_wire, waveform_from_frames, waveform_to_frames
from opq_proto.wire.opqbox3_pb2 import Command, Cycle, Response
from opq_proto.wire.waveforms import NOT_SAMPLED_YET, REQUEST_TOO_LONG

START_MS = 1_765_792_486_000
END_MS = START_MS + 2000
COUNTS = np.random.default_rng(3).integers(-20_000, 20_000, 24_400).astype(np.int16)
"""122 windows from START_MS on."""
TOKEN = "S" * 30


def original_answer(box_id: str, command: Command, last_ms: int, clock_ms: int | None = None) -> list[bytes]:
    """What an original Box has of the command's span, of windows stamped before `last_ms` (G.5)."""
    asked = command.data_command
    frames = []
    stamps = []
    for window in range(len(COUNTS) // 200):
        stamp_ms = START_MS + round((window + 1) * 1000 / 60)
        if asked.start_ms < stamp_ms < min(asked.end_ms, last_ms):
            counts = COUNTS[200 * window : 200 * window + 200].tolist()
            frames.append(Cycle(datapoints=counts, timestamp_ms=stamp_ms).SerializeToString())
            stamps.append(stamp_ms)
    response = Response(box_id=int(box_id), seq=command.seq, timestamp_ms=clock_ms or last_ms)
    response.get_data_response.start_ts = stamps[0] if stamps else 0
    response.get_data_response.end_ts = stamps[-1] if stamps else 0
    return [response.SerializeToString(), *frames]


def our_answer(command: Command, samples: int, *reasons: str) -> list[bytes]:
    """A gateway's: numbered samples from START_MS on, and the rest as a gap for each reason."""
    wave = Waveform("1", START_MS * 10**6, 900, TimeSource.GPS, 12_000_000, 0.02, 5_000_000, COUNTS[:samples])
    frames = waveform_to_frames(wave, "1", command.seq, END_MS, START_MS * 10**6, END_MS * 10**6)
    response = response_from_wire(frames[0])
    for reason in reasons:
        gap = {"first_sample": 5_000_000 + samples, "samples": len(COUNTS) - samples}
        response.get_data_response.gap.add(reason=reason, **gap)
    return [response.SerializeToString(), *frames[1:]]


class World:
    """A broker, Box 1, an event service and one opened event of Boxes 1 (and others that are named)."""

    def __init__(self, makai: Any, folder: Path, running: ExitStack) -> None:
        self.makai, self.running = makai, running
        self.brokers = makai.brokers()
        running.enter_context(makai.running(self.brokers.acquisition))
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        running.callback(self.shared.close)
        acquisition = self.brokers.acquisition_config
        self.config = EventConfig(
            answer_endpoint=acquisition.answer_endpoint,
            request_endpoint=acquisition.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
            answer_timeout_s=60.0,
            ask_again_s=0.2,
        )
        self.service = EventService(self.config, self.shared)
        self.store = self.shared.store

    def box(self, box_id: str = "1") -> Any:
        box = self.makai.box(self.brokers, box_id)
        self.makai.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", box_id))
        return box

    def open_event(self, *box_ids: str) -> int:
        span = START_MS * 10**6, END_MS * 10**6
        return self.store.open_event(Trigger(TOKEN, *span, box_ids, box_ids[0], "test"), "Makai id x")

    def start(self) -> Any:
        """The service, and a listener at 10000 that hears all."""
        self.running.enter_context(self.makai.running(self.service))
        listener = self.makai.peer().connect(zmq.SUB, self.config.event_endpoint)
        self.makai.wait_for(lambda: self.service.counters.total("subscriptions"))
        return listener

    def finished(self, event_id: int) -> Any:
        def record() -> Any:
            known = self.store.event_record(event_id)
            return known if known is not None and known.finished else None

        return self.makai.wait_for(record)


@pytest.fixture
def world(makai: Any, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as running:
        yield World(makai, tmp_path, running)


def stored_counts(world: World, event_id: int) -> "np.ndarray":
    (wave,) = world.store.event(event_id).waveforms
    return np.asarray(wave.counts)


def test_an_original_box_is_asked_for_the_rest(world: World) -> None:
    """An original Box that cuts a range is asked for the rest."""
    event_id, box = world.open_event("1"), world.box()
    world.start()
    command = box.command(60_000)
    assert (command.data_command.start_ms, command.data_command.end_ms) == (START_MS, END_MS)
    box.push.send_multipart(original_answer("1", command, START_MS + 900))
    while command.data_command.start_ms == START_MS:  # asked before the first answer had come
        command = box.command(60_000)
    assert START_MS < command.data_command.start_ms < START_MS + 900, "the parts meet"
    assert not world.store.event_record(event_id).finished
    assert world.store.event_record(event_id).short["1"].startswith("ends 11")
    box.push.send_multipart(original_answer("1", command, END_MS + 500))
    record = world.finished(event_id)
    assert (record.boxes_received, record.short) == (("1",), {})
    assert np.array_equal(stored_counts(world, event_id), COUNTS[: 200 * 119])


def test_an_original_box_is_not_asked_for_ever(world: World) -> None:
    """The requests end even if the Box never has more samples."""
    world.config = replace(world.config, ask_again_s=3.0)  # longer than an answer is on its way
    world.service = EventService(world.config, world.shared)
    event_id, box = world.open_event("1"), world.box()
    world.start()
    answered = 0
    while not world.store.event_record(event_id).finished:
        command = box.command(100)
        if command is not None:
            box.push.send_multipart(original_answer("1", command, START_MS + 900))
            answered += 1
    assert 3 <= answered < 20, "asked until the second answer that brings nothing new, not for 60 s"
    record = world.store.event_record(event_id)
    assert record.boxes_received == ("1",)
    assert "early" in record.short["1"]
    assert np.array_equal(stored_counts(world, event_id), COUNTS[: 200 * 53])
    assert world.service.counters.total("waveforms_stored") == 1


def test_our_box_is_asked_again_for_missing_samples(world: World) -> None:
    """It is asked for what it had not sampled, and for nothing else."""
    event_id, box = world.open_event("1"), world.box()
    world.start()
    command = box.command(60_000)
    box.push.send_multipart(our_answer(command, 12_000, NOT_SAMPLED_YET))
    world.makai.wait_for(lambda: world.store.event_record(event_id).short.get("1") == NOT_SAMPLED_YET)
    command = box.command(60_000)
    box.push.send_multipart(our_answer(command, 18_000, "the Box's converter overran"))
    record = world.finished(event_id)
    assert record.short == {"1": "the last 533.3 ms are missing: the Box's converter overran"}
    assert record.missing == {} and record.boxes_received == ("1",)
    assert np.array_equal(stored_counts(world, event_id), COUNTS[:18_000])


def test_an_impossible_answer_harms_no_event(world: World) -> None:
    """Answers of a clock that moved by centuries, or of next year, are counted and change nothing."""
    event_id, box = world.open_event("1"), world.box()
    before = world.store.event_record(event_id)
    world.start()
    counters, year_ns = world.service.counters, 365 * 86_400 * 10**9
    for number, moved_ns in enumerate((2**63 - 1, -(2**63), None), start=1):
        command = box.command(60_000)
        start_ns = START_MS * 10**6 if moved_ns else time.time_ns() + year_ns
        wave = Waveform("1", start_ns, 9, TimeSource.GPS, 12_000_000, 0.02, 5_000_000, COUNTS)
        frames = waveform_to_frames(wave, "1", command.seq, END_MS)
        response = response_from_wire(frames[0])
        if moved_ns:
            response.get_data_response.moved_ns = moved_ns
        box.push.send_multipart([response.SerializeToString(), *frames[1:]])
        world.makai.wait_for(lambda number=number: counters.total("malformed") >= number)
    assert counters.of("refused", "1 time_ahead")
    after = world.store.event_record(event_id)
    assert (after.start_ns, after.end_ns) == (before.start_ns, before.end_ns)
    assert not after.boxes_received


def test_a_stored_part_is_completed_after_a_restart(world: World) -> None:
    event_id, box = world.open_event("1"), world.box()
    with world.makai.running(world.service):
        box.push.send_multipart(our_answer(box.command(60_000), 12_000, NOT_SAMPLED_YET))
        world.makai.wait_for(lambda: world.store.event_record(event_id).short)
    world.service = EventService(world.config, world.shared)
    world.start()

    def finished() -> bool:
        command = box.command(50)
        if command is not None:
            box.push.send_multipart(our_answer(command, 24_000))
        return bool(world.store.event_record(event_id).finished)

    world.makai.wait_for(finished)
    assert np.array_equal(stored_counts(world, event_id), COUNTS[:24_000])


def test_foreign_request_is_announced_with_its_first_answer(world: World) -> None:
    """Other Boxes join the event afterwards."""
    listener = world.start()
    boxes = [world.box("1"), world.box("4")]
    client = world.makai.client(world.brokers)
    identity = "data_" + "F" * 30 + "_elsewhere"
    event_id, heard = None, []
    for box in boxes:

        def asked(box: Any = box) -> Command | None:  # until the client's socket is connected
            client.ask(box.box_id, identity, START_MS, END_MS)
            command: Command | None = box.command(100)
            return command

        command = world.makai.wait_for(asked)
        box.push.send_multipart(original_answer(box.box_id, command, END_MS + 100))
        world.makai.wait_for(lambda: world.service.counters.total("waveforms_stored") == len(heard) + 1)
        if event_id is None:
            assert listener.poll(240_000), "long before the 20 s in which others may join are over"
            instance, number = listener.recv_multipart()
            event_id = int(number)
            assert instance == b"elsewhere"
            assert not world.store.event_record(event_id).finished
        heard.append(box.box_id)
    assert [wave.box_id for wave in world.store.event(event_id).waveforms] == ["1", "4"]
    assert world.service.counters.total("events_announced") == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["asked again", "before the store is read again"])
def test_box_that_joins_a_finished_event_is_awaited(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """It joins while the event is open for another one: after an outage Boxes come back one by one."""
    event_id = world.open_event("1", "4")
    world.store.mark_missing(event_id, "4", "no answer within 60 s")
    if at_once:
        monkeypatch.setattr("opq_cloud.makai.event_service.REFRESH_S", 600.0)
    one, four = world.box("1"), world.box("4")
    world.start()
    client = world.makai.client(world.brokers)

    def command_of(box: Any) -> Any:
        if at_once:  # as the triggering service does
            client.ask(box.box_id, f"data_{TOKEN}_x", START_MS, END_MS)
        return box.command(100)

    for_one = world.makai.wait_for(lambda: command_of(one))
    world.store.widen_event(event_id, {"saw": ("4",)}, {})
    for_four = world.makai.wait_for(lambda: command_of(four))
    four.push.send_multipart(original_answer("4", for_four, END_MS + 500))
    world.makai.wait_for(lambda: world.service.counters.of("waveforms_stored", "4"))
    one.push.send_multipart(original_answer("1", for_one, END_MS + 500))
    assert set(world.finished(event_id).boxes_received) == {"1", "4"}


def test_returning_box_of_a_finishing_event_is_awaited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.config = replace(world.config, answer_timeout_s=0.5)
    world.service = EventService(world.config, world.shared)
    event_id, box, mark_missing = world.open_event("1", "4"), world.box(), world.store.mark_missing

    def mark(event_id: int, box_id: str, why: str) -> None:
        mark_missing(event_id, box_id, why)
        if box_id == "1":  # as the triggering service does, a write to a slow store later
            world.store.widen_event(event_id, {"saw": ("1",)}, {})
            monkeypatch.setattr(world.service._open, "_timeout_s", 600.0)

    monkeypatch.setattr(world.store, "mark_missing", mark)
    world.start()
    world.makai.wait_for(lambda: world.store.event_record(event_id).missing)
    command = world.makai.wait_for(lambda: box.command(100))
    box.push.send_multipart(original_answer("1", command, END_MS + 500))
    record = world.finished(event_id)
    assert (record.boxes_received, set(record.missing)) == (("1",), {"4"})


def test_a_late_waveform_is_announced_again(world: World) -> None:
    """A waveform that comes after its event is announced again."""
    event_id = world.open_event("1")
    world.store.mark_missing(event_id, "1", "slow")
    world.store.finish_event(event_id)
    world.store.mark_analysed(event_id)
    listener, box = world.start(), world.box()
    client = world.makai.client(world.brokers)

    def asked() -> Command | None:
        client.ask("1", f"data_{TOKEN}_late", START_MS, END_MS)
        command: Command | None = box.command(100)
        return command

    box.push.send_multipart(original_answer("1", world.makai.wait_for(asked), END_MS + 100))
    assert listener.poll(240_000)
    assert listener.recv_multipart() == [b"late", str(event_id).encode()]
    assert [record.event_id for record in world.store.unanalysed_events()] == [event_id]


def test_answer_for_a_failed_store_is_stored_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    event_id, box = world.open_event("1"), world.box()
    begin, refused = world.store.begin_waveform, []

    def slow(event: int, wave: Waveform) -> Future[bool]:
        if len(refused) < 8:  # 2 s, ten times ask_again_s
            refused.append(wave.box_id)
            raise StoreError("the disk is full")
        return begin(event, wave)

    monkeypatch.setattr(world.store, "begin_waveform", slow)
    world.start()
    box.push.send_multipart(original_answer("1", box.command(60_000), END_MS + 500))
    world.makai.wait_for(lambda: refused)
    asked = world.service.counters.of("asked_again", "1")
    world.finished(event_id)
    assert world.service.counters.of("asked_again", "1") == asked
    assert world.service.counters.of("waveforms_stored", "1") == 1


@pytest.mark.parametrize("fails", [0, 3])
def test_waiting_waveforms_are_stored_together(
    world: World, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    ids = ["1", "4", "10"]
    event_id, boxes = world.open_event(*ids), [world.box(box_id) for box_id in ids]
    counters, begin, refused = world.service.counters, world.store.begin_waveform, []
    stored_before = []

    def begun(event: int, wave: Waveform) -> Future[bool]:
        if wave.box_id == "4" and len(refused) < fails:
            refused.append(wave.box_id)
            raise StoreError("the disk is full")
        stored_before.append(counters.total("waveforms_stored"))
        return begin(event, wave)

    monkeypatch.setattr(world.store, "begin_waveform", begun)
    monkeypatch.setattr(AnswerInbox, "receive", receive_all(AnswerInbox.receive, len(ids)))
    world.start()
    for box_id, box in zip(ids, boxes, strict=True):
        box.push.send_multipart(original_answer(box_id, box.command(60_000), END_MS + 500))
    world.finished(event_id)
    assert len(stored_before) == len(ids) and len(refused) == fails
    assert fails or stored_before == [0, 0, 0]
    assert [counters.of("waveforms_stored", box_id) for box_id in ids] == [1] * len(ids)
    assert [wave.box_id for wave in world.store.event(event_id).waveforms] == ids


def receive_all(receive: Callable[..., None], count: int) -> Callable[..., None]:
    """Shows an inbox nothing before `count` answers have arrived."""
    held = AnswerInbox()

    def received(inbox: AnswerInbox, *sockets: Any) -> None:
        receive(held, *sockets)
        if len(held) >= count:
            for answer in held.oldest_answers(count):
                inbox.add_message(answer.frames)
                held.remove_oldest()

    return received


def test_an_inbox_is_bounded_by_answers() -> None:
    """It is bounded, and it knows whose answers wait."""
    context: zmq.Context[Any] = zmq.Context()
    source, sink = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    source.bind("inproc://answers")
    sink.connect("inproc://answers")
    try:
        inbox = AnswerInbox(limit_bytes=3000)
        for number in range(5):
            header = Response(box_id=number, seq=1).SerializeToString()
            source.send_multipart([f"data_token{number}_i".encode(), header, bytes(1000)])
        inbox.receive(sink)
        assert (len(inbox), inbox.behind) == (3, True)
        assert inbox.size_bytes < 4100
        assert inbox.holds_answer("token1", "1") and not inbox.holds_answer("token1", "2")
        assert inbox.may_hold("token4"), "it may be in the socket"
        for number in range(3):
            assert inbox.oldest is not None and inbox.oldest.frames[0].startswith(b"data_token%d" % number)
            inbox.remove_oldest()
        inbox.receive(sink)
        assert (len(inbox), inbox.behind) == (2, False)
        assert inbox.may_hold("token4") and not inbox.may_hold("token1")
        inbox.add_message([b"\xff", b"\xff"])  # malformed: it waits, and belongs to no Box
        assert len(inbox) == 3
    finally:
        context.destroy(linger=0)


def waveform(start_ms: int, end_ms: int) -> Waveform:
    counts = np.zeros((end_ms - start_ms) * 12, np.int16)
    return Waveform("1", start_ms * 10**6, 2**32 - 1, TimeSource.FREE, 12_000_000, 0.02, 0, counts)


SPAN_NS = START_MS * 10**6, END_MS * 10**6


def test_answer_up_to_the_last_window_is_whole() -> None:
    response = Response(box_id=1, timestamp_ms=END_MS)
    response.get_data_response.start_ts = START_MS
    assert reach_of(response, waveform(START_MS, END_MS - 17), *SPAN_NS).short is None
    cut = reach_of(response, waveform(START_MS, END_MS - 400), *SPAN_NS)
    assert cut.short is not None and not cut.ours
    assert cut.reach_ns == (END_MS - 400) * 10**6


@pytest.mark.parametrize(
    ("clock_ms", "again"),
    [(END_MS - 500, True), (END_MS + 1, False), (1, False)],
    ids=["yet", "over", "none"],
)
def test_original_box_without_samples_is_judged_by_clock(clock_ms: int, again: bool) -> None:
    """An original Box without samples has them later only if its clock says so."""
    response = Response(box_id=1, timestamp_ms=clock_ms)
    response.get_data_response.SetInParent()
    assert (reach_of(response, None, *SPAN_NS).short is not None) is again


@pytest.mark.parametrize("reason", [NOT_SAMPLED_YET, REQUEST_TOO_LONG, "older than the ring holds"])
def test_our_box_says_whether_asking_again_helps(reason: str) -> None:
    command = Command(seq=1)
    response, wave = waveform_from_frames(*_split(our_answer(command, 12_000, reason)))
    reach = reach_of(response, wave, *SPAN_NS)
    assert reach.ours
    assert reach.short == (None if reason.startswith("older") else reason)
    whole = replace(wave, gaps=(Gap(5_000_100, 10, "lost"),)) if wave is not None else None
    assert reach_of(response, whole, *SPAN_NS).short == reach.short, "a hole is not a reason"


@settings(max_examples=60, deadline=None)
@given(
    holes=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 1500)), max_size=4),
    start=st.integers(200, 4500),
    length=st.integers(200, 3000),
)
def test_a_missing_part_is_reported_wherever_it_lies(
    holes: list[tuple[int, int]], start: int, length: int
) -> None:
    """Each asked sample is stored, in a gap of the waveform, or in the sentence about its ends."""
    there = np.ones(8000, bool)
    for first, count in holes:
        there[first : first + count] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])))).reshape(-1, 2)

    def ns(sample: int) -> int:
        return START_MS * 10**6 + sample * 10**12 // 12_000_000

    with TemporaryDirectory() as folder:
        ring = Ring(Path(folder), "1", 1.0)
        for first, end in edges.tolist():
            for at in range(first, end, 200):
                counts = COUNTS[at : min(at + 200, end)]
                ring.append(SampleBlock(7, 0.01, at, ns(at), 1000, TimeSource.GPS, 12_000_000, counts))
        frames = answer(ring, DataRequest("1", 3, ns(start), ns(start + length)), 1)
        ring.close()
    response, wave = waveform_from_frames(*_split(frames))
    assert reach_of(response, wave, ns(start), ns(start + length)).short is None
    said = lacking_at_ends(response, wave)
    if wave is None:
        assert said == "" and response.get_data_response.gap[0].reason
        return
    end = wave.first_sample + len(wave.counts) + sum(gap.samples for gap in wave.gaps)
    late, early = wave.first_sample - start, start + length - end
    assert ("the first" in said) == (late > 0) and ("the last" in said) == (early > 0)
    ms = [float(text.split()[2]) for text in said.split("; ") if text]
    assert ms == pytest.approx([each / 12 for each in (late, early) if each > 0], abs=0.1)


def _split(frames: list[bytes]) -> tuple[bytes, list[bytes]]:
    return frames[0], frames[1:]
