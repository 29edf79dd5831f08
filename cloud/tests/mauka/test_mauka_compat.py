"""The original's plug-ins: findings with `compat`, by the text of docs/reference/opq-interop.md E.3, and
limits by request."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from opq_cloud.core.original.analyses import analysis_settings
from opq_cloud.core.original.keys import ORIGINAL_ANALYSES, is_obeyed, why_without_effect
from opq_cloud.mauka.bus.bus_messages import new_message
from opq_cloud.mauka.bus_plugins.printing import PrintPlugin
from opq_cloud.mauka.bus_plugins.threshold_optimization import (
    THRESHOLD_OPTIMIZATION_REQUEST,
    ThresholdOptimizationPlugin,
)
from opq_cloud.mauka.original.settings import DEFAULTS
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.documents.findings import classifications, compat_metadata, deviation_from_nominal
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_measure.signal import FloatArray
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding, TimeSource, Waveform

START_NS = 1_700_000_000_000_000_000
CYCLE_NS = 1e9 / 60
V_PER_LSB = 0.01


def findings(name: str, volts: FloatArray, **settings: object) -> tuple[Finding, ...]:
    """The findings in a waveform at 12 kS/s, with `compat`."""
    (analysis,) = load_analyses([(name, {"compat": True, **settings})])
    counts = np.rint(volts / V_PER_LSB).astype(np.int16)
    wave = Waveform("1", START_NS, 1000, TimeSource.GPS, 12_000_000, V_PER_LSB, 0, counts)
    return analysis.findings_in(Event(1, START_NS, wave.end_ns, (wave,)), DEFAULT_NOMINAL, {})


def cycles_of(*levels: tuple[int, float]) -> FloatArray:
    """(cycles, rms volts) one after the other, whole cycles of 200 samples."""
    one = np.sqrt(2) * np.sin(2 * np.pi * np.arange(200) / 200)
    return np.concatenate([np.tile(one * volts, count) for count, volts in levels])


def test_a_sag_has_the_originals_words() -> None:
    """Words, verdicts and times."""
    (found,) = findings("rms_voltage", cycles_of((60, 120.0), (20, 54.0), (60, 121.0)))
    assert (found.kind, found.ieee1159, found.closed) == ("sag", "instantaneous sag", True)
    assert found.start_ns == START_NS + round(60 * CYCLE_NS)
    assert found.end_ns - found.start_ns == round(20 * CYCLE_NS)
    assert (found.itic, found.semi_f47) == ("no_damage", "fail")  # 45 % for a third of a second
    assert classifications(found) == ["VOLTAGE_SAG", "ITIC_NO_DAMAGE", "SEMI_F47_VIOLATION"]
    assert deviation_from_nominal(found) == pytest.approx(66.0, abs=0.01)


def test_thirty_cycles_have_the_originals_names() -> None:
    """A sag of thirty cycles is momentary; a swell has two names."""
    (sag,) = findings("rms_voltage", cycles_of((60, 120.0), (30, 96.0), (60, 120.0)))
    assert sag.ieee1159 == "momentary sag"
    swells = findings("rms_voltage", cycles_of((60, 120.0), (30, 138.0), (60, 120.0)))
    assert {each.ieee1159 for each in swells} == {"momentary swell", "instantaneous swell"}
    assert {each.itic for each in swells} == {"no_interruption_in_function"}  # 115 % for half a second


def test_the_deviation_is_the_whole_waveforms() -> None:
    """The largest one within it."""
    both = findings("rms_voltage", cycles_of((30, 120.0), (10, 100.0), (30, 120.0), (10, 60.0), (30, 120.0)))
    assert [deviation_from_nominal(each) for each in both] == pytest.approx([60.0, 60.0], abs=0.01)


def test_an_interruption_ends_below_a_tenth() -> None:
    (found,) = findings("rms_voltage", cycles_of((30, 120.0), (10, 6.0), (30, 120.0)))
    assert (found.kind, found.ieee1159) == ("interruption", "momentary interruption")


def test_a_frequency_variation_has_the_originals_deviation() -> None:
    """The original computes it wrongly."""
    t_s = np.arange(36_000) / 12_000
    hz = np.where((t_s > 1) & (t_s < 2), 59.0, 60.0)
    (found,) = findings("frequency_deviation", 170 * np.sin(2 * np.pi * np.cumsum(hz) / 12_000))
    assert classifications(found) == ["FREQUENCY_SAG"]
    assert found.duration_cycles == pytest.approx(60, abs=1.1)
    assert 0.25 <= deviation_from_nominal(found) <= 1.0  # of the cycle that is nearest to 60 Hz


def test_a_high_frequency_is_a_frequency_swell() -> None:
    t_s = np.arange(24_000) / 12_000
    (found,) = findings("frequency_deviation", 170 * np.sin(2 * np.pi * 60.5 * t_s))
    assert classifications(found) == ["FREQUENCY_SWELL"]
    assert deviation_from_nominal(found) == pytest.approx(-0.5, abs=0.02)


@pytest.mark.parametrize(("percent", "threshold", "count"), [(5.1, 5.0, 1), (4.9, 5.0, 0), (4.9, 4.5, 1)])
def test_thd_counts_each_cycle(percent: float, threshold: float, count: int) -> None:
    at = 2 * np.pi * np.arange(12_000) / 200
    volts = 170 * (np.sin(at) + percent / 100 * np.sin(5 * at))
    found = findings("harmonics", volts, thd_percent=threshold)
    assert len(found) == count
    for each in found:
        assert (classifications(each), deviation_from_nominal(each)) == (["EXCESSIVE_THD"], -1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path / "store")
    yield made
    made.close()


def test_a_request_changes_limits(store: CloudStore) -> None:
    plugin = ThresholdOptimizationPlugin({}, lambda: store)

    def ask(**values: float | str) -> MakaiConfig | None:
        message = new_message("test")
        message.threshold_optimization_request.SetInParent()
        for name, value in values.items():
            setattr(message.threshold_optimization_request, name, value)
        plugin.on_message(THRESHOLD_OPTIMIZATION_REQUEST, message)
        return store.makai_config()

    assert ask() is None, "zero means leave"
    assert ask(default_ref_v=230.0) == MakaiConfig(TriggeringLimits(ref_v=230.0))
    own = TriggeringLimits(ref_v=230.0, percent_v_low=7.5)
    assert ask(box_id="3", threshold_percent_v_low=7.5) == MakaiConfig(
        TriggeringLimits(ref_v=230.0), {"3": own}
    )
    after = ask(box_id="3", default_ref_f=50.0, ref_f=float("nan"))
    assert after == MakaiConfig(TriggeringLimits(ref_hz=50.0, ref_v=230.0), {"3": own})
    plugin.on_message(THRESHOLD_OPTIMIZATION_REQUEST, new_message("test"))
    assert (plugin.counters.total("malformed"), plugin.counters.of("requests", "changed")) == (1, 3)


def test_print_plugin_writes_one_line_per_message() -> None:
    """A print plugin that is started writes a line of each message and is bounded."""
    now_s = [0.0]
    plugin = PrintPlugin({}, lambda: now_s[0])
    assert plugin.on_hold, "it is off until somebody starts it"
    small, large = new_message("mine"), new_message("mine")
    small.makai_event.event_id = 7
    large.payload.data.extend([1.5] * 3000)
    with capture_logs() as lines:
        plugin.on_message("MakaiEvent", small)
        plugin.on_message("RawVoltage", large)
        for _ in range(40):
            plugin.on_message("MakaiEvent", small)
    first, second = lines[:2]
    assert (first["topic"], first["source"], first["kind"]) == ("MakaiEvent", "mine", "makai_event")
    assert '"eventId": 7' in first["message"]
    assert second["message"] == f"{large.ByteSize()} bytes"
    assert (len(lines), plugin.counters.total("printed"), plugin.counters.total("not_printed")) == (
        20,
        20,
        22,
    )


CREST = 12_050
"""A sample at which `steady` is at its crest."""


def steady() -> FloatArray:
    return cycles_of((120, 120.0))


def ringing(hz: float, peak_v: float = 60.0) -> FloatArray:
    after_s = np.maximum(np.arange(24_000) - CREST, 0) / 12_000
    started = np.arange(24_000) >= CREST
    return steady() + started * peak_v * np.exp(-300 * after_s) * np.cos(2 * np.pi * hz * after_s)


def test_a_transient_has_the_originals_faults() -> None:
    """docs/reference/opq-interop.md H.47, measured there by running the original's own functions."""
    spike = steady()
    spike[CREST] += 100.0
    assert findings("transient", spike) == ()
    for hz in (1000.0, 2000.0):
        words = [classifications(each) for each in findings("transient", ringing(hz))]
        assert words[0][0] == "ARCING_TRANSIENT" and len(words) == 1
    lines = steady() + 5 * np.sin(2 * np.pi * 1200 * np.arange(24_000) / 12_000)
    (artefact,) = findings("transient", lines)
    assert classifications(artefact) == ["IMPULSIVE_TRANSIENT"]
    edge = 10_000_000
    assert artefact.start_ns < START_NS + edge or artefact.end_ns > START_NS + 2_000_000_000 - edge


def test_compat_transients_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(PluginError, match=r"(?s)compat +is true; .*'opq-toolkit\[original\]'"):
        load_analyses([("transient", {"compat": True})])


def test_an_impulse_has_the_originals_metadata() -> None:
    spike = steady()
    spike[CREST] -= 20.0  # small enough for the filter's own ringing to stay below the floor
    (found,) = findings("transient", spike)
    metadata = compat_metadata(found)
    assert classifications(found) == ["IMPULSIVE_TRANSIENT"] and found.measurement_type == "TRANSIENT"
    assert metadata == {
        "Polarity": "Negative",
        "Peak_Voltage": pytest.approx(-18.2, abs=0.5),
        "Rise_Time": 0.0,
        "Decay_Time": 1 / 12_000,
        "Start_Index": 0,
        "Peak_Index": 0,
        "End_Index": 1,
    }
    assert deviation_from_nominal(found) == -metadata["Peak_Voltage"]
    assert found.start_ns == START_NS + CREST * 10**9 // 12_000


def test_notches_with_even_distances_are_periodic() -> None:
    notched = steady()
    for place in (*range(CREST - 1900, CREST + 1900, 200), CREST):  # one at the other crest
        notched[place] -= np.sign(notched[place]) * 20.0
    (found,) = findings("transient", notched, max_lull_ms=20.0)
    metadata = compat_metadata(found)
    assert (found.kind, classifications(found)) == ("periodic_notching", ["PERIODIC_NOTCHING"])
    assert metadata["period"] == pytest.approx(1 / 60)
    assert metadata["amplitude"] == pytest.approx(18.2, abs=0.5)
    assert deviation_from_nominal(found) == pytest.approx(metadata["amplitude"], abs=0.5)


def test_settings_of_the_originals_file_reach_the_analyses() -> None:
    file = {
        "plugins.FrequencyVariationPlugin.frequency.variation.threshold.low": 59.0,
        "plugins.FrequencyVariationPlugin.min_incident_len_c": 4,
        "plugins.TransientPlugin.noise.floor": 20.0,
        "plugins.TransientPlugin.max.lull.ms": 1.5,
        "plugins.TransientPlugin.oscillatory.min.cycles": 5,
        "plugins.MakaiEventPlugin.filterOrder": 12,
    }
    found = analysis_settings(file)
    assert found["frequency_deviation"] == {
        "deviation_percent": 1.666667,
        "low_hz": 59.0,
        "least_cycles": 4,
    }
    assert found["transient"] == {
        "least_peak_percent": 11.785113,
        "noise_floor_v": 20.0,
        "max_lull_ms": 1.5,
        "oscillatory_crossings": 5,
        "filter_order": 8,
    }
    load_analyses(list(found.items()))  # all are fields of the analyses, in their bounds
    assert findings("transient", ringing(1000.0, 15.0), **found["transient"]) == ()


@pytest.mark.parametrize("key", sorted(DEFAULTS))
def test_every_original_key_is_obeyed_or_explained(key: str) -> None:
    assert is_obeyed("mauka", key) or why_without_effect("mauka", key) not in (None, ORIGINAL_ANALYSES)
