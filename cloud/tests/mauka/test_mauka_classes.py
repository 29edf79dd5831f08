"""Every class of the contract, from a stored event to an incident: through the runner and a real store.

Waveforms are those of `opq-tools sim dataset`: magnitudes of docs/sim-data-sets.md, white noise 30 dB below,
their truth beside. Undervoltage and overvoltage last a minute: see test_mauka_rms_voltage.py.
"""

import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.measuring import results as measuring
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.documents.findings import classifications
from opq_cloud.view.web import words
from opq_proto.messages import Finding, Incident, TimeSource, Trigger, Waveform
from opq_sim.data_sets.labelled import NOMINAL_V, LabelledRecording, labelled_recording

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "recordings"
ONSET_S = {
    "sag": 0.02,
    "swell": 0.02,
    "interruption": 0.02,
    "impulsive_transient": 0.002,
    "oscillatory_transient": 0.002,
    "phase_jump": 0.002,
    "rapid_voltage_change": 0.03,
    "harmonics": 0.3,
    "interharmonics": 0.3,
    "mains_signalling": 0.5,
    "dc_offset": 0.3,
    "noise": 0.3,
    "frequency_deviation": 1.0,
    "flicker": 0.5,
    "periodic_notching": 0.9,
    "none": 0.0,
}
"""Class -> how near the beginning has to be: edges are samples, windows 0.2 s, a ramp of frequency 1 s."""
CASES = [(kind, hz) for kind in ONSET_S for hz in (50, 60)]


@dataclass(frozen=True)
class Told:
    """What was recorded, and what Mauka made of it."""

    recording: LabelledRecording
    incidents: list[Incident]

    @property
    def findings(self) -> list[Finding]:
        return [item.finding for incident in self.incidents for item in incident.findings]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Told]:
    """All events in one store, analysed by one runner, as after a restart."""
    store = open_store(None, tmp_path_factory.mktemp("classes"))
    runner = AnalysisRunner({}, lambda: store, load_analyses([]))
    recordings, events = {}, {}
    before = measuring.RESULTS.measured
    for number, (kind, hz) in enumerate(CASES, start=1):
        made = labelled_recording(kind, hz, 0, 1, 30.0, number)
        box_id = str(hz)
        store.put_box(BoxRecord(box_id, box_id, nominal_v=NOMINAL_V[hz], nominal_hz=float(hz)))
        wave = Waveform(
            box_id,
            made.facts["start_ns"],
            1_000_000,
            TimeSource.NTP,
            12_000_000,
            made.facts["volts_per_lsb"],
            0,
            made.counts,
        )
        trigger = Trigger(f"t{number}", wave.start_ns, wave.end_ns, (box_id,), box_id, "test")
        event_id = store.open_event(trigger, "test")
        store.put_waveform(event_id, wave)
        store.finish_event(event_id)
        recordings[kind, hz], events[kind, hz] = made, event_id
    while runner.on_idle():
        continue
    assert not store.unanalysed_events()
    assert runner.last_error is None
    assert measuring.RESULTS.measured - before == len(CASES)  # once each, whatever the number of analyses
    incidents = store.incidents()
    runner.analyse_now(events["sag", 50], again=True)
    assert store.incidents() == incidents  # idempotent
    found = {
        case: Told(recordings[case], [one for one in incidents if event_id in one.event_ids])
        for case, event_id in events.items()
    }
    store.close()
    return found


@pytest.mark.parametrize(("kind", "hz"), CASES)
def test_a_stored_event_becomes_its_class(told: dict[tuple[str, int], Told], kind: str, hz: int) -> None:
    one = told[kind, hz]
    wanted = set() if kind == "none" else {kind}
    assert {incident.kind for incident in one.incidents} == wanted, [each.because for each in one.findings]
    if kind == "none":
        assert not one.findings
        return
    first = min(one.incidents, key=lambda incident: incident.start_ns)
    assert (first.start_ns - one.recording.truth["start_ns"]) / 1e9 == pytest.approx(0, abs=ONSET_S[kind])
    assert all(each.because and each.confidence is not None for each in one.findings)
    if first.residual_percent is None:
        (worst,) = [item.finding for item in [words.worst(first)] if item is not None]
        assert worst.because in words.sentence(first, 120.0)
        assert worst.figures
    assert words.class_words(kind) in words.headline(first)


def test_the_originals_words_are_among_the_classifications() -> None:
    finding = Finding("sag", "1", 0, 1, 0, itic="no_damage", semi_f47="fail", residual_percent=40.0)
    assert classifications(finding) == ["VOLTAGE_SAG", "ITIC_NO_DAMAGE", "SEMI_F47_VIOLATION"]
    swell = replace(finding, kind="swell", itic="prohibited", semi_f47="not_applicable")
    assert classifications(swell) == ["VOLTAGE_SWELL", "ITIC_PROHIBITED"]
    for deviation_hz, word in ((-0.7, "FREQUENCY_SAG"), (0.7, "FREQUENCY_SWELL")):
        off = Finding("frequency_deviation", "1", 0, 1, 0, figures=(("deviation_hz", deviation_hz),))
        assert classifications(off) == [word]
    assert classifications(Finding("outage", "1", 0, 1, 0)) == ["OUTAGE"]
    assert classifications(Finding("phase_jump", "1", 0, 1, 0)) == ["UNDEFINED"]
    for kind, word in (("phase_jump+sag", "VOLTAGE_SAG"), ("flicker+harmonics", "EXCESSIVE_THD")):
        assert classifications(Finding(kind, "1", 0, 1, 0)) == [word]


def test_the_recordings_have_their_dip(tmp_path: Path) -> None:
    """As `analyze` finds it, and nothing else."""
    if not RECORDINGS.is_dir():
        pytest.skip("the real recordings are not here (../shared/data/recordings)")
    store = open_store(None, tmp_path)
    runner = AnalysisRunner({}, lambda: store, load_analyses([]))
    for number, path in enumerate(sorted(RECORDINGS.glob("*.i16")), start=1):
        facts = json.loads(path.with_suffix(".json").read_text())
        wave = Waveform(
            str(number),
            10**18,
            1_000_000,
            TimeSource.NTP,
            round(1000 * facts["rate_hz"]),
            facts["volts_per_lsb"],
            0,
            np.fromfile(path, "<i2"),
        )
        event_id = store.open_event(
            Trigger(f"t{number}", wave.start_ns, wave.end_ns, (wave.box_id,), wave.box_id, "test"), "test"
        )
        store.put_waveform(event_id, wave)
        store.finish_event(event_id)
    while runner.on_idle():
        continue
    assert [(one.kind, one.box_ids) for one in store.incidents()] == [("sag", ("1",))]
    store.close()


def test_results_are_bounded_and_shared_by_threads() -> None:
    results = measuring.MeasuredResults(most=2)
    volts = np.sin(2 * np.pi * 60 * np.arange(6000) / 12000) * 120 * np.sqrt(2)
    waves = [
        Waveform("1", 0, 0, TimeSource.GPS, 12_000_000, 0.01, 0, np.round(volts * k * 100).astype(np.int16))
        for k in (1.0, 0.99, 0.98)
    ]

    def measure() -> None:
        for wave in (waves[0], waves[0], waves[1]):
            results.of(wave, 120.0, 60.0, measuring.DEFAULT_LIMITS)

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join(240)
    assert results.measured == 2
    results.of(waves[2], 120.0, 60.0, measuring.DEFAULT_LIMITS)
    results.of(waves[0], 120.0, 60.0, measuring.DEFAULT_LIMITS)  # gone, the oldest
    assert results.measured == 4
