"""A mains signal and its truth in one call, for tests and benchmarks.

volts, truth = mains(10, frequency_hz=59.3, harmonics=MIX_3_PERCENT, noise_db=60,
                     disturbances=[Sag(depth=0.3, start_s=2.0, cycles=5)], seed=1)
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray, FrequencyProfile
from opq_sim.mains.sampling import TRUE, Converter, SampleClock
from opq_sim.mains.truth import Truth
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, MainsTone, Wave, harmonics_of

MIX_3_PERCENT = {3: 2.0, 5: 2.0, 7: 0.88, 9: 0.5}
"""Percent by order, 3 % in all: the mix of the benchmarks."""


def mains(
    seconds: float = 1.0,
    rate_hz: float = 12_000.0,
    *,
    voltage_v: float = 120.0,
    frequency_hz: float = 60.0,
    phase_deg: float = 0.0,
    harmonics: Mapping[int, float | tuple[float, float]] | Iterable[Harmonic] = (),
    tones: Iterable[MainsTone] = (),
    dc_v: float = 0.0,
    profiles: Iterable[FrequencyProfile] = (),
    disturbances: Iterable[MainsDisturbance] = (),
    noise_db: float | None = None,
    pink_db: float | None = None,
    converter: Converter | None = None,
    clock: SampleClock = TRUE,
    random_phases: bool = False,
    seed: int = 0,
) -> tuple[FloatArray, Truth]:
    """Volts and their components.

    Args:
        seconds: by the rate; round(seconds * rate_hz) samples.
        voltage_v: rms of the fundamental.
        phase_deg: of the fundamental at sample 0; 0 is the rising zero crossing.
        harmonics: `{order: percent}`, `{order: (percent, phase_deg)}` or Harmonic, of the fundamental.
        profiles: of the frequency, e.g. `Ramp(1.0)`, `Wander(0.02)`.
        noise_db, pink_db: how far white and 1/f noise (rms) lie under the fundamental (rms).
        random_phases: the fundamental, and harmonics without a phase, get one by `seed`.
    Returns:
        (n,) float64 volts, and their truth.
    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds is {seconds}; want a number from 0")
    if random_phases:
        phase_deg = float(np.random.default_rng((seed, 0x50)).uniform(0.0, 360.0))
    made = Mains(
        rate_hz=rate_hz,
        grid=Grid(frequency_hz, phase_cycles=phase_deg / 360, profiles=tuple(profiles)),
        wave=Wave(voltage_v, harmonics_of(harmonics, seed if random_phases else None), tuple(tones), dc_v),
        disturbances=tuple(disturbances),
        noise_v=_under(voltage_v, noise_db),
        pink_v=_under(voltage_v, pink_db),
        converter=converter,
        clock=clock,
        seed=seed,
    )
    count = round(seconds * rate_hz)
    return made.volts(0, count), Truth(made, count)


def _under(voltage_v: float, decibels: float | None) -> float:
    return 0.0 if decibels is None else voltage_v * 10 ** (-decibels / 20)
