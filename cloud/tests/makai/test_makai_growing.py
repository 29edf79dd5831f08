"""An analysis asks for more: Makai grants it within its budgets, the Boxes are asked, the event grows."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_triggers import note_heard

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import (
    AskingSection,
    EventServiceSection,
    TriggeringServiceSection,
)
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.event_requests import OpenEvents
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.requested_boxes import BoxPlaces
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.sample_requests import StoredSampleRequest
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform
from opq_proto.wire.opqbox3_pb2 import Command

S = 10**9
NOMINAL = Nominal(120.0, 60.0)
NOBODY = "tcp://127.0.0.1:9"
START_NS = 1_700_000_000 * S
OWN = START_NS, START_NS + 3 * S
LATER = START_NS + 5 * S // 2, START_NS + 6 * S


class AskingGrid:
    """Openings over a store, Boxes 1 to 6 of one feeder heard, 9 not; an event of Boxes 1 and 2."""

    def __init__(self, store: CloudStore, **asking: int) -> None:
        self.now_s, self.store, self.counters = 0.0, store, ServiceCounters()
        self.boxes = BoxRegister(NOMINAL, lambda: self.now_s)
        self.boxes.places = BoxPlaces(
            {
                str(k): BoxPlace(feeder="f1", latitude=21.0 + k * 9e-4, longitude=-157.8)
                for k in (1, 2, 3, 4, 5, 6)
            }
        )
        for k in range(1, 7):
            note_heard(self.boxes, str(k), 0, (0, S))
        self.section = replace(TriggeringServiceSection(), asking=replace(AskingSection(), **asking))
        self.commands: list[Command] = []
        trigger = Trigger("t" * 30, *OWN, ("1", "2"), "1", "a dip")
        self.event_id = store.open_event(trigger, "test")
        for box_id in ("1", "2"):
            counts = np.zeros(36_000, np.int16)
            wave = Waveform(box_id, START_NS, 1000, TimeSource.GPS, 12_000_000, 0.02, 0, counts)
            store.put_waveform(self.event_id, wave)
        store.finish_event(self.event_id)
        self.start()

    def start(self) -> None:
        """As after a restart."""
        self.openings = EventOpenings(self.section, "test", self.boxes, self.counters)
        self.openings.begin(self.store, self._send, lambda measurement: None)

    def _send(self, command: bytes) -> bool:
        self.commands.append(Command.FromString(command))
        return True

    def ask(self, *wanted: StoredSampleRequest) -> None:
        now_ns = time.time_ns()
        self.store.request_samples(self.event_id, [replace(each, requested_ns=now_ns) for each in wanted], 5)
        self.advance()

    def advance(self) -> None:
        self.now_s += 2.0
        for k in range(1, 7):
            note_heard(self.boxes, str(k), 0)
        self.openings.growing.advance(self.now_s)

    def answers(self) -> list[tuple[str, tuple[str, ...], dict[str, int]]]:
        record = self.store.event_record(self.event_id)
        assert record is not None
        return [(each.state, each.boxes, dict(each.refused)) for each in record.more.values()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path / "store")
    yield opened
    opened.close()


LONGER = StoredSampleRequest("rms_voltage", "it lasts", spans={"1": LATER, "9": LATER})
BESIDE = StoredSampleRequest("rms_voltage", "its border", beside=("2",), most_boxes=2, span_ns=OWN)


def test_a_granted_request_asks_its_boxes(store: CloudStore) -> None:
    """They are asked for just that."""
    grid = AskingGrid(store)
    grid.ask(LONGER)
    assert grid.answers() == [("asked", ("1",), {"not_heard": 1})]
    (command,) = grid.commands
    assert (command.box_id, command.identity) == (1, "data_" + "t" * 30 + "_test")
    asked = command.data_command
    assert (asked.start_ms, asked.end_ms) == (LATER[0] // 10**6, LATER[1] // 10**6)
    assert grid.counters.total("samples_granted") == 1
    grid.advance()
    assert len(grid.commands) == 1, "an answered request is not read again"
    grid.start()
    grid.ask(replace(LONGER, spans={"1": (OWN[0] + S, LATER[1] + 1)}), replace(LONGER, spans={"2": LATER}))
    assert grid.answers()[2] == ("asked", ("2",), {}), "another Box has a span of its own"


def test_a_span_of_another_event_is_not_requested(store: CloudStore) -> None:
    grid = AskingGrid(store)
    other = Trigger("o" * 30, OWN[0], LATER[1] + S, ("1",), "1", "completes it")
    store.open_event(other, "test")
    grid.start()
    grid.ask(replace(LONGER, spans={"1": (OWN[1], LATER[1])}))
    assert grid.answers() == [("refused", (), {"in_event": 1})]
    assert grid.commands == []
    assert grid.counters.total("samples_refused") == 0, "nothing is missing"


def test_a_span_of_two_events_together_is_requested(store: CloudStore) -> None:
    """A change at the end of an event needs a steady second after it, though a second dip begins there."""
    grid = AskingGrid(store)
    store.open_event(Trigger("o" * 30, OWN[1] - S, LATER[1] + S, ("1",), "1", "the next dip"), "test")
    grid.start()
    grid.ask(replace(LONGER, spans={"1": (OWN[1], LATER[1])}))
    assert grid.answers() == [("asked", ("1",), {})]


def test_neighbours_join_the_event(store: CloudStore) -> None:
    """They were not asked at first."""
    grid = AskingGrid(store)
    grid.ask(BESIDE)
    assert grid.answers() == [("asked", ("3", "4"), {})]
    assert [command.box_id for command in grid.commands] == [3, 4]
    record = store.event_record(grid.event_id)
    assert record is not None
    assert (record.asked_as, record.owed) == ({"analysis": ("3", "4")}, {})
    grid.ask(replace(BESIDE, beside=("1",), most_boxes=9))
    assert grid.answers()[1] == ("asked", ("5", "6"), {})
    grid.ask(replace(BESIDE, beside=("3",)))
    assert grid.answers()[2] == ("refused", (), {"no_neighbour": 1})


@pytest.mark.parametrize(
    ("asking", "reason"),
    [
        ({"bytes_per_min_of_box": 100_000}, "budget_of_box"),
        ({"bytes_per_min_by_box": 100_000}, "budget_by_box"),
        ({"bytes_per_min": 100_000}, "budget_of_all"),
        ({"most_boxes_of_event": 2}, "bound"),
    ],
)
def test_budgets_hold_and_refusals_are_counted(
    store: CloudStore, asking: dict[str, int], reason: str
) -> None:
    grid = AskingGrid(store, **asking)
    grid.ask(replace(BESIDE, span_ns=(OWN[0], LATER[1])))  # 144 kB of each
    assert grid.answers() == [("refused", (), {reason: 2})]
    assert grid.counters.of("samples_refused", reason) == 2
    assert grid.commands == [] and not store.unfinished_events()


def test_boxes_of_another_makai_are_left_to_it(store: CloudStore) -> None:
    """It gets some time to ask them."""
    grid = AskingGrid(store)
    grid.ask(replace(LONGER, spans={"9": LATER}))
    assert [state for state, _, _ in grid.answers()] == ["waiting"]
    old = replace(LONGER, spans={"8": LATER}, requested_ns=time.time_ns() - 60 * S)
    stale = replace(LONGER, spans={"1": LATER}, requested_ns=time.time_ns() - 7200 * S)
    store.request_samples(grid.event_id, [old, stale], 5)
    grid.advance()
    assert grid.answers()[1:] == [("refused", (), {"not_heard": 1}), ("refused", (), {"too_late": 1})]


def test_an_open_event_waits_for_the_longer_span(store: CloudStore) -> None:
    """An answer to the former span does not finish it."""
    grid = AskingGrid(store)
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh(store.unfinished_events(), 0.0, OWN[1])
    assert len(events) == 0
    grid.ask(LONGER)
    events.refresh(store.unfinished_events(), 0.0, OWN[1])
    event = events.get("t" * 30)
    assert event is not None and list(event.waiting) == ["1"]
    assert event.span_missing("1") == LATER
    first = Waveform("1", START_NS, 0, TimeSource.GPS, 12_000_000, 0.02, 0, np.zeros(36_000, np.int16))
    assert not event.answers_last("1", first), "what the event asked for at first, come late"
    assert event.answers_last("1", replace(first, start_ns=LATER[0])) and event.answers_last("1", None)
    assert events.remove_finished(22.0, lambda *_: False) == [], "the longer span is not over yet"
    assert events.remove_finished(24.0, lambda *_: False) == [event]


def test_a_dip_beyond_its_event_is_seen_whole(makai: Any, tmp_path: Path) -> None:
    """Real sockets: two of three Boxes are asked; Mauka asks for the rest of the dip and for the third."""
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    acquisition = brokers.acquisition_config
    triggering = TriggeringService(
        TriggeringServiceSection(
            measurement_endpoint=brokers.triggering_config.backend_endpoint,
            request_endpoint=acquisition.request_endpoint,
            batch_ms=20,
            alive_s=600.0,
            asking=replace(AskingSection(), most_boxes=2),
        ),
        shared,
        NOMINAL,
    )
    events = EventService(
        EventServiceSection(
            answer_endpoint=acquisition.answer_endpoint,
            request_endpoint=acquisition.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
            answer_timeout_s=120.0,
            ask_again_s=5.0,
        ),
        shared,
    )
    mauka = AnalysisRunner(
        {PUB_KEY: NOBODY, SUB_KEY: NOBODY}, lambda: shared.store, load_analyses([("rms_voltage", {})])
    )
    onset_ns = (time.time_ns() // S - 60) * S
    dip_ns = onset_ns, onset_ns + 4 * S
    wait: Callable[..., Any] = makai.wait_for
    with ExitStack() as running:
        running.callback(shared.close)
        for service in (brokers.triggering, brokers.acquisition, triggering, events, mauka):
            running.enter_context(makai.running(service))
        boxes = {}
        for box_id in ("1", "4", "10"):
            plain = makai.box(brokers, box_id)
            wait(lambda box=box_id: brokers.acquisition.counters.of("boxes_listening", box))
            boxes[box_id] = makai.simulated_box(plain, None if box_id == "10" else dip_ns)

        def heard() -> bool:
            for box in boxes.values():
                box.plain.pub.send_multipart(box.plain.measurement(timestamp_ms=onset_ns // 10**6 - 5000))
            return {part.name for part in triggering.health()} >= set(boxes)

        wait(heard)
        boxes["1"].plain.pub.send_multipart(
            boxes["1"].plain.measurement(
                rms=72.0,
                timestamp_ms=(onset_ns + S // 2) // 10**6,
                start_ns=onset_ns - S // 2,
                end_ns=onset_ns + S // 2,
            )
        )

        def whole() -> bool:
            record = shared.store.event_record(1)
            more = {} if record is None else record.more
            return bool(more) and all(each.state == "asked" for each in more.values()) and record.analysed

        def grown() -> Any:
            event = shared.store.event(1) if whole() else None
            has = {} if event is None else {wave.box_id: wave for wave in event.waveforms}
            long = [box_id for box_id, wave in has.items() if wave.end_ns > dip_ns[1]]
            return event if len(long) == 2 and len(has) == 3 else None

        event = wait(grown)
        (incident,) = wait(lambda: [each for each in shared.store.incidents() if each.closed])
    assert [event.waveforms[k].box_id for k in range(3)] == ["1", "4", "10"]
    assert all(wave.gaps == () for wave in event.waveforms)
    assert incident.box_ids == ("1", "4") and incident.event_ids == (1,)
    for item in incident.findings:
        if item.finding.kind == "sag":
            assert item.finding.end_ns - item.finding.start_ns == pytest.approx(4 * S, abs=S // 20)
    record = shared_record(tmp_path)
    assert [(each.analysis, each.state) for each in record.more.values()] == [("rms_voltage", "asked")] * 2
    assert [len(set(boxes[box_id].asked)) for box_id in ("1", "4", "10")] == [2, 2, 1]


def shared_record(folder: Path) -> Any:
    store = open_store(None, folder / "store")
    try:
        return store.event_record(1)
    finally:
        store.close()
