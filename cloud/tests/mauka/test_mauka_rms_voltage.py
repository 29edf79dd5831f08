"""The rms_voltage analysis on waveforms whose truth is known in closed form."""

from dataclasses import replace

import numpy as np
import pytest

from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_measure.events.disturbances import Limits, find_disturbances
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Gap, TimeSource, Waveform

START_NS = 1_700_000_000_123_456_789


def wave(
    box_id="1", steps=(), seconds=3.0, nominal_v=120.0, hz=60.0, millihz=12_000_000, gaps=(), v_per_lsb=0.0068
):
    """3 s of a sine of `nominal_v`; each step is (start_s, end_s, factor); gaps are cut out."""
    t_s = np.arange(36_000) / 12_000
    amplitude = np.full(len(t_s), nominal_v * np.sqrt(2))
    for start_s, end_s, factor in steps:
        amplitude[(t_s >= start_s) & (t_s < end_s)] *= factor
    counts = np.round(amplitude * np.sin(2 * np.pi * hz * t_s) / v_per_lsb).astype(np.int16)
    keep = np.ones(len(counts), bool)
    for gap in gaps:
        keep[gap.first_sample - 1000 : gap.first_sample - 1000 + gap.samples] = False
    return Waveform(
        box_id, START_NS, 250_000, TimeSource.NTP, 12_000_000, v_per_lsb, 1000, counts[keep], tuple(gaps)
    )


def event(*waves):
    return Event(1, START_NS, START_NS + 3 * 10**9, waves)


@pytest.fixture(scope="module")
def analysis():
    (loaded,) = load_analyses([("rms_voltage", {})])
    return loaded


def look(analysis, *waves, nominal=DEFAULT_NOMINAL):
    return analysis.findings_in(event(*waves), nominal, {})


def test_a_clean_waveform_gives_nothing(analysis):
    assert look(analysis, wave(), wave("2")) == ()


def test_a_sag_has_depth_times_and_verdicts(analysis):
    (found,) = look(analysis, wave(steps=[(1.0, 1.1, 0.6)]))
    assert found.kind == "sag"
    assert found.residual_v == pytest.approx(72.0, abs=0.04)  # 0.6 x 120 V, 0.03 % of nominal
    assert found.residual_percent == pytest.approx(60.0, abs=0.03)
    assert found.start_ns == pytest.approx(START_NS + 1_000_000_000, abs=8_333_333)  # half a cycle
    assert found.end_ns == pytest.approx(START_NS + 1_100_000_000, abs=8_333_333)
    assert found.duration_cycles == pytest.approx(6, abs=0.5)
    assert (found.ieee1159, found.itic, found.semi_f47) == ("instantaneous sag", "no_damage", "pass")
    assert found.uncertainty_ns == 250_000
    assert found.closed
    assert found.confidence > 0.99
    assert found.measurement_type == "VOLTAGE"
    assert "90 % of 120 V" in found.because
    assert "60.0" in found.because
    assert "ITIC no damage" in found.because


@pytest.mark.parametrize(
    ("factor", "kind", "percent"),
    [(1.2, "swell", 120.0), (0.0, "interruption", 0.0), (0.09, "interruption", 9.0)],
)
def test_one_pass_finds_swells_and_interruptions(analysis, factor, kind, percent):
    (found,) = look(analysis, wave(steps=[(1.0, 1.2, factor)]))
    assert found.kind == kind
    assert found.residual_percent == pytest.approx(percent, abs=0.05)


def jumped(before, degrees, at_s):
    """A wave whose phase jumps; `before`: its amplitude until then."""
    t_s = np.arange(36_000) / 12_000
    angle = 2 * np.pi * 60 * t_s + np.where(t_s < at_s, 0.0, np.radians(degrees))
    counts = np.round(120 * np.sqrt(2) * np.where(t_s < at_s, before, 1.0) * np.sin(angle) / 0.0068)
    return replace(wave(), counts=counts.astype(np.int16))


@pytest.mark.parametrize(
    ("before", "degrees", "at_s", "kind"),
    [
        (0.964, 79.0, 1.502, "sag"),
        (0.964, 60.0, 1.5 + 1 / 480, "sag"),
        (1.04, -60.0, 1.5 + 3 / 480, "swell"),
    ],
)
def test_a_jump_names_the_level_it_makes(analysis, before, degrees, at_s, kind):
    """Reports count what Urms(1/2) does, so the finding has its class, voltage and times, and the jump."""
    one = jumped(before, degrees, at_s)
    (measured,) = find_disturbances(one.volts, 12_000.0, 120.0, 60.0, Limits())
    assert measured.kind == kind and measured.duration_cycles < 2
    (found,) = look(analysis, one)
    assert found.kind == f"phase_jump+{kind}"
    assert found.residual_v == measured.residual_v
    assert (found.start_ns, found.end_ns) == (
        one.time_ns(measured.start_sample),
        one.time_ns(measured.end_sample),
    )
    assert dict(found.figures)["phase_jump_degrees"] == pytest.approx(degrees, abs=1.0)
    assert "the effect of a phase jump of" in found.because


@pytest.mark.parametrize(("noise_v", "dips"), [(3.8, 1), (10.9, 8)])
def test_a_dip_by_noise_alone_is_no_finding(analysis, noise_v, dips):
    """A steady 90.5 % in noise of 30 and 20 dB: Urms(1/2) is below 90 % at times, and reports count that."""
    volts = 0.905 * 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * np.arange(36_000) / 12_000)
    volts += noise_v * np.random.default_rng(4).standard_normal(36_000)
    one = replace(wave(), counts=np.round(volts / 0.0068).astype(np.int16))
    assert len(find_disturbances(one.volts, 12_000.0, 120.0, 60.0, Limits())) >= dips
    assert look(analysis, one) == ()


def test_a_deepening_sag_is_one_interruption(analysis):
    (found,) = look(analysis, wave(steps=[(0.5, 1.5, 0.7), (0.8, 1.2, 0.05)]))
    assert found.kind == "interruption"
    assert found.start_ns == pytest.approx(START_NS + 500_000_000, abs=8_333_333)
    assert found.end_ns == pytest.approx(START_NS + 1_500_000_000, abs=8_333_333)


def test_an_open_sag_is_returned_open(analysis):
    (found,) = look(analysis, wave(steps=[(2.5, 3.0, 0.5)]))
    assert not found.closed
    assert found.end_ns == START_NS + 3 * 10**9
    assert "still open" in found.because


def test_an_onset_needs_two_cycles_before_it(analysis):
    """With a cycle before it the edge is fitted milliseconds early: 60 Hz, 24 ms and 36 ms before it."""
    for start_s, seen in ((0.024, False), (0.036, True)):
        (found,) = look(analysis, wave(steps=[(start_s, 0.5, 0.6)]))
        assert found.onset_seen is seen
        assert found.closed and "had begun before" not in found.because


def test_findings_of_all_boxes_come_in_time_order(analysis):
    found = look(
        analysis, wave("2", [(1.0, 1.1, 0.6)]), wave("1", [(0.5, 0.6, 0.6), (2.0, 2.1, 1.2)]), wave("3")
    )
    assert [(one.box_id, one.kind) for one in found] == [("1", "sag"), ("2", "sag"), ("1", "swell")]


def test_times_after_a_gap_count_missing_samples(analysis):
    gap = Gap(first_sample=1000 + 6_000, samples=6_000, reason="the ring was full")  # 0.5 s to 1.0 s
    (found,) = look(analysis, wave(steps=[(2.0, 2.1, 0.5)], gaps=(gap,)))
    assert found.start_ns == pytest.approx(START_NS + 2_000_000_000, abs=8_333_333)


def test_a_gap_alone_is_no_disturbance(analysis):
    gaps = tuple(Gap(1000 + at, 77, "lost") for at in (5_000, 5_100, 5_300, 20_003))  # pieces of 23 and 123
    assert look(analysis, wave(gaps=gaps)) == ()


def test_a_230_v_box_has_its_nominal(analysis):
    """A Box on 230 V 50 Hz is measured by its own nominal."""
    at_230 = wave(nominal_v=230.0, hz=50.0, steps=[(1.0, 1.1, 0.8)], v_per_lsb=0.012)
    (found,) = look(analysis, at_230, nominal=Nominal(230.0, 50.0))
    assert found.residual_percent == pytest.approx(80.0, abs=0.03)
    assert found.duration_cycles == pytest.approx(5, abs=0.5)


def test_the_numbers_are_those_of_the_measurement_core(analysis):
    one = wave(steps=[(1.0, 1.3, 0.55)])
    (found,) = look(analysis, one)
    (measured,) = find_disturbances(one.volts, 12_000.0, 120.0, 60.0, Limits())
    assert found.residual_v == measured.residual_v
    assert found.duration_cycles == measured.duration_cycles
    assert found.start_ns == one.time_ns(measured.start_sample)


def test_impossible_limits_are_reported():
    """Limits come from the settings and impossible ones are reported."""
    (strict,) = load_analyses([("rms_voltage", {"sag_percent": 95.0, "nominal_v": 127.0})])
    assert [one.kind for one in strict.findings_in(event(wave()), Nominal(120.0, 60.0), {})] == [
        "sag"
    ]  # 120 / 127 = 94.5 %
    with pytest.raises(PluginError, match="did you mean"):
        load_analyses([("rms_voltage", {"sag_percnt": 95.0})])
    with pytest.raises(PluginError, match="must rise"):
        load_analyses([("rms_voltage", {"sag_percent": 120.0})])
    with pytest.raises(PluginError, match="rms_voltage"):
        load_analyses([("rms_volts", {})])


def test_all_built_in_analyses_load_with_their_defaults():
    assert [analysis.name for analysis in load_analyses([])] == [
        "dc_offset",
        "flicker",
        "frequency_deviation",
        "harmonics",
        "interharmonics",
        "mains_signalling",
        "noise",
        "periodic_notching",
        "phase_jump",
        "rapid_voltage_change",
        "rms_voltage",
        "transient",
        "unbalance",
    ]


def test_an_analysis_that_takes_something_else_is_refused(tmp_path):
    (tmp_path / "odd.py").write_text(
        "from dataclasses import dataclass\ntakes, gives = int, str\n"
        "@dataclass(frozen=True)\nclass Config:\n    x: int = 0\ndef analyse(event, config):\n    return ()\n"
    )
    with pytest.raises(
        PluginError, match="an analysis takes Measurement, Trend, Event, Finding, Incident or History"
    ):
        load_analyses([("odd", {})], [tmp_path])
