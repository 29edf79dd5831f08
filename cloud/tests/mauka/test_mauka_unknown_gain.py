"""A waveform without a stated gain: nothing is judged by volts, and the command to state it is named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_cloud.mauka.bus.bus_messages import ADC_SAMPLES, WINDOWED_FREQUENCY
from opq_cloud.mauka.bus_plugins.payloads import MakaiEventPlugin
from opq_cloud.mauka.running.calls.event_analysis import analyse_event
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.documents.event_documents import waveform_document, waveform_from_document
from opq_proto.decision import Nominal
from opq_proto.messages import BoxWiring, Event, TimeSource, Trigger, Waveform

RATE_HZ, SECONDS, START_NS = 12_000, 3, 1_700_000_000_000_000_000
COUNTS_PER_V = 152.5
T_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ


def sine(hz: float = 60.0, degrees: float = 0.0) -> NDArray[np.float64]:
    return 120 * np.sqrt(2) * np.sin(2 * np.pi * hz * T_S + np.radians(degrees))


def dip(residual: float, start_s: float, end_s: float) -> NDArray[np.float64]:
    return sine() * np.where((start_s <= T_S) & (end_s > T_S), residual, 1.0)


SIGNALS = {
    "a dip of 93 %": (dip(0.07, 1.0, 1.2), ["interruption"], []),
    "a dip for most of it": (dip(0.5, 0.3, 2.9), ["sag"], []),
    "a swell": (dip(1.3, 1.0, 1.2), ["swell"], []),
    "harmonics": (sine() + 0.15 * sine(300.0), ["harmonics"], ["harmonics"]),
    "another frequency": (sine(57.0), ["frequency_deviation"], ["frequency_deviation"]),
    "a phase jump": (np.where(T_S < 1.5, sine(), sine(degrees=30.0)), ["phase_jump"], ["phase_jump"]),
}
"""Name -> volts, the classes with a known gain, and those without."""


def wave(volts: NDArray[np.float64], known: bool, box_id: str = "1") -> Waveform:
    counts = np.round(volts * COUNTS_PER_V).astype(np.int16)
    v_per_lsb = 1 / COUNTS_PER_V if known else 1.0  # as the store gave it for an original's Box
    return Waveform(
        box_id, START_NS, 1000, TimeSource.GPS, RATE_HZ * 1000, v_per_lsb, 0, counts, gain_known=known
    )


def kinds(*waves: Waveform, wiring: dict[str, BoxWiring] | None = None) -> list[str]:
    event = Event(1, START_NS, START_NS + SECONDS * 10**9, waves, {}, wiring or {})
    result = analyse_event(event, load_analyses([]), lambda _: Nominal(120.0, 60.0), {})
    assert not result.failed
    return sorted(finding.kind for finding in result.findings)


@pytest.mark.parametrize("name", SIGNALS)
def test_only_what_needs_no_volts_is_found(name: str) -> None:
    volts, with_gain, without = SIGNALS[name]
    assert kinds(wave(volts, known=True)) == with_gain
    assert kinds(wave(volts, known=False)) == without


def test_a_box_with_gain_is_judged() -> None:
    volts = SIGNALS["a dip of 93 %"][0]
    assert kinds(wave(volts, known=False), wave(volts, True, "2")) == ["interruption"]


def test_one_unknown_gain_prevents_unbalance() -> None:
    wiring = {box_id: BoxWiring("cellar", None, box_id) for box_id in "abc"}
    volts = [sine(), sine(degrees=-120.0), 0.9 * sine(degrees=120.0)]
    known = [wave(each, True, box_id) for each, box_id in zip(volts, "abc", strict=True)]
    assert "unbalance" in kinds(*known, wiring=wiring)
    assert "unbalance" not in kinds(*known[:2], replace(known[2], gain_known=False), wiring=wiring)


def test_the_originals_gain_needs_a_calibration() -> None:
    """A document of the original has a gain only with the Box's calibration."""
    document = {"event_id": 1, "box_id": "7", "event_start_timestamp_ms": 1_700_000_000_000}
    without = waveform_from_document(document, b"\0\0", None)
    assert not without.gain_known
    calibrated = waveform_from_document(document, b"\0\0", 152.1)
    assert (calibrated.gain_known, calibrated.v_per_lsb) == (True, 1 / 152.1)
    ours = waveform_document(1, wave(sine(), known=True), "")
    assert waveform_from_document(ours, b"\0\0", None).gain_known


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def stored_event(store: CloudStore, *waves: Waveform) -> int:
    boxes = tuple(each.box_id for each in waves)
    trigger = Trigger("token", START_NS, START_NS + SECONDS * 10**9, boxes, boxes[0], "test")
    event_id = store.open_event(trigger, "test")
    for each in waves:
        store.put_waveform(event_id, each)
    store.finish_event(event_id)
    return event_id


def test_a_later_gain_holds_for_stored_waveforms(store: CloudStore) -> None:
    event_id = stored_event(store, wave(sine(), known=False), wave(sine(), True, "2"))

    def read() -> list[tuple[bool, float]]:
        event = store.event(event_id)
        assert event is not None
        return [(each.gain_known, each.v_per_lsb) for each in event.waveforms]

    assert read() == [(False, 1.0), (True, 1 / COUNTS_PER_V)]
    for box_id in ("1", "2"):
        store.put_box(BoxRecord(box_id, "", calibration_constant=150.0))
    then = [(True, 1 / 150.0), (True, 1 / COUNTS_PER_V)]
    assert read() == then, "a gain that came with samples stays"
    store.put_box(BoxRecord("1", "", calibration_constant=75.0), START_NS // 10**6 + 60_000)
    assert read() == then, "its converter was changed a minute later"
    store.put_box(BoxRecord("1", "", calibration_constant=140.0), 1)
    assert read() == [(True, 1 / 140.0), then[1]], "a correction for the past"


def test_a_corrected_gain_holds_for_answers_without(store: CloudStore) -> None:
    """A Box of the original states no gain: that of its record at the samples' moment, corrected or not."""
    store.put_box(BoxRecord("1", "", calibration_constant=150.0))
    store.put_box(BoxRecord("1", "", calibration_constant=75.0), START_NS // 10**6 + 60_000)
    unstated = replace(wave(sine(), True), gain_stated=False)
    event_id = stored_event(store, unstated, wave(sine(), True, "2"))

    def read() -> list[tuple[bool, float]]:
        event = store.event(event_id)
        assert event is not None
        return [(each.gain_known, each.v_per_lsb) for each in event.waveforms]

    assert read() == [(True, 1 / 150.0), (True, 1 / COUNTS_PER_V)], "not that of now"
    for box_id in ("1", "2"):
        store.put_box(BoxRecord(box_id, "", calibration_constant=140.0), 1)
    assert read() == [(True, 1 / 140.0), (True, 1 / COUNTS_PER_V)], "a correction for the past"


def test_mauka_reports_the_command_for_a_gain(store, bus, running, until):  # type: ignore[no-untyped-def]
    """Mauka reports the command until a waveform has a gain."""
    from opq_cloud.mauka.flow.flow_runner import AnalysisRunner

    event_id = stored_event(store, wave(SIGNALS["a dip of 93 %"][0], known=False))
    runner = AnalysisRunner(bus.settings, lambda: store, load_analyses([]))
    running.start(runner)
    assert until(lambda: store.event_record(event_id).analysed)
    assert store.incidents() == []
    (report,) = runner.health()
    assert (report.name, report.ok) == ("gain of Box 1", False)
    assert "opq-tools boxes set 1 --calibration-constant COUNTS_PER_VOLT" in report.info


def test_an_unknown_gain_gives_no_volts(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An original plug in gets no volts of an unknown gain."""
    event_id = stored_event(store, wave(sine(), known=False))
    plugin = MakaiEventPlugin({}, lambda: store)
    sent = []
    monkeypatch.setattr(plugin, "produce", lambda topic, message: sent.append(topic))
    plugin._produce_event(event_id, ["1"])
    assert sent == [ADC_SAMPLES, WINDOWED_FREQUENCY]
