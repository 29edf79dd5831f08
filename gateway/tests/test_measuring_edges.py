"""Detectors of the gateway: what they find of the weakest magnitudes of docs/sim-data-sets.md, what not."""

from collections.abc import Callable

import numpy as np
import pytest
from test_measuring_thread import RATE_HZ, T0_NS, V_PER_LSB, Bench, blocks_of

from opq_gateway.measuring.edge_detectors import EVERY_S, EdgeDetectors, EdgeFinding
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.measuring.window_figures import figures_of
from opq_measure.events.limits import Limits
from opq_measure.timebase.windows import windows_of
from opq_proto.messages import Measurement
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.pollution import DcOffset, FlickerEvent, Interharmonics, MainsSignalling, NoiseBurst
from opq_sim.mains.profiles import Ramp, Wander
from opq_sim.mains.rms_events import RapidVoltageChange, Sag
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching

AT_S = 2.2
Weakest = Callable[[int], MainsDisturbance]
"""One of a class by a number: signs, angles and shapes in turn."""
WEAKEST: dict[str, tuple[Weakest, float]] = {
    "impulsive_transient": (
        lambda n: ImpulsiveTransient(
            start_s=AT_S,
            angle_deg=67.0 * n,
            peak_pu=0.2 * (-1) ** n,
            rise_s=(1e-6, 40e-6)[n % 2],
            decay_s=(1e-4, 3e-4)[n // 2 % 2],
        ),
        0.01,
    ),
    "oscillatory_transient": (
        lambda n: OscillatoryTransient(
            start_s=AT_S,
            angle_deg=67.0 * n,
            peak_pu=0.15,
            ring_hz=(700.0, 1500.0, 3000.0)[n % 3],
            decay_s=(1.5e-3, 5e-3)[n // 3 % 2],
        ),
        0.01,
    ),
    "phase_jump": (
        lambda n: PhaseJumpEvent(start_s=AT_S, angle_deg=67.0 * n, degrees=8.0 * (-1) ** n),
        0.02,
    ),
    "periodic_notching": (
        lambda n: PeriodicNotching(
            start_s=AT_S, seconds=4.0, depth=0.12, width_s=(2e-4, 3e-4)[n % 2], first_deg=20.0 + 20 * (n % 2)
        ),
        2.5,
    ),
    "rapid_voltage_change": (
        lambda n: RapidVoltageChange(start_s=AT_S, seconds=2.5, angle_deg=67.0 * n, change=0.055 * (-1) ** n),
        0.05,
    ),
}


def found_in(volts: np.ndarray, nominal_hz: float = 60.0) -> tuple[list[EdgeFinding], EdgeDetectors]:
    counts = np.rint(volts / V_PER_LSB) * V_PER_LSB
    figures = figures_of(windows := list(windows_of(counts, RATE_HZ, nominal_hz)), [120.0] * len(windows))
    detectors, found = EdgeDetectors(120.0, nominal_hz, Limits()), []
    for each in figures:
        found += detectors.accept_window(each)
    return found + detectors.end(), detectors


@pytest.mark.parametrize("kind", WEAKEST)
@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_the_weakest_of_each_class_is_found(kind: str, nominal_hz: float) -> None:
    make, near_s = WEAKEST[kind]
    for number in (0, 1) if nominal_hz == 50.0 else (2, 3):
        volts, _ = mains(
            7.0,
            RATE_HZ,
            frequency_hz=nominal_hz + 0.025 * (number - 1),
            harmonics={3: (1.2, 40.0 * number), 5: (2.0, 70.0 * number), 7: (1.2, 0.0)},
            noise_db=60,
            seed=number,
            disturbances=[make(number)],
        )
        found, _ = found_in(volts, nominal_hz)
        assert [each.kind for each in found] == [kind], number
        assert -0.02 <= found[0].start_sample / RATE_HZ - AT_S < near_s + 0.02
        assert found[0].value != 0


@pytest.mark.parametrize(
    ("signal_hz", "nominal_hz"), [(175.0, 50.0), (216.67, 50.0), (492.0, 50.0), (216.67, 60.0), (492.0, 60.0)]
)
def test_a_telegram_is_found_at_its_first_pulse(signal_hz: float, nominal_hz: float) -> None:
    telegram = MainsSignalling(
        start_s=AT_S, seconds=6.0, signal_hz=signal_hz, percent=1.5, bits="101100101101", bit_s=0.5
    )
    volts, _ = mains(
        10.0,
        RATE_HZ,
        frequency_hz=nominal_hz + 0.02,
        harmonics=MIX_3_PERCENT,
        noise_db=50,
        disturbances=[telegram],
    )
    found, detectors = found_in(volts, nominal_hz)
    assert [each.kind for each in found] == ["mains_signalling"] and detectors.limited >= 1
    assert found[0].start_sample / RATE_HZ == pytest.approx(AT_S, abs=0.2)
    assert found[0].end_sample / RATE_HZ == pytest.approx(AT_S + 0.5, abs=0.25)
    assert 0.7 < found[0].value < 1.7


def test_a_wavering_line_is_not_a_telegram() -> None:
    for percents in ([0.9] * 12, [0.65, 0.75] * 6, [1.5, 1.0] * 6):
        lines = [
            MainsSignalling(start_s=AT_S + n, seconds=1.0, percent=each) for n, each in enumerate(percents)
        ]
        volts, _ = mains(16.0, RATE_HZ, noise_db=60, disturbances=lines)
        assert [each.kind for each in found_in(volts)[0]] == [], percents


@pytest.mark.parametrize("seconds", [60.0, pytest.param(600.0, marks=pytest.mark.slow)])
def test_noisy_quiet_mains_have_none(seconds: float) -> None:
    volts, _ = mains(seconds, RATE_HZ, harmonics=MIX_3_PERCENT, noise_db=60, seed=9)
    found, detectors = found_in(volts)
    assert not found and not detectors.limited


def test_what_others_are_for_is_none_of_them() -> None:
    span = {"start_s": AT_S, "seconds": 3.0}
    for facts in (
        {"profiles": [Wander(0.02)]},
        {"profiles": [Ramp(0.2)]},
        {"noise_db": 40},
        {"pink_db": 50},
        {"disturbances": [FlickerEvent(**span)]},  # type: ignore[arg-type]
        {"disturbances": [Interharmonics(**span)]},  # type: ignore[arg-type]
        {"disturbances": [DcOffset(**span)]},  # type: ignore[arg-type]
        {"disturbances": [Sag(depth=0.4, **span)]},  # type: ignore[arg-type]
    ):
        volts, _ = mains(8.0, RATE_HZ, **{"noise_db": 60, "harmonics": MIX_3_PERCENT, **facts})  # type: ignore[arg-type]
        assert found_in(volts)[0] == [], facts


def test_one_per_class_in_ten_seconds_is_reported() -> None:
    """The others are counted."""
    hits = [ImpulsiveTransient(start_s=at, peak_pu=0.5) for at in (2.2, 4.2, 6.2, 13.2)]
    volts, _ = mains(16.0, RATE_HZ, noise_db=60, disturbances=hits)
    found, detectors = found_in(volts)
    assert [round(each.start_sample / RATE_HZ) for each in found] == [2, 13] and detectors.limited == 2
    assert found[1].start_sample - found[0].start_sample >= EVERY_S * RATE_HZ


def test_noise_bursts_are_examined_seldom() -> None:
    bursts = [NoiseBurst(start_s=1.1 + 2 * n, seconds=0.7, noise_db=22) for n in range(9)]
    volts, _ = mains(20.0, RATE_HZ, noise_db=60, disturbances=bursts)
    counts = np.rint(volts / V_PER_LSB) * V_PER_LSB
    figures = figures_of(windows := list(windows_of(counts, RATE_HZ)), [120.0] * len(windows))
    detectors = EdgeDetectors(120.0, 60.0, Limits())
    for each in figures:
        detectors.accept_window(each)
    assert 1 <= detectors._sudden.searches <= 8  # four at once, then one each 5 s


def test_a_detected_edge_leaves_as_a_crossing() -> None:
    sent: list[Measurement] = []
    bench = Bench(plan=MeasuringPlan("1", 1.0, 10.0, detectors=True), edge=lambda _, each: sent.append(each))
    jump = PhaseJumpEvent(start_s=2.2, degrees=15.0)
    hit = ImpulsiveTransient(start_s=3.2, peak_pu=0.25, angle_deg=90.0)
    volts, _ = mains(6.0, RATE_HZ, noise_db=60, disturbances=[jump, hit])
    bench.feed(blocks_of(volts)).end()
    assert [list(each.metrics) for each in sent] == [["edge_phase_jump"], ["edge_impulsive_transient"]]
    assert sent[0].metrics["edge_phase_jump"].average == pytest.approx(15.0, abs=0.5)
    assert 20 < sent[1].metrics["edge_impulsive_transient"].average < 45
    for each, at_s in zip(sent, (2.2, 3.2), strict=True):
        assert each.crossing and not each.backfilled and each.nominal_v == 120.0
        assert each.start_ns is not None and each.end_ns is not None and each.uncertainty_ns == 1000
        assert abs(each.start_ns - T0_NS - at_s * 1e9) < 20e6
        assert each.end_ns - each.start_ns == pytest.approx(1e9 / 60, abs=2)
    assert bench.counters["edges_found"] == 2 and bench.counters["edges_limited"] == 0
