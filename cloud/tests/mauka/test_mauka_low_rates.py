"""Dips in recordings of relays and simulators, with 16 to 32 samples a cycle."""

import math

import numpy as np
import pytest

from opq_cloud.mauka.measuring import results
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.event_analysis import analyse_event
from opq_proto.decision import Nominal
from opq_proto.messages import Event, TimeSource, Waveform

START_NS = 1_790_000_000 * 10**9
V_PER_LSB = 0.02


@pytest.mark.parametrize(
    ("rate_hz", "hz", "seconds"),
    [(800, 50.0, 0.5), (1000, 50.02, 0.5), (1000, 50.0, 0.25), (1200, 50.0, 0.25), (1600, 50.0, 0.25)],
)
def test_a_clean_dip_is_found(rate_hz: int, hz: float, seconds: float) -> None:
    at_s = np.arange(round(rate_hz * seconds)) / rate_hz
    size = np.where((at_s >= 0.1) & (at_s < 0.18), 0.6, 1.0)
    volts = 230 * math.sqrt(2) * size * np.sin(2 * math.pi * hz * at_s + 0.7)
    counts = np.round(volts / V_PER_LSB).astype(np.int16)
    wave = Waveform("7", START_NS, 1000, TimeSource.FREE, rate_hz * 1000, V_PER_LSB, 0, counts)
    event = Event(1, wave.start_ns, wave.end_ns, (wave,))
    found = analyse_event(event, AnalysisSetup().loaded().analyses, lambda _: Nominal(230.0, 50.0), {})
    assert dict(found.failed) == {}
    assert [(each.kind, round(each.residual_percent or 0)) for each in found.findings] == [("sag", 60)]


def test_a_failed_classification_leaves_the_dips(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> tuple[()]:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(results, "parts_in", fails)
    at_s = np.arange(6100) / 12_000
    size = np.where((at_s >= 0.1) & (at_s < 0.18), 0.6, 1.0)
    counts = np.round(230 * math.sqrt(2) * size * np.sin(100 * math.pi * at_s + 0.3) / V_PER_LSB)
    wave = Waveform("7", START_NS, 1000, TimeSource.FREE, 12_000_000, V_PER_LSB, 0, counts.astype(np.int16))
    event = Event(1, wave.start_ns, wave.end_ns, (wave,))
    found = analyse_event(event, AnalysisSetup().loaded().analyses, lambda _: Nominal(230.0, 50.0), {})
    assert [(each.kind, round(each.residual_percent or 0)) for each in found.findings] == [("sag", 60)]
    assert "harmonics" in found.failed and "rms_voltage" not in found.failed
    assert found.failed["harmonics"].endswith("the waveform of Box 7 cannot be classified (LinAlgError)")
