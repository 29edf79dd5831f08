"""A transformer switched in without load: its iron saturates, with a 2nd harmonic that decays.

    flux of a phase that is closed at angle g of its voltage: offset - cos(theta), offset = remanence + cos(g)
    current beyond the knee, in pulses: (cos x - cos b) / x_sat for |x| < b, cos b = knee - |offset|

all in pu. The Fourier series of the pulse is closed. Each cycle takes r times the pulse's area from the
offset, so that the pulses get narrower. The direct part makes no voltage here.

Source: Greenwood, "Electrical Transients in Power Systems", 2nd edition, 5.5; the series by integration.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import (
    AddedTerm,
    DisturbanceTerms,
    FundamentalTerm,
    HarmonicTerm,
    TableProfile,
)

ORDERS = (1, 2, 3, 4, 5, 6, 7)
MAX_CYCLES = 600
INRUSH_OVER_SHARE = 0.02
"""The inrush is over when the peak current is this share of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerEnergising(Cause):
    """A transformer of three phases without a neutral on this side, all closed at once."""

    name: ClassVar[str] = "transformer_energising"
    words: ClassVar[str] = "a transformer switched in: inrush with a decaying 2nd harmonic"
    rating_kva: float = limit(1000.0, 5.0, 1e6)
    angle_deg: float = limit(0.0, -360.0, 360.0)
    """Point on wave of phase a; 0: at its zero, the worst for it."""
    remanence_pu: float = limit(0.4, -0.9, 0.9)
    """Remanent flux in phase a; the others have half of it with the other sign."""
    knee_pu: float = limit(1.2, 1.0, 2.0)
    air_core_pu: float = limit(0.3, 0.05, 2.0)
    """Reactance when saturated, relative to its rating."""
    winding_r_pu: float = limit(0.01, 0.001, 0.2)

    def solved(self, site: Site) -> SolvedCause:
        start_s = site.moment_on_wave(self.at, 0, self.angle_deg)
        place_v, nominal_v = site.place_v(self.at), site.place_nominal_v(self.at)
        rated_a = self.rating_kva * 1e3 / 3 / nominal_v
        source = site.thevenin(self.at).z1 * rated_a / nominal_v
        pulses = [
            self._phase(site, phase, start_s, complex(place_v[phase]) / nominal_v, source)
            for phase in range(3)
        ]
        seconds = np.arange(MAX_CYCLES) / site.nominal_hz
        fundamental, added = [], list[AddedTerm]()
        longest = max(len(amplitudes) for amplitudes, _ in pulses)
        end_s = start_s + longest / site.nominal_hz
        for phase, (amplitudes, positive) in enumerate(pulses):
            for column, order in enumerate(ORDERS):
                first = amplitudes[0, column] if len(amplitudes) else 0.0
                if first == 0:
                    continue
                turned = 1j * np.exp(1j * order * np.angle(place_v[phase]))
                sign = (-1.0) ** order if positive else -1.0
                taken = np.zeros(3, dtype=np.complex128)
                taken[phase] = rated_a * first * sign * turned
                taken -= taken.mean()  # no neutral: the current of one phase returns through the others
                sizes = np.zeros(longest + 1, dtype=np.complex128)
                sizes[: len(amplitudes)] = amplitudes[:, column] / first
                profile = TableProfile(seconds[: longest + 1], sizes)
                volts = site.injected_v(order, self.at, -taken)
                if order == 1:
                    fundamental.append(
                        FundamentalTerm(start_s, end_s, site.changes(site.before_v + volts), profile)
                    )
                else:
                    added.append(HarmonicTerm(start_s, end_s, order, np.where(site.alive, volts, 0), profile))
        if not added:
            raise ValueError(
                f"no phase of it saturates at {self.angle_deg:g} degrees; want another angle_deg"
            )
        length = f"inrush for {end_s - start_s:.1f} s"
        words = f"{self.rating_kva:g} kVA transformer switched in at {self.at}, {length}"
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), tuple(fundamental), (), tuple(added))
        return SolvedCause(terms, end_s, words, self.at)

    def _phase(
        self, site: Site, phase: int, start_s: float, volts_pu: complex, source_pu: complex
    ) -> tuple[FloatArray, bool]:
        """(cycles, orders) amplitudes of one phase's pulses, relative to its rated peak, and their sign."""
        size = abs(volts_pu)
        angle = site.turn(start_s) + float(np.angle(volts_pu))
        offset = self.remanence_pu * (1.0 if phase == 0 else -0.5) + size * math.cos(angle)
        reactance = self.air_core_pu + source_pu.imag
        resistance = self.winding_r_pu + source_pu.real
        found: list[list[float]] = []
        left = abs(offset)
        for _ in range(MAX_CYCLES - 1):
            edge = (self.knee_pu - left) / size
            if edge >= 1 or (found and found[-1][0] < INRUSH_OVER_SHARE * found[0][0]):
                break
            half = math.acos(max(edge, -1.0))
            mean, *orders = pulse_series(half, (0, *ORDERS))
            found.append([size / reactance * value for value in orders])
            left -= resistance * size / reactance * mean * 2 * math.pi
        return np.array(found).reshape(len(found), len(ORDERS)), offset > 0


def pulse_series(half: float, orders: tuple[int, ...]) -> list[float]:
    """Fourier coefficients of the pulse cos x - cos(half), |x| < half, once a turn: mean, then cosines.

    Args:
        half: rad, 0 to pi.
    """
    found = []
    for n in orders:
        if n == 0:
            found.append((math.sin(half) - half * math.cos(half)) / math.pi)
        elif n == 1:
            found.append((half - math.sin(half) * math.cos(half)) / math.pi)
        else:
            both = math.sin((n - 1) * half) / (n - 1) + math.sin((n + 1) * half) / (n + 1)
            found.append((both - 2 * math.cos(half) * math.sin(n * half) / n) / math.pi)
    return found
