"""Three Boxes on the phases a, b and c of one place, by the registry, and their phasors together. Pure.

The fundamentals are fitted over the 10/12-cycle windows of the Box on phase a, for all three over the same
span of UTC. Windows with a dip, swell or interruption at one of the Boxes count as unknown (IEC
61000-4-30:2015, 4.7).
"""

import cmath
import math
from dataclasses import dataclass

import numpy as np

from opq_cloud.mauka.measuring.results import RESULTS, MeasuredRun, NominalConfig
from opq_cloud.store.box_place import phase_letter
from opq_measure.aggregation.unbalance import ComplexArray, Rotation, clock_percent, fundamental, unbalance
from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import cycles_per_window
from opq_proto.messages import BoxWiring, Event, Waveform

PHASES = "abc"
LIMITS = Limits()
OFF_DEGREES = 30.0
"""If the angle is further from a third of a turn (u2 or u0 of some 50 %), a Box is on another phase."""


@dataclass(frozen=True, slots=True)
class PhasePlace:
    """A place with a Box on each phase."""

    name: str
    waves: tuple[Waveform, Waveform, Waveform]

    @property
    def boxes(self) -> str:
        return "Boxes " + ", ".join(wave.box_id for wave in self.waves)


@dataclass(frozen=True, slots=True)
class PhaseSeries:
    """Windows of a place, (w,) each in time order; `phasors` (w, 3) rms, NaN where one is not known."""

    starts_ns: tuple[int, ...]
    ends_ns: tuple[int, ...]
    phasors: ComplexArray
    clock_percent: float
    """Error that the three clocks may add to u2 and u0, in percentage points, one standard uncertainty."""

    @property
    def magnitudes(self) -> FloatArray:
        """(w, 3) volts."""
        return np.abs(self.phasors)

    def sequences(self) -> tuple[FloatArray, FloatArray, Rotation | None]:
        """Returns u2 and u0, (w,) percent each, and the phases' rotation; None: unknown, or both ways."""
        found = [unbalance(row) for row in self.phasors]
        ways = {each.rotation for each in found} - {None}
        u2 = np.array([each.u2_percent for each in found], dtype=np.float64)
        u0 = np.array([each.u0_percent for each in found], dtype=np.float64)
        return u2, u0, ways.pop() if len(ways) == 1 else None

    def angles(self) -> tuple[float, float]:
        """Returns mean degrees of phases b and c against a, -180 to 180; NaN where no window is known."""
        known = self.phasors[np.isfinite(self.phasors).all(axis=1)]
        if not len(known):
            return math.nan, math.nan
        turned = np.sum(known * np.conj(known[:, :1]), axis=0)
        return math.degrees(cmath.phase(turned[1])), math.degrees(cmath.phase(turned[2]))

    def wrong_angles(self) -> str:
        """Returns why these are not the three phases; empty: they are."""
        b, c = self.angles()
        off = max(abs(abs(b) - 120), abs(abs(c) - 120))
        if not off > OFF_DEGREES and b * c < 0:
            return ""
        return f"phase b is {b:+.0f} and c {c:+.0f} degrees from a: the registry has a Box on the wrong phase"


def phase_places(event: Event) -> tuple[list[PhasePlace], list[str]]:
    """Returns an event's places with a Box on each phase, and why other places with three Boxes are left out.

    Where several Boxes are on one phase, the one with the best clock is used.
    """
    there: dict[tuple[str, str], list[Waveform]] = {}
    for wave in event.waveforms:
        wiring = event.wiring.get(wave.box_id, BoxWiring())
        if wiring.place:
            there.setdefault((wiring.place, wiring.feeder or ""), []).append(wave)
    found, problems = [], []
    for (name, _), waves in sorted(there.items()):
        if len(waves) < len(PHASES):
            continue
        letters = {wave.box_id: phase_letter(event.wiring[wave.box_id].phase) for wave in waves}
        best = sorted(waves, key=lambda wave: (wave.uncertainty_ns, len(wave.box_id), wave.box_id))
        of = {letter: wave for wave in reversed(best) if (letter := letters[wave.box_id]) is not None}
        if len(of) == len(PHASES):
            found.append(PhasePlace(name, (of["a"], of["b"], of["c"])))
            continue
        unknown = sorted((box_id for box_id, letter in letters.items() if letter is None), key=len)
        why = f"the phase of Box {unknown[0]} is not known" if unknown else "two are on one phase"
        lacking = ", ".join(letter for letter in PHASES if letter not in of)
        problems.append(f"{name}: no Box on phase {lacking}; {why} (opq-tools boxes set ID --phase)")
    return found, problems


def series_of(place: PhasePlace, config: NominalConfig) -> PhaseSeries:
    """Measures the fundamentals of a place. Raises ValueError when a waveform cannot be measured."""
    first, *others = ([*RESULTS.runs_of(wave, config, LIMITS)] for wave in place.waves)
    cycles = cycles_per_window(config.nominal_hz)
    starts_ns, ends_ns, rows = [], [], []
    for piece in first:
        starts, hz = piece.analysis.window_starts.tolist(), piece.analysis.window_hz.tolist()
        for start, frequency_hz, flagged in zip(starts, hz, piece.analysis.flagged.tolist(), strict=True):
            length_s = cycles / (frequency_hz if math.isfinite(frequency_hz) else config.nominal_hz)
            stop = start + length_s * piece.run.rate_hz
            begin_ns, end_ns = piece.run.time_ns(start), piece.run.time_ns(stop)
            starts_ns.append(begin_ns)
            ends_ns.append(end_ns)
            row = [complex(math.nan, math.nan)] * len(PHASES)
            if math.isfinite(frequency_hz) and not flagged:
                row = [_phasor([piece], begin_ns, end_ns, cycles)]
                row += [_phasor(pieces, begin_ns, end_ns, cycles) for pieces in others]
            rows.append(row)
    clocks = clock_percent(config.nominal_hz, [wave.uncertainty_ns for wave in place.waves])
    phasors = np.array(rows, dtype=np.complex128).reshape(-1, len(PHASES))
    return PhaseSeries(tuple(starts_ns), tuple(ends_ns), phasors, clocks)


def _phasor(pieces: list[MeasuredRun], start_ns: int, end_ns: int, cycles: int) -> complex:
    """The phasor over a span of UTC; NaN where no piece holds all of it, or a window in it is flagged."""
    for piece in pieces:
        per_ns = piece.run.rate_hz / 1e9
        start, stop = (start_ns - piece.run.start_ns) * per_ns, (end_ns - piece.run.start_ns) * per_ns
        if start < 0 or stop > len(piece.run.counts):
            continue
        starts = piece.analysis.window_starts
        ends = np.append(starts[1:], math.inf)
        if (piece.analysis.flagged & (starts < stop) & (ends > start)).any():
            break
        return fundamental(piece.run.counts, start, stop, cycles) * piece.run.v_per_lsb
    return complex(math.nan, math.nan)
