"""Disturbances by name and a few numbers, as used by `opq-tools sim event` and in scenario files.

One row per kind: how it uses the numbers, and their usual values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from opq_sim.mains import grid_events
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid_events import GridEvent
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import (
    DcOffset,
    FlickerEvent,
    HarmonicDistortion,
    Interharmonics,
    MainsSignalling,
    NoiseBurst,
)
from opq_sim.mains.rms_events import Overvoltage, RapidVoltageChange, Undervoltage
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching
from opq_sim.mains.wave import Harmonic, MainsTone

MAX_CYCLES = 36_000.0
MAX_HZ = 5_000.0
DISTANT_SHARE = 0.6
"""Size of the 7th harmonic relative to the 5th of a six-pulse rectifier."""


@dataclass(frozen=True, slots=True)
class EventNumbers:
    """The numbers of a requested event; not every kind uses all of them.

    `depth` is the share of the voltage that is lost or added; `cycles` the length; `angle_deg` the point on
    wave of the start; `hz` the frequency if the kind has one; `degrees` the jump of a phase jump.
    """

    depth: float = 0.3
    cycles: float = 10.0
    angle_deg: float = 0.0
    hz: float = 0.0
    degrees: float = 0.0


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind: its usual numbers, its description, and the function that makes it for rms and frequency."""

    usual: EventNumbers
    words: str
    make: Callable[[EventNumbers, float, float], GridEvent | MainsDisturbance]
    most_depth: float = 10.0


def _simple(kind: str) -> Callable[[EventNumbers, float, float], GridEvent | MainsDisturbance]:
    return lambda n, _v, _hz: grid_events.disturbance(kind, n.depth, n.cycles, n.angle_deg)


ON_DEMAND: dict[str, EventKind] = {
    "sag": EventKind(
        EventNumbers(), "sag to {left:.4g} of its voltage for {n.cycles:g} cycles", _simple("sag"), 1.0
    ),
    "swell": EventKind(
        EventNumbers(), "swell to {more:.4g} of its voltage for {n.cycles:g} cycles", _simple("swell")
    ),
    "interruption": EventKind(
        EventNumbers(), "interruption for {n.cycles:g} cycles", _simple("interruption"), 1.0
    ),
    "transient": EventKind(
        EventNumbers(), "transient of {n.depth:g} of its rms voltage", _simple("transient")
    ),
    "undervoltage": EventKind(
        EventNumbers(0.15, 3660.0),
        "undervoltage, {left:.4g} of its voltage for {n.cycles:g} cycles",
        lambda n, _v, _hz: Undervoltage(depth=n.depth, cycles=n.cycles, angle_deg=n.angle_deg),
        1.0,
    ),
    "overvoltage": EventKind(
        EventNumbers(0.15, 3660.0),
        "overvoltage, {more:.4g} of its voltage for {n.cycles:g} cycles",
        lambda n, _v, _hz: Overvoltage(rise=n.depth, cycles=n.cycles, angle_deg=n.angle_deg),
    ),
    "rapid_voltage_change": EventKind(
        EventNumbers(0.06, 180.0),
        "rapid voltage change to {left:.4g} of its voltage for {n.cycles:g} cycles",
        lambda n, _v, _hz: RapidVoltageChange(change=-n.depth, cycles=n.cycles, angle_deg=n.angle_deg),
        1.0,
    ),
    "impulsive_transient": EventKind(
        EventNumbers(0.5, angle_deg=90.0),
        "impulse of {n.depth:g} of its peak voltage",
        lambda n, _v, _hz: ImpulsiveTransient(peak_pu=n.depth, angle_deg=n.angle_deg),
    ),
    "oscillatory_transient": EventKind(
        EventNumbers(0.5, angle_deg=90.0, hz=900.0),
        "oscillation of {n.hz:g} Hz from {n.depth:g} of its peak voltage",
        lambda n, _v, _hz: OscillatoryTransient(peak_pu=n.depth, ring_hz=n.hz, angle_deg=n.angle_deg),
    ),
    "periodic_notching": EventKind(
        EventNumbers(0.3, 120.0),
        "six notches per cycle, {n.depth:g} deep, for {n.cycles:g} cycles",
        lambda n, _v, hz: PeriodicNotching(
            depth=n.depth, cycles=n.cycles, angle_deg=n.angle_deg, grid_hz=hz, width_s=0.03 / hz
        ),
        1.0,
    ),
    "harmonics": EventKind(
        EventNumbers(0.08, 600.0),
        "harmonics 5 and 7, {n.depth:g} of its voltage, for {n.cycles:g} cycles",
        lambda n, _v, _hz: HarmonicDistortion(
            harmonics=_fifth_and_seventh(n.depth), cycles=n.cycles, angle_deg=n.angle_deg
        ),
        1.0,
    ),
    "interharmonics": EventKind(
        EventNumbers(0.02, 600.0, hz=185.0),
        "tone of {n.hz:g} Hz, {n.depth:g} of its voltage, for {n.cycles:g} cycles",
        lambda n, _v, _hz: Interharmonics(
            tones=(MainsTone(n.hz, 100 * n.depth),), cycles=n.cycles, angle_deg=n.angle_deg
        ),
        1.0,
    ),
    "mains_signalling": EventKind(
        EventNumbers(0.02, 600.0, hz=316.67),
        "signalling on {n.hz:g} Hz, {n.depth:g} of its voltage, for {n.cycles:g} cycles",
        lambda n, _v, hz: MainsSignalling(
            signal_hz=n.hz, percent=100 * n.depth, cycles=n.cycles, bits="1101001", bit_s=n.cycles / hz / 7
        ),
        1.0,
    ),
    "flicker": EventKind(
        EventNumbers(0.01, 3600.0, hz=8.8),
        "flicker of {n.hz:g} Hz, {n.depth:g} of its voltage from peak to peak, for {n.cycles:g} cycles",
        lambda n, _v, _hz: FlickerEvent(
            change_percent=100 * n.depth, modulation_hz=n.hz, cycles=n.cycles, angle_deg=n.angle_deg
        ),
        1.0,
    ),
    "frequency_deviation": EventKind(
        EventNumbers(cycles=300.0, hz=-1.0),
        "frequency {n.hz:+g} Hz for {n.cycles:g} cycles",
        lambda n, _v, _hz: FrequencyDeviation(offset_hz=n.hz, cycles=n.cycles),
    ),
    "phase_jump": EventKind(
        EventNumbers(degrees=30.0),
        "phase jump of {n.degrees:g} degrees",
        lambda n, _v, _hz: PhaseJumpEvent(degrees=n.degrees, angle_deg=n.angle_deg),
    ),
    "dc_offset": EventKind(
        EventNumbers(0.02, 600.0),
        "direct voltage of {n.depth:g} of its rms for {n.cycles:g} cycles",
        lambda n, v, _hz: DcOffset(dc_v=n.depth * v, cycles=n.cycles, angle_deg=n.angle_deg),
        1.0,
    ),
    "noise": EventKind(
        EventNumbers(0.03, 600.0),
        "noise of {n.depth:g} of its rms for {n.cycles:g} cycles",
        lambda n, _v, _hz: NoiseBurst(noise_db=-20 * math.log10(n.depth), cycles=n.cycles),
        1.0,
    ),
}
KINDS = tuple(ON_DEMAND)


def numbers_for(kind: str, given: dict[str, float]) -> EventNumbers:
    """The kind's usual numbers, replaced by the given ones.

    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    if kind not in ON_DEMAND:
        raise ValueError(f"kind is {kind!r}; want one of {', '.join(KINDS)}")
    row = ON_DEMAND[kind]
    numbers = replace(row.usual, **given)
    for name, least, most in (
        ("depth", 0.0, row.most_depth),
        ("cycles", 0.0, MAX_CYCLES),
        ("hz", -MAX_HZ, MAX_HZ),
        ("degrees", -180.0, 180.0),
        ("angle_deg", -math.inf, math.inf),
    ):
        value = getattr(numbers, name)
        inside = least <= value <= most and (value > 0 or name not in ("depth", "cycles"))
        if not (math.isfinite(value) and inside):
            above = "more than 0, up to" if name in ("depth", "cycles") else f"from {least:g} to"
            raise ValueError(f"{name} is {value}; want {above} {most:g}")
    return numbers


def on_demand(
    kind: str, numbers: EventNumbers, rms_v: float, nominal_hz: float
) -> GridEvent | MainsDisturbance:
    """An event by its name, for a Box with a rms voltage and a nominal frequency.

    Raises:
        ValueError: as `numbers_for`, or the kind refuses one of them.
    """
    if kind not in ON_DEMAND:
        raise ValueError(f"kind is {kind!r}; want one of {', '.join(KINDS)}")
    return ON_DEMAND[kind].make(numbers, rms_v, nominal_hz)


def words(kind: str, numbers: EventNumbers) -> str:
    """One line that describes the effect."""
    return ON_DEMAND[kind].words.format(n=numbers, left=1 - numbers.depth, more=1 + numbers.depth)


def _fifth_and_seventh(depth: float) -> tuple[Harmonic, ...]:
    """Harmonics of a six-pulse rectifier; together `depth` of the fundamental."""
    fifth = 100 * depth / math.hypot(1.0, DISTANT_SHARE)
    return (Harmonic(5, fifth, 180.0), Harmonic(7, DISTANT_SHARE * fifth))
