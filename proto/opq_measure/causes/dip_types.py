"""The seven types of dips of three phases, A to G, from two or three phases of one place.

Each type is linear in one complex number, the characteristic voltage V: the remaining voltage between the
faulted phases. V is fitted by least squares for every type and symmetrical phase; the residual of the fit
shows how well the type explains the phasors. Where two phases leave several types open, the probabilities
show it.

    A  three phases alike           B  one phase to neutral          C  two phases towards each other
    D  one deep, two a little: C after a delta-star transformer      E  two phases to earth
    F  E after one such transformer                                  G  E after two

Source: Bollen, "Understanding Power Quality Problems", 2000, 4.4.2 and tables 4.9 to 4.12 (the types).
"""

import cmath
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PHASOR_SIGMA = 0.03
"""Standard deviation of a phasor, over the voltage before, from loads, noise and slightly different
places."""
MIN_DEPTH = 0.06
"""Least change of one phase, as a share of the voltage before; a smaller change does not show a type."""
MAX_V = 1.05
"""Share of the voltage before; a larger characteristic voltage makes a type less likely."""
_TURN = cmath.exp(2j * math.pi / 3)
_FRAME = (1.0 + 0j, _TURN**2, _TURN)
_SQRT3 = math.sqrt(3)
_PLAIN = {
    "A": ((0, 0, 0), (1, _TURN**2, _TURN)),
    "B": ((0, _TURN**2, _TURN), (1, 0, 0)),
    "C": ((1, -0.5, -0.5), (0, -0.5j * _SQRT3, 0.5j * _SQRT3)),
    "D": ((0, -0.5j * _SQRT3, 0.5j * _SQRT3), (1, -0.5, -0.5)),
    "E": ((1, 0, 0), (0, _TURN**2, _TURN)),
    "F": ((0, -1j / _SQRT3, 1j / _SQRT3), (1, -0.5 - 1j * _SQRT3 / 6, -0.5 + 1j * _SQRT3 / 6)),
    "G": ((2 / 3, -1 / 3, -1 / 3), (1 / 3, -1 / 6 - 0.5j * _SQRT3, -1 / 6 + 0.5j * _SQRT3)),
}
"""Type -> phases a, b, c as `constant + V * factor`, with a the symmetrical phase."""
SHARES = {"A": 0.3, "B": 0.15, "C": 0.2, "D": 0.2, "E": 0.05, "F": 0.06, "G": 0.04}
"""Expected share of each type where the phasors do not decide; an estimate of ours."""
WORDS = {
    "A": "all three phases alike",
    "B": "one phase to neutral",
    "C": "two phases towards each other",
    "D": "one phase deep and two a little",
    "E": "two phases to neutral alike",
    "F": "one phase deep and two less",
    "G": "two phases deep and one a little",
}


@dataclass(frozen=True, slots=True)
class DipType:
    """`probability` among the seven types; `rest`: rms residual of the fit, over the voltage before."""

    letter: str
    probability: float
    characteristic_v: complex
    """Share of the voltage before."""
    symmetrical: str
    """a, b or c: the phase that differs from the two others; for A any."""
    rest: float


def dip_type_of(phasors: Mapping[str, complex]) -> DipType | None:
    """The type that fits best; None with less than two phases, or if none is deep enough.

    Args:
        phasors: phase (a, b or c) -> its phasor during the dip over that before, extrapolated.
    Raises:
        ValueError: another phase.
    """
    if set(phasors) - set("abc"):
        raise ValueError(f"phases are {sorted(phasors)}; want a, b and c")
    if len(phasors) < 2 or max(abs(each - 1) for each in phasors.values()) < MIN_DEPTH:
        return None
    best: dict[str, DipType] = {}
    weights: dict[str, float] = {}
    for letter in _PLAIN:
        for place in range(1 if letter == "A" else 3):
            found = _fitted(letter, place, phasors)
            weight = math.log(SHARES[letter]) - 0.5 * len(phasors) * (found.rest / PHASOR_SIGMA) ** 2
            if abs(found.characteristic_v) > MAX_V:
                weight -= 0.5 * ((abs(found.characteristic_v) - MAX_V) / PHASOR_SIGMA) ** 2
            if letter not in best or weight > weights[letter]:
                best[letter], weights[letter] = found, weight
    top = max(weights, key=lambda each: weights[each])
    whole = sum(math.exp(weight - weights[top]) for weight in weights.values())
    chosen = best[top]
    return DipType(top, 1 / whole, chosen.characteristic_v, chosen.symmetrical, chosen.rest)


def _fitted(letter: str, place: int, phasors: Mapping[str, complex]) -> DipType:
    """The fit of one type with one symmetrical phase; its probability is still 0."""
    constant, factor = _PLAIN[letter]
    wanted, columns = [], []
    for phase, seen in phasors.items():
        role = ("abc".index(phase) - place) % 3
        wanted.append(seen - constant[role] / _FRAME[role])
        columns.append(factor[role] / _FRAME[role])
    column, want = np.array(columns, dtype=np.complex128), np.array(wanted, dtype=np.complex128)
    power = float(np.vdot(column, column).real)
    v = complex(np.vdot(column, want)) / power if power > 0 else 0j
    rest = math.sqrt(float(np.mean(np.abs(want - v * column) ** 2)))
    return DipType(letter, 0.0, v, "abc"[place], rest)
