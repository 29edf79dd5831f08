"""Each kind of disturbance that the generator makes, told by its own primitive and by no other."""

from collections import Counter

import pytest

from opq_measure.timebase.cycles import track
from opq_measure.waveform.change import changes_in
from opq_measure.waveform.clipping import clipping_in
from opq_measure.waveform.notches import notching_in
from opq_measure.waveform.phase_jump import phase_jumps_in
from opq_measure.waveform.transients import transients_in
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import (
    DcOffset,
    FlickerEvent,
    HarmonicDistortion,
    Interharmonics,
    MainsSignalling,
    NoiseBurst,
)
from opq_sim.mains.rms_events import Interruption, Sag, Swell
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching


def told(disturbances: list[MainsDisturbance], seed: int) -> Counter[str]:
    """How often each primitive finds something in 1.6 s."""
    volts, _ = mains(
        1.6,
        frequency_hz=59.9 + 0.1 * seed,
        harmonics=MIX_3_PERCENT,
        disturbances=disturbances,
        noise_db=60,
        random_phases=True,
        seed=seed,
    )
    tracked = track(volts, 12_000.0)
    found = Counter(
        "oscillatory" if each.oscillatory else "impulsive" for each in transients_in(volts, tracked)
    )
    found["notching"] = len(notching_in(volts, tracked))
    found["jump"] = len(phase_jumps_in(volts, tracked))
    found["change"] = len(changes_in(volts, tracked))
    found["clipped"] = clipping_in(volts, 12_000.0, 60.0).tops
    return +found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ImpulsiveTransient(start_s=0.6), {"impulsive": 1}),
        (OscillatoryTransient(start_s=0.6), {"oscillatory": 1}),
        (PhaseJumpEvent(start_s=0.6), {"jump": 1, "change": 1}),
        (Sag(start_s=0.6), {"change": 2}),
        (Swell(start_s=0.6), {"change": 2}),
        (Interruption(start_s=0.6), {"change": 2}),
        (FrequencyDeviation(start_s=0.6, seconds=0.6), {}),
        (HarmonicDistortion(start_s=0.6, seconds=0.6), {}),
        (Interharmonics(start_s=0.6, seconds=0.6), {}),
        (MainsSignalling(start_s=0.6, seconds=0.6), {}),
        (FlickerEvent(start_s=0.6, seconds=0.6), {}),
        (DcOffset(start_s=0.6, seconds=0.6), {}),
        (NoiseBurst(start_s=0.6, seconds=0.6), {}),
    ],
    ids=lambda value: value.kind if isinstance(value, MainsDisturbance) else "",
)
def test_each_kind_has_its_own_primitive(kind: MainsDisturbance, expected: dict[str, int], seed: int) -> None:
    assert told([kind], seed) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_notching_is_reported_in_each_of_its_windows(seed: int) -> None:
    found = told([PeriodicNotching(start_s=0.6, seconds=0.6)], seed)
    assert found["notching"] in (3, 4)  # of 0.2 s
    assert found["jump"] == found["clipped"] == found["impulsive"] == 0
    assert found["oscillatory"] <= 1  # where it begins in the middle of a notch


def test_of_three_at_once_each_has_its_own() -> None:
    found = told(
        [PhaseJumpEvent(start_s=0.4), OscillatoryTransient(start_s=0.8), Sag(start_s=1.1, cycles=5.0)],
        seed=1,
    )
    assert found == {"jump": 1, "change": 3, "oscillatory": 1}
