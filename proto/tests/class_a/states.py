"""The testing states of class A as voltages with known true values.

Edition 2 varies all influence quantities at once, which is harder than one at a time: state 1 is clean, 2
and 3 are 1 Hz below and above nominal with strong harmonics, an interharmonic and flicker.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from opq_sim.mains import mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.pollution import FlickerEvent
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.sampling import TRUE, Converter, SampleClock
from opq_sim.mains.truth import Truth
from opq_sim.mains.wave import MainsTone

RATE_HZ = 12_000.0
FULL_SCALE = 2.5
"""Converter range as a multiple of Udin's peak: holds 150 % of Udin with state 3's harmonics."""
NOISE_DB = 75.0
"""Noise, dB under Udin: about 1.5 of the converter's steps."""
PHASE_DEG = 77.7
"""Phase at sample 0, chosen so that windows begin between samples."""
LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class SupplySystem:
    """A supply system: Udin, nominal frequency, range of class A, and the changes that make Pst 1 and 4."""

    declared_v: float
    nominal_hz: float
    range_hz: tuple[float, float]
    pst_1_percent: float
    """dV/V of 39 changes per minute; 61000-4-15:2010, table 5."""
    pst_4_percent: float
    """dV/V of 110 changes per minute, four times the table's."""

    @property
    def name(self) -> str:
        return f"{self.nominal_hz:g} Hz, {self.declared_v:g} V"

    @property
    def cycles(self) -> int:
        """Cycles in a window."""
        return round(self.nominal_hz / 5)


SYSTEMS = (
    SupplySystem(230.0, 50.0, (42.5, 57.5), 0.894, 4 * 0.722),
    SupplySystem(120.0, 60.0, (51.0, 69.0), 1.040, 4 * 0.844),
)


@dataclass(frozen=True, slots=True)
class TestingState:
    """One column of 61000-4-30:2008, 6.2: harmonics (percent, degrees), an interharmonic, flicker."""

    name: str
    offset_hz: float = 0.0
    harmonics: tuple[tuple[int, tuple[float, float]], ...] = ()
    interharmonic: tuple[float, float] | None = None
    """(multiple of the fundamental frequency, percent)."""
    changes_per_minute: float = 0.0


STATES = (
    TestingState("state 1"),
    TestingState("state 2", -1.0, ((3, (10.0, 0.0)), (5, (5.0, 0.0)), (29, (5.0, 0.0))), (7.5, 1.0), 39.0),
    TestingState("state 3", 1.0, ((7, (10.0, 180.0)), (13, (5.0, 0.0)), (25, (5.0, 0.0))), (3.5, 1.0), 110.0),
)


def voltage(
    system: SupplySystem,
    state: TestingState,
    seconds: float,
    percent: float = 100.0,
    hz: float | None = None,
    disturbances: Iterable[MainsDisturbance] = (),
    harmonics: dict[int, float] | None = None,
    tones: Iterable[MainsTone] = (),
    flicker: bool = True,
    phase_deg: float = PHASE_DEG,
    clock: SampleClock = TRUE,
) -> tuple[FloatArray, Truth]:
    """Volts of a system in a state, `percent` of Udin, as the converter reads them.

    Args:
        hz: replaces the state's frequency.
        harmonics: order -> percent; replaces the state's.
        flicker: False leaves out the state's flicker, where its side bands are the measured quantity.
    """
    frequency_hz = system.nominal_hz + state.offset_hz if hz is None else hz
    wanted = list(disturbances)
    if flicker and state.changes_per_minute:
        change = system.pst_1_percent if state.changes_per_minute == 39.0 else system.pst_4_percent
        wanted.append(
            FlickerEvent(
                modulation_hz=state.changes_per_minute / 120,
                change_percent=change,
                form="rectangular",
                seconds=LONGEST_S,
            )
        )
    between = (
        ()
        if state.interharmonic is None
        else (MainsTone(state.interharmonic[0] * frequency_hz, state.interharmonic[1]),)
    )
    return mains(
        seconds,
        RATE_HZ,
        voltage_v=system.declared_v * percent / 100,
        frequency_hz=frequency_hz,
        phase_deg=phase_deg,
        harmonics=dict(state.harmonics) if harmonics is None else harmonics,
        tones=(*between, *tones),
        disturbances=wanted,
        noise_db=NOISE_DB + 20 * math.log10(percent / 100),
        converter=Converter(16, FULL_SCALE * math.sqrt(2) * system.declared_v),
        clock=clock,
        seed=round(phase_deg) % 360,
    )


@dataclass(frozen=True, slots=True)
class TestPoint:
    """`error` and `limit` in `unit`; the error is the worst of all windows and sub-points."""

    __test__ = False  # not one of pytest's

    clause: str
    quantity: str
    condition: str
    error: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.error <= self.limit  # False for NaN

    @property
    def line(self) -> str:
        """The point as a line of text."""
        verdict = "" if self.met else "  OVER THE LIMIT"
        return (
            f"{self.clause:<5} {self.quantity:<22} {self.condition:<44} "
            f"{self.error:>9.2g} of {self.limit:g} {self.unit}{verdict}"
        )
