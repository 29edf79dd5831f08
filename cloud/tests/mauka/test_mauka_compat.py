"""The original's plug-ins: findings with `compat`, by the text of opq-interop E.3, and limits by request."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from opq_cloud.mauka.messages import new_message
from opq_cloud.mauka.print_plugin import PrintPlugin
from opq_cloud.mauka.service import load_analyses
from opq_cloud.mauka.threshold_optimization import THRESHOLD_OPTIMIZATION_REQUEST, ThresholdOptimizationPlugin
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.documents import classifications, deviation_from_nominal
from opq_cloud.store.makai_documents import MakaiConfig, TriggeringLimits
from opq_measure.signal import FloatArray
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.messages import Event, Finding, TimeSource, Waveform

START_NS = 1_700_000_000_000_000_000
CYCLE_NS = 1e9 / 60
V_PER_LSB = 0.01


def findings(name: str, volts: FloatArray, **settings: object) -> tuple[Finding, ...]:
    """Of a waveform at 12 kS/s, with `compat`."""
    (analysis,) = load_analyses([(name, {"compat": True, **settings})])
    counts = np.rint(volts / V_PER_LSB).astype(np.int16)
    wave = Waveform("1", START_NS, 1000, TimeSource.GPS, 12_000_000, V_PER_LSB, 0, counts)
    return analysis.findings_in(Event(1, START_NS, wave.end_ns, (wave,)), DEFAULT_NOMINAL, {})


def cycles_of(*levels: tuple[int, float]) -> FloatArray:
    """(cycles, rms volts) one after the other, whole cycles of 200 samples."""
    one = np.sqrt(2) * np.sin(2 * np.pi * np.arange(200) / 200)
    return np.concatenate([np.tile(one * volts, count) for count, volts in levels])


def test_a_sag_has_the_originals_words_verdicts_and_times() -> None:
    (found,) = findings("rms_voltage", cycles_of((60, 120.0), (20, 54.0), (60, 121.0)))
    assert (found.kind, found.ieee1159, found.closed) == ("sag", "instantaneous sag", True)
    assert found.start_ns == START_NS + round(60 * CYCLE_NS)
    assert found.end_ns - found.start_ns == round(20 * CYCLE_NS)
    assert (found.itic, found.semi_f47) == ("no_damage", "fail")  # 45 % for a third of a second
    assert classifications(found) == ["VOLTAGE_SAG", "ITIC_NO_DAMAGE", "SEMI_F47_VIOLATION"]
    assert deviation_from_nominal(found) == pytest.approx(66.0, abs=0.01)


def test_thirty_cycles_of_sag_are_momentary_and_of_swell_are_two() -> None:
    (sag,) = findings("rms_voltage", cycles_of((60, 120.0), (30, 96.0), (60, 120.0)))
    assert sag.ieee1159 == "momentary sag"
    swells = findings("rms_voltage", cycles_of((60, 120.0), (30, 138.0), (60, 120.0)))
    assert {each.ieee1159 for each in swells} == {"momentary swell", "instantaneous swell"}
    assert {each.itic for each in swells} == {"no_interruption_in_function"}  # 115 % for half a second


def test_the_deviation_is_the_largest_of_the_whole_waveform() -> None:
    both = findings("rms_voltage", cycles_of((30, 120.0), (10, 100.0), (30, 120.0), (10, 60.0), (30, 120.0)))
    assert [deviation_from_nominal(each) for each in both] == pytest.approx([60.0, 60.0], abs=0.01)


def test_an_interruption_ends_below_a_tenth() -> None:
    (found,) = findings("rms_voltage", cycles_of((30, 120.0), (10, 6.0), (30, 120.0)))
    assert (found.kind, found.ieee1159) == ("interruption", "momentary interruption")


def test_a_frequency_variation_has_the_wrong_deviation_of_the_original() -> None:
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


def test_a_request_changes_the_limits_of_all_boxes_or_of_one(store: CloudStore) -> None:
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


def test_a_print_plugin_that_is_started_writes_a_line_of_each_message_and_is_bounded() -> None:
    now_s = [0.0]
    plugin = PrintPlugin({}, lambda: now_s[0])
    assert plugin.on_hold.is_set(), "it is off until somebody starts it"
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
