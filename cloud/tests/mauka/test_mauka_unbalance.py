"""Three Boxes on three phases, from stored samples to an incident of class unbalance, or to why not."""

import cmath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.event_analysis import analyse_stored
from opq_cloud.mauka.running.calls.executor import WorkerProcesses
from opq_cloud.mauka.running.events.event_jobs import EventJobs
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.records.accounts.seen_incidents import incident_at
from opq_cloud.view.web import words
from opq_measure.aggregation.unbalance import magnitude_unbalance_percent
from opq_measure.classification.severity import LASTING
from opq_proto.decision import Nominal
from opq_proto.messages import Incident, TimeSource, Trigger, Waveform
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.rms_events import RapidVoltageChange, Sag
from opq_sim.mains.three_phase import three_phase
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

START_NS = 1_795_000_000 * 10**9
NOMINAL = Nominal(230.0, 50.0)
RATE_HZ = 12_000
V_PER_LSB = 0.0136
BASE = Mains(
    grid=Grid(50.02, phase_cycles=0.3), wave=Wave(229.0, (Harmonic(5, 3.0, 20.0),)), noise_v=0.3, seed=3
)
NEGATIVE = 0.03 * cmath.exp(1.2j)
GPS_NS, NTP_NS = 200, 1_000_000
CALM: Sequence[Sequence[MainsDisturbance]] = ((), (), ())


def waves(
    negative: complex = NEGATIVE,
    zero: complex = 0.004,
    clock_ns: int = GPS_NS,
    own: Sequence[Sequence[MainsDisturbance]] = CALM,
    seconds: float = 3.0,
) -> list[Waveform]:
    """Boxes 1, 2 and 3 on the phases a, b and c; each begins at a moment of its own."""
    made = []
    for number, phase in enumerate(three_phase(BASE, negative, zero, own).phases):
        late_s = (0.0, 0.0137, 0.0041)[number]
        t_s = late_s + np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        rng = np.random.default_rng(number)
        volts = phase.clean_v(t_s) + rng.normal(scale=0.3, size=len(t_s))
        counts = np.round(volts / V_PER_LSB).astype(np.int16)
        start_ns = START_NS + round(late_s * 1e9)
        box_id, source = str(number + 1), TimeSource.GPS if clock_ns < 1000 else TimeSource.NTP
        made.append(Waveform(box_id, start_ns, clock_ns, source, RATE_HZ * 1000, V_PER_LSB, 0, counts))
    return made


def put_event(store: CloudStore, given: Sequence[Waveform]) -> int:
    boxes = tuple(wave.box_id for wave in given)
    end_ns = max(wave.end_ns for wave in given)
    event_id = store.open_event(
        Trigger(str(given[0].start_ns), given[0].start_ns, end_ns, boxes, boxes[0], "test"), "test"
    )
    for wave in given:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    return event_id


def put_boxes(store: CloudStore, phases: Mapping[str, str], place: str = "cellar") -> None:
    """Puts them as they were a minute before the samples."""
    for box_id, phase in phases.items():
        store.put_box(
            BoxRecord(
                box_id,
                f"Box {box_id}",
                location=place,
                feeder="f2",
                phase=phase,
                nominal_v=230.0,
                nominal_hz=50.0,
            ),
            START_NS // 10**6 - 60_000,
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    put_boxes(opened, {"1": "L1", "2": "L2", "3": "L3"})
    yield opened
    opened.close()


def analysed(store: CloudStore, given: Sequence[Waveform]) -> tuple[list[Incident], dict[str, Any]]:
    """What the runner of all analyses makes of an event, and the status of `unbalance`."""
    event_id = put_event(store, given)
    runner = AnalysisRunner({}, lambda: store, load_analyses([]), NOMINAL)
    while runner.on_idle():
        continue
    record = store.event_record(event_id)
    assert runner.last_error is None and record is not None and record.analysed
    (row,) = [each for each in runner.analysis_rows() if each["name"] == "unbalance"]
    return store.incidents(), row


def test_three_percent_are_one_unbalance(store: CloudStore) -> None:
    """Three percent at one place are one incident of class unbalance."""
    given = waves()
    (incident,), status = analysed(store, given)
    (finding,) = [item.finding for item in incident.findings]
    figures = dict(finding.figures)
    assert (incident.kind, incident.box_ids, incident.scope) == ("unbalance", ("1",), "local")
    assert figures["u2_percent"] == pytest.approx(3.0, abs=0.02)
    assert figures["u0_percent"] == pytest.approx(0.4, abs=0.02)
    assert 0.07 < figures["uncertainty_percent"] < 0.1
    assert finding.confidence is not None and finding.confidence > 0.99
    assert incident.severity == pytest.approx(2 + 3 * np.log2(3.0 / 2.0), abs=0.1)
    assert (
        not (finding.closed or finding.onset_seen) and abs(finding.start_ns - given[0].start_ns) < 250_000_000
    )
    assert (finding.analysis, finding.measurement_type) == ("unbalance", "VOLTAGE")
    said = words.sentence(incident, 230.0)
    assert (
        said.startswith("Unbalance at Box 1")
        and "u2 is 3.0" in said
        and "(Boxes 1, 2, 3: a " in said
        and "cellar" not in said
    )
    assert "unjudged" not in status
    assert LASTING["unbalance"][1] == load_analyses([("unbalance", {})])[0].config.u2_percent
    (again,) = list(analyse_stored(store, incident.event_ids, load_analyses([("unbalance", {})]), NOMINAL))
    assert [(one.start_ns, one.because) for one in again.findings] == [(finding.start_ns, finding.because)]
    part = incident_at(incident, {"1", "2"}.__contains__)  # Box 3 is somebody else's
    assert part is not None and incident_at(incident, {"1", "2", "3"}.__contains__) is incident
    ((told,), causes) = [item.finding for item in part.findings], part.hypotheses
    assert (told.kind, told.because, told.figures, causes) == ("unbalance", "", (), ())


def test_balanced_phases_are_nothing(store: CloudStore) -> None:
    incidents, status = analysed(store, waves(negative=0.012, zero=0.03))
    assert incidents == [] and "unjudged" not in status


@pytest.mark.parametrize(
    ("phases", "why"),
    [
        ({"3": ""}, "cellar: no Box on phase c; the phase of Box 3 is not known"),
        ({"3": "L2"}, "cellar: no Box on phase c; two are on one phase"),
    ],
)
def test_an_unknown_phase_gives_the_reason(store: CloudStore, phases: dict[str, str], why: str) -> None:
    """An unknown phase gives no verdict and states why."""
    put_boxes(store, phases)
    incidents, status = analysed(store, waves())
    assert incidents == []
    assert status["unjudged"] == 1 and why in status["unjudged_because"]


def test_a_wrong_phase_is_reported(
    store: CloudStore,
) -> None:
    """A Box on another phase than in the registry is reported and no unbalance."""
    first, second, _ = waves()
    third = Waveform(
        "3", second.start_ns, GPS_NS, second.source, second.rate_millihz, V_PER_LSB, 0, second.counts
    )
    incidents, status = analysed(store, [first, second, third])
    assert incidents == []
    assert "the registry has a Box on the wrong phase" in status["unjudged_because"]


def test_poor_clocks_leave_the_magnitudes(store: CloudStore) -> None:
    """Without a common clock the magnitudes still count."""
    given = waves(negative=0.05, zero=0.0, clock_ns=NTP_NS)
    (incident,), _ = analysed(store, given)
    (finding,) = [item.finding for item in incident.findings]
    figures = dict(finding.figures)
    rms = np.array([figures[f"rms_{letter}_v"] for letter in "abc"])
    assert figures["magnitudes_percent"] == pytest.approx(magnitude_unbalance_percent(rms), abs=0.02)
    assert figures["magnitudes_percent"] == pytest.approx(5.0, abs=0.1)
    assert "u2_percent" not in figures and "u2 and u0 are not known" in finding.because


def test_two_waveforms_of_one_unbalance_are_one_incident(store: CloudStore) -> None:
    begins, ends = ((RapidVoltageChange(change=-0.09, start_s=at_s, seconds=20.0),) for at_s in (1.5, 0.0))
    first = waves(negative=0.0, zero=0.0, own=((), (), begins))
    later = [
        replace(wave, start_ns=wave.start_ns + 15 * 10**9, first_sample=wave.first_sample + 15 * 12_000)
        for wave in waves(0.0, 0.0, own=((), (), ends))
    ]
    analysed(store, first)
    found, _ = analysed(store, later)
    (incident,) = [one for one in found if one.kind == "unbalance"]
    findings = sorted((one.finding for one in incident.findings), key=lambda one: one.start_ns)
    assert [one.onset_seen for one in findings] == [True, False]
    assert (incident.kind, incident.box_ids, len(incident.event_ids)) == ("unbalance", ("1",), 2)
    assert abs(incident.start_ns - START_NS - 1_500_000_000) < 250_000_000


def test_a_dip_at_one_phase_is_not_unbalance(store: CloudStore) -> None:
    dip = (Sag(depth=0.4, start_s=1.0, seconds=0.6),)
    incidents, _ = analysed(store, waves(negative=0.0, zero=0.0, own=((), dip, ())))
    assert [(one.kind, one.box_ids) for one in incidents] == [("sag", ("2",))]


def test_boxes_of_different_places_are_not_grouped(store: CloudStore) -> None:
    put_boxes(store, {"3": "L3"}, "attic")
    assert analysed(store, waves(seconds=1.5))[0] == []
    put_boxes(store, {"1": "L1", "2": "L2", "3": "L3"}, "")
    assert analysed(store, waves(seconds=1.5))[0] == []


def test_a_process_of_its_own_says_the_same(store: CloudStore) -> None:
    put_boxes(store, {"2": ""})
    event_id = put_event(store, waves(seconds=1.2))
    entries = [("unbalance", {})]
    jobs = EventJobs(WorkerProcesses(1, 1 << 30), AnalysisSetup.of(entries), 60.0)
    runner = AnalysisRunner({}, lambda: store, load_analyses(entries), NOMINAL, jobs=jobs)
    try:
        while store.unanalysed_events():
            runner.on_idle()
        (row,) = runner.analysis_rows()
    finally:
        jobs.close()
    assert "Box 2" in str(row["unjudged_because"]) and event_id == 1
