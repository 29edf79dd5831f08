"""Boxes whose clocks are poor, or not known at all, are brought in order by what their waveforms show."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.measuring.clock_alignment import MAX_PAIRS, clock_alignments
from opq_cloud.mauka.reanalysis.changes import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.running.calls.event_analysis import analyse_event, analyse_stored
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.view.web.words import clock_words
from opq_proto.decision import Nominal
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Event, TimeSource, Trigger, Waveform

START_NS = 1_795_000_000 * 10**9
NOMINAL = Nominal(120.0, 60.0)
RATE_HZ = 12_000
MS = 1_000_000


def seen_by(box_id: str, off_ns: int, uncertainty_ns: int, depth: float = 0.4, at_s: float = 1.0) -> Waveform:
    """2 s at 30 dB of noise with a dip of the whole grid; the Box's clock is `off_ns` ahead."""
    rng = np.random.default_rng(int(box_id))
    begin_s = rng.uniform(0.0, 0.05)
    t_s = begin_s + np.arange(2 * RATE_HZ) / RATE_HZ
    turn = 2 * np.pi * 60.02 * t_s
    share = np.where((t_s >= at_s) & (t_s < at_s + 0.1), 1 - depth, 1.0)
    wave = np.sin(turn) + 0.02 * np.sin(3 * turn + rng.uniform(0, 6)) + 0.015 * np.sin(5 * turn)
    volts = share * 120 * np.sqrt(2) * wave + rng.normal(scale=120 * 10 ** (-30 / 20), size=len(t_s))
    counts = np.round(volts / 0.0068).astype(np.int16)
    start_ns = START_NS + round(begin_s * 1e9) + off_ns
    return Waveform(box_id, start_ns, uncertainty_ns, TimeSource.NTP, RATE_HZ * 1000, 0.0068, 0, counts)


def event_of(*waves: Waveform) -> Event:
    return Event(1, min(w.start_ns for w in waves), max(w.end_ns for w in waves), waves)


def aligned(
    event: Event, phases: dict[str, str], nominal_of: Callable[[str], Nominal] = lambda box_id: NOMINAL
) -> Any:
    found = analyse_event(event, load_analyses([("rms_voltage", {})]), nominal_of, {}).findings
    return clock_alignments(event, found, phases.get, nominal_of)


def test_an_alignment_depends_on_clocks_and_phases() -> None:
    event = event_of(seen_by("1", 0, 1000), seen_by("2", 37 * MS, 500 * MS, 0.3))
    found = aligned(event, {"1": "L1", "2": "L1"})
    assert list(found) == ["2"]
    assert found["2"].offset_ns == pytest.approx(-37 * MS, abs=20_000)
    assert (found["2"].box_id, found["2"].reference_ns) == ("1", 1000)
    assert 10_000 < found["2"].uncertainty_ns < 100_000
    assert " ms ahead of that of Box 1, by their waveforms, within 0.0" in found["2"].because
    assert aligned(event, {"1": "L1", "2": "L2"}) == {}, "other phases look otherwise"
    unknown = aligned(event, {"1": "L1"})["2"]
    assert 4 * MS < unknown.uncertainty_ns < 6 * MS and "phases are not known" in unknown.because
    disciplined = event_of(event.waveforms[0], replace(event.waveforms[1], uncertainty_ns=2000))
    assert aligned(disciplined, {"1": "L1", "2": "L1"}) == {}, "its own clock is better"
    other_dip = event_of(event.waveforms[0], seen_by("2", 0, 50 * MS, 0.3, at_s=1.6))
    assert aligned(other_dip, {"1": "L1", "2": "L1"}) == {}, "another dip: the stamps exclude so much"


def test_the_worst_clocks_are_compared() -> None:
    """Of many Boxes those with the worst clocks are compared."""
    waves = [seen_by(str(number), 0, number * MS) for number in range(1, MAX_PAIRS + 4)]
    found = aligned(event_of(*waves), {wave.box_id: "L1" for wave in waves})
    assert sorted(map(int, found)) == list(range(4, MAX_PAIRS + 4))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    for box_id in ("1", "2"):
        opened.put_box(BoxRecord(box_id, f"Box {box_id}", phase="L1"))
    yield opened
    opened.close()


@pytest.mark.parametrize("reference_ns", [1000, UNKNOWN_UNCERTAINTY_NS])
def test_an_undisciplined_clock_is_marked_in_the_order(
    bus: Any, running: Any, until: Any, store: CloudStore, reference_ns: int
) -> None:
    """A Box without a disciplined clock takes its place in the order and says so."""
    waves = seen_by("1", 0, reference_ns), seen_by("2", 120 * MS, UNKNOWN_UNCERTAINTY_NS, 0.3)
    trigger = Trigger("t", waves[0].start_ns, waves[0].end_ns, ("1", "2"), "1", "test")
    event_id = store.open_event(trigger, "test")
    for wave in waves:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    runner = AnalysisRunner(bus.settings, lambda: store, load_analyses([("rms_voltage", {})]))
    running.start(runner)
    until(lambda: store.event_record(event_id).analysed)  # type: ignore[union-attr]
    (incident,) = store.incidents()
    assert incident.box_ids == ("1", "2"), "what is not known of a clock, waveforms say"
    (by,) = [each.finding.alignment for each in incident.findings if each.finding.box_id == "2"]
    assert by is not None and by.offset_ns == pytest.approx(-120 * MS, abs=20_000)
    told: Any = incident_json(incident)["arrivals"]
    places = {each["box_id"]: each for each in told}
    assert by.uncertainty_ns < 0.1 * MS and places["2"]["aligned_to"] == "1"
    assert by.uncertainty_ns < places["2"]["uncertainty_ms"] * MS < 1.0 * MS
    assert places["2"]["disciplined"] and places["1"]["disciplined"] == (reference_ns == 1000)
    assert max(each["after_ms"] for each in told) < 5.0, "not 120: the place of an edge, no clock's error"
    lines = [clock_words(each, each.box_id == "1") for each in incident.arrivals]
    assert sum("beside that of Box 1" in line for line in lines) == 1
    assert not any("too poor" in line for line in lines)
    assert runner.counters.total("boxes_aligned") == (1 if reference_ns == 1000 else 2)
    report, analyses = ReanalysisReport(), load_analyses([("rms_voltage", {})])
    groups = events_to_replace(store, None, None, 10, report)
    results = analyse_stored(store, [event_id], analyses, NOMINAL)
    Reanalysis(store, frozenset({"rms_voltage"}), True, report, False).replace_groups(groups, results)
    assert (report.findings, report.unchanged) == ([], 2), "analysed again it is the same"
