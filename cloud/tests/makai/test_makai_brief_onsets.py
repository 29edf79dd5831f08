"""A dip moves the phase, and every Box near by measures a rate of change: it stays one event."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged_triggers import PRIMED_WINDOWS, CountedJudge, decisions_of, earlier_windows, note_heard
from trigger_trials import measured

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import AskingSection, TriggeringServiceSection
from opq_cloud.makai.judging.trigger_plugins import BUILT_IN
from opq_cloud.makai.openings.brief_onsets import LATEST_S, MAX_HELD, BriefOnsets, is_brief
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.requested_boxes import BoxPlaces
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.box_place import BoxPlace
from opq_plugins.package.built_in import load
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.messages import Measurement, Metric
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Wave

SECOND_NS = 10**9
DIP = Decision("rms", 90.0, 108.0, "threshold: rms 90 V below 108")
RATE = Decision("rocof", 0.1, 0.075, "frequency: rate of change 0.1 Hz/s beyond 0.075")
JUMPED = {"f": Metric(59.9, 60.1, 60.0)}
START_NS = 1_735_689_600 * 10**9
RATE_HZ = 12_000


class HeardBoxes:
    """Openings over a store of their own; Boxes "1" to "5" are heard, each a window a second."""

    def __init__(self, store: CloudStore) -> None:
        self.store, self.now_s = store, 0.0
        self.accepted: list[Measurement] = []
        self.counters = ServiceCounters()
        self.boxes = BoxRegister(Nominal(120.0, 60.0), lambda: self.now_s)
        for box_id in "12345":
            note_heard(self.boxes, box_id, 0, (0, SECOND_NS))
        section = replace(TriggeringServiceSection(), asking=AskingSection())
        self.openings = EventOpenings(section, "test", self.boxes, self.counters)
        self.openings.begin(store, lambda command: True, self.accepted.append)

    def see(self, box_id: str, end_s: float, decision: Decision = RATE, length_s: float = 1.0) -> bool:
        end_ns = round((1000 + end_s) * SECOND_NS)
        start_ns = end_ns - round(length_s * SECOND_NS)
        row = Measurement(box_id, end_ns // 10**6, dict(JUMPED), start_ns, end_ns, crossing=length_s < 0.5)
        with_event = self.openings.open_at_onset(row, decision, stored=True)
        if not with_event:  # as the triggering service does
            self.accepted.append(row)
        return with_event

    def advance(self, now_s: float) -> list[float]:
        """Lengths of the events that there are then, seconds, the oldest first."""
        self.now_s = now_s
        for box_id in "12345":
            note_heard(self.boxes, box_id, 0)
        self.openings.advance(now_s)
        events = sorted(self.store.events(), key=lambda event: event.event_id)
        return [round((event.end_ns - event.start_ns) / SECOND_NS, 1) for event in events]


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[HeardBoxes]:
    store = open_store(None, tmp_path / "store")
    yield HeardBoxes(store)
    store.close()


def test_a_rate_beside_a_dip_belongs_to_it(heard: HeardBoxes) -> None:
    """Whichever of both comes first."""
    assert heard.see("2", 1.0), "its Measurement waits with it"
    assert not heard.accepted
    heard.see("1", 0.9, DIP, length_s=0.02)
    heard.see("3", 1.4)
    assert heard.advance(10.0) == [2.1]
    heard.see("4", 2.8)  # the window after the dip's: the event does not hold all of it
    assert heard.advance(20.0) == [2.1]
    assert heard.store.events()[0].because.startswith("Box 1, threshold")
    assert sorted(row.box_id for row in heard.accepted) == ["1", "2", "3", "4"], "none is lost"
    assert heard.counters.total("triggers_merged") == 3


def test_the_share_of_boxes_separates_jump_and_frequency(heard: HeardBoxes) -> None:
    """A rate of change at few Boxes is a phase jump, at most Boxes a change of the frequency."""
    heard.see("2", 1.0)
    assert heard.advance(0.1) == [], "it waits for its neighbours"
    assert heard.advance(10.0) == [3.1]
    for box_id in "435":
        heard.see(box_id, 100.0 + int(box_id) / 10)
    assert heard.advance(20.0) == [3.1, 10.0]


def test_a_possible_phase_jump_waits_for_late_boxes(heard: HeardBoxes) -> None:
    heard.see("2", 1.0)
    note_heard(heard.boxes, "1", 999_500)  # half a second before that moment
    heard.now_s = 3.0
    heard.openings.advance(3.0)
    assert heard.store.events() == []
    heard.see("1", 0.9, DIP, length_s=0.02)
    note_heard(heard.boxes, "1", 1_001_000)
    heard.openings.advance(3.1)
    assert [event.because for event in heard.store.events()] == ["Box 1, threshold: rms 90 V below 108"]
    heard.see("3", 100.0)
    note_heard(heard.boxes, "1", 1_099_500)
    assert len(heard.store.events()) == 1
    heard.openings.advance(3.1 + 2.0 + LATEST_S)
    assert len(heard.store.events()) == 2, "it does not wait for ever"


def over(start_s: float, end_s: float) -> Decision:
    span_ns = round((1000 + start_s) * SECOND_NS), round((1000 + end_s) * SECOND_NS)
    return Decision("rms", 90.0, 108.0, "lasted some seconds", span_ns)


def test_a_late_end_joins_the_others_event(heard: HeardBoxes) -> None:
    """An end that a late Box reports after the others joins their event."""
    heard.see("1", 0.9, DIP, length_s=0.02)
    heard.openings.note_end("1", over(0.5, 6.0), 0.0)
    heard.openings.note_end("2", over(0.1, 5.5), 0.5)
    note_heard(heard.boxes, "3", 1_006_000)  # what it measured at the end is on its way
    heard.openings.advance(3.0)
    assert len(heard.store.events()) == 1
    heard.advance(6.6)
    heard.openings.note_end("4", over(0.3, 5.9), 6.6)
    heard.advance(20.0)
    first, completing = sorted(heard.store.events(), key=lambda event: event.event_id)
    assert completing.completes == first.event_id
    assert completing.boxes_triggered == ("1", "2", "4")


def test_a_short_dip_lengthens_its_event(heard: HeardBoxes) -> None:
    """Box 2, whose windows begin earlier, has opened it."""
    heard.see("2", 1.0, DIP)
    (event,) = heard.store.events()
    heard.openings.note_end("1", over(0.8, 2.7), 0.0)
    heard.advance(10.0)
    (grown,) = heard.store.events()
    assert grown.owed == {"1": (event.end_ns - SECOND_NS // 2, (1000 + 3.7) * SECOND_NS)}
    assert [each.answer_words for each in grown.more.values()] == ["asked Box 1"]
    assert heard.counters.of("completions_grown", "1") == 1
    heard.openings.note_end("1", over(0.8, 2.7), 11.0)
    heard.advance(20.0)
    assert len(heard.store.events()) == 1 and len(heard.store.events()[0].more) == 1


def test_a_box_of_another_grid_has_another_event(heard: HeardBoxes) -> None:
    heard.boxes.places = BoxPlaces({box_id: BoxPlace(grid="2") for box_id in "345"})
    section = replace(TriggeringServiceSection(), asking=replace(AskingSection(), most_boxes=1))
    heard.openings = EventOpenings(section, "test", heard.boxes, heard.counters)
    heard.openings.begin(heard.store, lambda command: True, heard.accepted.append)
    heard.see("1", 0.9, DIP, length_s=0.02)
    heard.see("2", 2.8)
    heard.see("3", 2.8)
    assert heard.advance(10.0) == [2.1, 3.1]
    dip, jump = sorted(heard.store.events(), key=lambda event: event.event_id)
    assert (dip.boxes_triggered, jump.boxes_triggered) == (("1", "2"), ("3",))


def test_deviation_of_the_whole_window_opens_an_event(heard: HeardBoxes) -> None:
    low = Decision("f", 59.0, 59.4, "frequency: 59.0000 Hz, below 59.4000")
    row = Measurement("1", 10**6, {"f": Metric(59.0, 59.2, 59.1)})
    assert not is_brief(row, low) and not is_brief(row, DIP)
    assert is_brief(replace(row, metrics=JUMPED), low), "one window in a second of 60 Hz"
    assert heard.openings.open_at_onset(row, low, stored=True)
    assert heard.advance(0.0) == [10.0]


def test_what_waits_is_bounded() -> None:
    brief = BriefOnsets()
    row = Measurement("1", 1000, JUMPED)
    assert all(brief.hold(row, RATE, True, 1.0) for _ in range(MAX_HELD))
    assert not brief.hold(row, RATE, True, 1.0)
    assert len(brief.due(1.0, lambda held: False)) == MAX_HELD and not brief.due(2.0, lambda held: False)


@pytest.mark.parametrize(("windows", "completes"), [(2, False), (8, True)])
def test_only_a_lasting_rate_is_requested_again(windows: int, completes: bool) -> None:
    rows = []
    for k in range(20):
        f = Metric(60.0, 60.1 if 5 <= k < 5 + windows else 60.0, 60.0)
        end_ns = START_NS + k * SECOND_NS
        rows.append(Measurement("1", end_ns // 10**6, {"f": f}, end_ns - SECOND_NS, end_ns))
    found = decisions_of(load("trigger", "frequency", {}, [BUILT_IN]), rows, Nominal(120.0, 60.0))
    ends = [decision for decision in found.values() if decision.span_ns is not None]
    assert bool(ends) is completes


def counts(depth: float, jump_deg: float) -> tuple["np.ndarray[tuple[int], np.dtype[np.int16]]", float]:
    """12 s of 230 V, a sag of 6 cycles at 8.4 s whose phase jumps there and back; and volts per count."""
    sag = Sag(start_s=8.4, depth=depth, cycles=6.0)
    jumps = (PhaseJumpEvent(start_s=8.4, degrees=jump_deg), PhaseJumpEvent(start_s=8.52, degrees=-jump_deg))
    mains = Mains(RATE_HZ, Grid(50.0), Wave(230.0), (sag, *jumps))
    t_s = np.arange(12 * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(5).normal(0.0, 0.05, len(t_s))
    v_per_lsb = 600 / 32768
    return np.rint((mains.clean_v(t_s) + noise) / v_per_lsb).astype(np.int16), v_per_lsb


def test_samples_of_a_dip_make_one_event(
    tmp_path: Path,
) -> None:
    """Box 1 dips to 60 %, Boxes 2 and 3 to 96 and 97 % with the same jump of the phase."""
    rows: list[Measurement] = []
    for number, depth in enumerate((0.40, 0.04, 0.03), start=1):
        own = measured(*counts(depth, -12.0), 230.0, 50.0, START_NS)
        calm = [row for row in own if not row.crossing and window_ns(row)[1] < START_NS + 7 * SECOND_NS][2:]
        rows += [replace(row, box_id=str(number)) for row in (*earlier_windows(calm, PRIMED_WINDOWS), *own)]
    judge = CountedJudge(tmp_path)
    for row in sorted(rows, key=lambda row: window_ns(row)[1]):
        judge.judge(None, [row], (window_ns(row)[1] - START_NS) / 1e9 + 1000)
    judge.advance(5000.0)
    events = judge.events()
    judge.close()
    assert len(events) == 1 and events[0].startswith("Box 1, threshold"), events
