"""Labelled recordings of half a second to three seconds, and the longer ones of docs/sim-data-sets.md.

Lasting classes fill the whole recording, as in a waveform that a trigger cut from hours. Sizes are uniform,
wider than those of docs/sim-data-sets.md, with a margin to each limit that separates two classes: a sag
leaves 12 to 88 %, a swell 114 %, a phase jump has 8 degrees, a transient a tenth of the peak. Noise is set
here and not in the table: below 24 dB it would be its own class there.

A rapid voltage change needs a steady second on either side, a telegram some bits, flicker some periods: these
recordings are not shorter than the definition needs.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flicker_tables import SINE
from numpy.typing import NDArray

from opq_measure.flicker.lamps import lamp_for
from opq_sim.data_sets.draws import KeyedDraws
from opq_sim.data_sets.kinds import BIT_PATTERN
from opq_sim.data_sets.labelled import FULL_SCALE, NOMINAL_V, RATE_HZ, labelled_recording
from opq_sim.data_sets.magnitudes import MAGNITUDES, SIGNALS_HZ
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.pollution import (
    DcOffset,
    FlickerEvent,
    HarmonicDistortion,
    Interharmonics,
    MainsSignalling,
    NoiseBurst,
)
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.rms_events import Interruption, RapidVoltageChange, Sag, Swell
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, MainsTone, Wave

MIN_S, MAX_S = 0.5, 3.0
MARGIN_S = 0.12
"""Least time from a sudden disturbance to either end: six cycles, over which a steady wave is fitted."""
SNR_DB = (20.0, 30.0, 40.0)
ALL_HZ = (50, 60)
LONG = tuple(MAGNITUDES)
"""Classes of the recordings of docs/sim-data-sets.md."""
SHORT = (
    *("none", "sag", "swell", "interruption", "impulsive_transient", "oscillatory_transient"),
    *("periodic_notching", "harmonics", "interharmonics", "flicker", "frequency_deviation", "phase_jump"),
    *("dc_offset", "noise", "rapid_voltage_change", "mains_signalling"),
    *("harmonics+sag", "harmonics+swell", "interruption+oscillatory_transient", "phase_jump+sag"),
    *("harmonics+oscillatory_transient", "frequency_deviation+sag", "flicker+harmonics"),
)
"""Classes and combinations of the short recordings, without levels of more than a minute."""
COMBINED = (
    *("interharmonics+swell", "impulsive_transient+sag", "oscillatory_transient+sag"),
    *("impulsive_transient+swell", "oscillatory_transient+swell", "frequency_deviation+swell"),
    *("frequency_deviation+interruption", "frequency_deviation+harmonics"),
    *("frequency_deviation+phase_jump", "dc_offset+harmonics", "dc_offset+sag"),
    *("harmonics+interharmonics", "harmonics+phase_jump", "harmonics+impulsive_transient"),
    *("harmonics+mains_signalling", "interharmonics+sag", "harmonics+phase_jump+sag"),
    "frequency_deviation+harmonics+sag",
)
"""Further combinations, with the ranges of their parts; docs/classes.md explains each."""
BACKGROUND_ORDERS = ((3, 1.2), (5, 2.0), (7, 1.2))
LENGTHS_S = {
    "rapid_voltage_change": (2.6, 3.0),
    "mains_signalling": (2.0, 3.0),
    "flicker": (1.5, 3.0),
}
LOWEST_SAG, HIGHEST_SAG = 0.12, 0.88
"""Residual of a sag; the limits are 0.1 and 0.9. With harmonics, its rms is the highest at most."""
FOREVER_S = 10.0
NEAR_HARMONIC_HZ = 8.0
"""A harmonic's subgroup includes the bins beside it, 7.5 Hz (61000-4-7); a line there is one."""
REDRAWN = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledSignal:
    """A labelled recording; `counts` (n,) int16 as a Box reads them."""

    kind: str
    counts: NDArray[np.int16]
    v_per_lsb: float
    nominal_v: float
    nominal_hz: float

    @property
    def volts(self) -> FloatArray:
        """Samples in volts, (n,) float64."""
        return np.asarray(self.counts * self.v_per_lsb, dtype=np.float64)


def long_signal(kind: str, hz: int, index: int, seed: int, snr_db: float) -> LabelledSignal:
    """A recording of docs/sim-data-sets.md; an interharmonic within 8 Hz of a harmonic is drawn again."""
    made = labelled_recording(kind, hz, index, seed, snr_db, 1)
    again = 0
    while any(_is_near_harmonic(part, hz) for part in made.truth["parts"]):
        again += 1
        made = labelled_recording(kind, hz, index + again * REDRAWN, seed, snr_db, 1)
    return LabelledSignal(kind, made.counts, made.facts["volts_per_lsb"], NOMINAL_V[hz], float(hz))


def _is_near_harmonic(part: dict[str, Any], hz: int) -> bool:
    tone = part["drawn"].get("tone")
    return tone is not None and abs(tone - round(tone)) * hz < NEAR_HARMONIC_HZ


def short_signal(kind: str, hz: int, index: int, seed: int, snr_db: float) -> LabelledSignal:
    """A recording of half a second to three seconds."""
    draws = KeyedDraws("opq bench classify", seed, kind, hz, index)
    nominal_v = NOMINAL_V[hz]
    parts = [] if kind == "none" else kind.split("+")
    spans = [LENGTHS_S[part] for part in parts if part in LENGTHS_S]
    seconds = draws.uniform(max([MIN_S, *(each[0] for each in spans)]), MAX_S)
    if {"sag", "swell", "interruption"} & set(parts):
        seconds = max(seconds, 0.9)
    off_hz, turned = draws.uniform(-0.05, 0.05), draws.uniform()
    if "frequency_deviation" in parts:
        off_hz = draws.uniform(0.8, 3.0) * (1 if draws.uniform() < 0.5 else -1)
    grid = Grid(hz + off_hz, phase_cycles=turned)
    wave = Wave(
        nominal_v * draws.uniform(0.99, 1.01),
        tuple(
            Harmonic(order, draws.uniform(0.0, most), draws.uniform(0, 360))
            for order, most in BACKGROUND_ORDERS
        ),
    )
    made = [_made(part, draws, hz, nominal_v, seconds) for part in parts if part != "frequency_deviation"]
    if len(made) > 1:  # sudden parts belong at the beginning of levels
        made = _together(_below_limit(made), draws)
    mains = Mains(rate_hz=RATE_HZ, grid=grid, wave=wave, disturbances=tuple(made))
    count = round(seconds * RATE_HZ)
    t_s = np.arange(count) / RATE_HZ
    volts = mains.clean_v(t_s) + wave.fundamental_v * 10 ** (-snr_db / 20) * draws.noise(count, 0)
    for stream, one in enumerate(mains.placed, start=1):
        burst_v = one.disturbance.noise_v(mains.wave)
        if burst_v and (inside := one.during(t_s)) is not None:
            volts[inside] += burst_v * draws.noise(count, stream)[inside]
    v_per_lsb = FULL_SCALE * nominal_v / 32768
    counts = np.clip(np.rint(volts / v_per_lsb), -32768, 32767).astype(np.int16)
    return LabelledSignal(kind, counts, v_per_lsb, nominal_v, float(hz))


def _below_limit(made: list[MainsDisturbance]) -> list[MainsDisturbance]:
    """Makes sags deeper where a load's harmonics, which stay, would raise their rms beyond a sag's limit."""
    shares = [
        each.percent / 100 for one in made if isinstance(one, HarmonicDistortion) for each in one.harmonics
    ]
    highest = math.sqrt(HIGHEST_SAG**2 - sum(share**2 for share in shares))
    part = (highest - LOWEST_SAG) / (HIGHEST_SAG - LOWEST_SAG)
    return [
        replace(one, depth=1 - LOWEST_SAG - part * (1 - one.depth - LOWEST_SAG))
        if isinstance(one, Sag)
        else one
        for one in made
    ]


def _together(made: list[MainsDisturbance], draws: KeyedDraws) -> list[MainsDisturbance]:
    """Moves phase jumps and transients to the beginning of a level, as a fault or a switch causes them."""
    levels = [one for one in made if isinstance(one, Sag | Swell | Interruption)]
    if not levels:
        return made
    sudden = PhaseJumpEvent | ImpulsiveTransient | OscillatoryTransient
    at = levels[0]
    return [
        replace(one, start_s=at.start_s, angle_deg=at.angle_deg) if isinstance(one, sudden) else one
        for one in made
    ]


def _made(kind: str, draws: KeyedDraws, hz: int, nominal_v: float, seconds: float) -> MainsDisturbance:
    """One part with its sizes and its place in the recording."""

    def between(least: float, most: float) -> float:
        return draws.uniform(least, most)

    def either() -> float:
        return 1.0 if draws.uniform() < 0.5 else -1.0

    angle = between(0, 360)
    at_s = between(MARGIN_S, seconds - MARGIN_S - 1 / hz)
    if kind in ("sag", "swell", "interruption"):
        most = min(30.0, (seconds - 2 * MARGIN_S) * hz - 1)
        cycles = between(1.0 if kind == "interruption" else 0.5, most)
        at_s = between(MARGIN_S, seconds - MARGIN_S - (cycles + 1) / hz)
        if kind == "sag":  # Urms(1/2) sees only a part of half a cycle
            left = between(LOWEST_SAG, HIGHEST_SAG) if cycles >= 1.5 else between(LOWEST_SAG, 0.5)
            return Sag(depth=1 - left, cycles=cycles, start_s=at_s, angle_deg=angle)
        if kind == "swell":
            highest = between(114.0, 180.0) if cycles >= 1.5 else between(135.0, 180.0)
            return Swell(rise=highest / 100 - 1, cycles=cycles, start_s=at_s, angle_deg=angle)
        cycles = max(cycles, 2.0)
        return Interruption(residual=between(0, 0.08), cycles=cycles, start_s=at_s, angle_deg=angle)
    if kind == "impulsive_transient":
        return ImpulsiveTransient(
            peak_pu=either() * between(0.2, 1.0),
            rise_s=between(1, 40) * 1e-6,
            decay_s=between(100, 300) * 1e-6,
            start_s=at_s,
            angle_deg=angle,
        )
    if kind == "oscillatory_transient":
        return OscillatoryTransient(
            peak_pu=between(0.1, 0.8),
            ring_hz=between(300, 4000),
            decay_s=between(1.5, 5) * 1e-3,
            start_s=at_s,
            angle_deg=angle,
        )
    if kind == "periodic_notching":
        return PeriodicNotching(
            depth=between(0.1, 0.4),
            width_s=between(200, 500) * 1e-6,
            first_deg=between(20, 40),
            grid_hz=hz,
            seconds=FOREVER_S,
        )
    if kind == "harmonics":
        shares = [draws.uniform() for _ in (3, 5, 7, 11, 13)]
        scale = between(10.5, 25.0) / math.hypot(*shares)  # the background reduces it by 2.6 at most
        orders = zip((3, 5, 7, 11, 13), shares, strict=True)
        return HarmonicDistortion(
            harmonics=tuple(Harmonic(k, scale * share, between(0, 360)) for k, share in orders),
            seconds=FOREVER_S,
        )
    if kind == "interharmonics":
        tone = math.floor(between(1, 17)) + between(0.25, 0.75)
        return Interharmonics(tones=(MainsTone(tone * hz, between(1.5, 8.0)),), seconds=FOREVER_S)
    if kind == "flicker":
        modulation_hz = between(4.0, 16.0)
        rows = np.array(SINE[lamp_for(nominal_v, hz)])
        unit = float(np.interp(modulation_hz, rows[:, 0], rows[:, 1]))  # Pinst 1, which is Pst 0.714
        return FlickerEvent(
            change_percent=unit * between(1.5, 5.0) / 0.714, modulation_hz=modulation_hz, seconds=FOREVER_S
        )
    if kind == "phase_jump":
        return PhaseJumpEvent(degrees=either() * between(8, 60), start_s=at_s, angle_deg=angle)
    if kind == "dc_offset":
        return DcOffset(dc_v=either() * between(0.02, 0.06) * nominal_v, seconds=FOREVER_S)
    if kind == "noise":
        return NoiseBurst(noise_db=-20 * math.log10(between(0.08, 0.18)), seconds=FOREVER_S)
    if kind == "rapid_voltage_change":
        share = either() * between(0.055, 0.08)
        return RapidVoltageChange(
            change=share, seconds=FOREVER_S, start_s=between(1.25, seconds - 1.25), angle_deg=angle
        )
    bit_s = between(0.1, 0.4)
    bits = BIT_PATTERN * math.ceil(FOREVER_S / bit_s / len(BIT_PATTERN))
    return MainsSignalling(
        signal_hz=SIGNALS_HZ[int(draws.uniform() * len(SIGNALS_HZ))],
        percent=between(1.5, 5.0),
        bits=bits,
        bit_s=bit_s,
        seconds=FOREVER_S,
    )
