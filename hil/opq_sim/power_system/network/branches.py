"""Branches as sequence admittances: feeders, transformers by vector group, the supply.

A branch is three 2x2 matrices in siemens per phase (zero, positive, negative sequence) that give the currents
into it from the phase-to-neutral voltages at its two ends: [I_from, I_to] = Y [V_from, V_to].

Source: J. J. Grainger, W. D. Stevenson, "Power System Analysis", chapters 9 and 11 (two-ports of lines and
transformers, zero-sequence circuits by winding connection).
"""

import cmath
import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_sim.power_system.network.network_config import FeederConfig, SupplyConfig, TransformerConfig

ComplexArray = NDArray[np.complex128]

TURN = cmath.exp(2j * math.pi / 3)
TO_PHASES: ComplexArray = np.array([[1, 1, 1], [1, TURN**2, TURN], [1, TURN, TURN**2]])
"""Phases a, b, c from zero, positive, negative sequence (Fortescue)."""
TO_SEQUENCES: ComplexArray = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [1 / 3, TURN / 3, TURN**2 / 3], [1 / 3, TURN**2 / 3, TURN / 3]]
)

EARTH_RETURN_OHM_PER_KM_HZ = 3 * math.pi**2 * 1e-4
"""Three times Carson's resistance of the earth, pi^2 f 1e-4 ohm per km: 0.148 ohm per km at 50 Hz."""
USUAL_LINES = {
    # r, x in ohm per km at 50 Hz; x0 to x; r0 to r (0: r and the earth's); c, c0 in nF per km
    "overhead": (0.32, 0.35, 3.5, 0.0, 10.0, 5.0),
    "cable": (0.21, 0.08, 4.0, 4.0, 250.0, 250.0),
}
"""95 mm2 aluminium-steel on poles; 150 mm2 aluminium cable that returns in a fourth conductor of its size."""
ZIGZAG_RATIO = 0.1
"""Zero to positive sequence of a zigzag winding: its leakage only."""
YYN_RATIO = 10.0
"""Zero to positive sequence of Yyn: the tank of a three-limb core."""


@dataclass(frozen=True, slots=True)
class SequenceBranch:
    """One branch between two buses."""

    name: str
    """Id of its feeder or transformer."""
    from_bus: str
    to_bus: str
    km: float
    zero: ComplexArray
    positive: ComplexArray
    negative: ComplexArray


def feeder_branch(
    feeder: FeederConfig, ends: tuple[str, str], km: float, nominal_hz: float, order: int
) -> SequenceBranch:
    """`km` of a feeder as a pi circuit, at a whole multiple of the nominal frequency."""
    r, x, x0_share, r0_share, c, c0 = USUAL_LINES[feeder.kind]
    r1 = feeder.r_ohm_per_km if feeder.r_ohm_per_km is not None else r
    x1 = feeder.x_ohm_per_km if feeder.x_ohm_per_km is not None else x * nominal_hz / 50
    usual_r0 = r0_share * r1 if r0_share else r1 + EARTH_RETURN_OHM_PER_KM_HZ * nominal_hz
    r0 = feeder.r0_ohm_per_km if feeder.r0_ohm_per_km is not None else usual_r0
    x0 = feeder.x0_ohm_per_km if feeder.x0_ohm_per_km is not None else x0_share * x1
    c1 = feeder.c_nf_per_km if feeder.c_nf_per_km is not None else c
    c0 = feeder.c0_nf_per_km if feeder.c0_nf_per_km is not None else c0
    speed = 2 * math.pi * nominal_hz * order
    positive = _pi((r1 + 1j * x1 * order) * km, 1j * speed * c1 * 1e-9 * km)
    zero = _pi((r0 + 1j * x0 * order) * km, 1j * speed * c0 * 1e-9 * km)
    return SequenceBranch(feeder.id, *ends, km, zero, positive, positive)


def _pi(impedance_ohm: complex, charging_s: complex) -> ComplexArray:
    series = 1 / impedance_ohm
    return np.array([[series + charging_s / 2, -series], [-series, series + charging_s / 2]])


def transformer_branch(
    transformer: TransformerConfig,
    ends: tuple[str, str],
    nominal_v: tuple[float, float],
    tap_pu: float,
    order: int,
) -> SequenceBranch:
    """A transformer between two buses whose nominal phase-to-neutral voltages are `nominal_v`.

    The side of lower voltage lags by 30 degrees times the clock number in the positive sequence and leads by
    it in the negative one. The tap changes the ratio, not the impedance as seen from `to_bus`.
    """
    high, low, clock = _windings(transformer.vector_group)
    impedance = _rx(
        transformer.uk_percent / 100 * 3 * nominal_v[1] ** 2 / (transformer.rating_kva * 1e3),
        transformer.x_r,
        order,
    )
    size = nominal_v[0] / (nominal_v[1] * tap_pu)
    turned = cmath.exp(1j * math.radians(30 * clock))
    zero_impedance = (transformer.zero_ratio or _usual_zero_ratio(high, low)) * impedance
    from_neutral = 3 * complex(transformer.from_neutral_ohm[0], transformer.from_neutral_ohm[1] * order)
    to_neutral = 3 * complex(transformer.to_neutral_ohm[0], transformer.to_neutral_ohm[1] * order)
    zero = np.zeros((2, 2), dtype=np.complex128)
    if high == "YN" and low == "YN":
        sign = 1 if clock % 4 == 0 else -1
        zero = _two_port(zero_impedance + to_neutral + from_neutral / size**2, sign * size)
    elif low in ("YN", "ZN"):
        zero[1, 1] = 1 / (zero_impedance + to_neutral)
    elif high == "YN" and low in ("D", "Y"):
        zero[0, 0] = 1 / (zero_impedance * size**2 + from_neutral)
    positive = _two_port(impedance, size * turned)
    negative = _two_port(impedance, size / turned)
    return SequenceBranch(transformer.id, *ends, 0.0, zero, positive, negative)


def _two_port(impedance_ohm: complex, ratio: complex) -> ComplexArray:
    """An ideal transformer V_from = ratio V_to, then an impedance on the `to` side."""
    series = 1 / impedance_ohm
    return np.array(
        [[series / abs(ratio) ** 2, -series / ratio.conjugate()], [-series / ratio, series]],
        dtype=np.complex128,
    )


def _windings(vector_group: str) -> tuple[str, str, int]:
    match = re.fullmatch(r"([A-Z]+)([a-z]+)(\d+)", vector_group)
    if match is None:
        raise ValueError(f"{vector_group!r} is not a vector group; want one such as Dyn11")
    return match[1], match[2].upper(), int(match[3])


def _usual_zero_ratio(high: str, low: str) -> float:
    if low.startswith("Z"):
        return ZIGZAG_RATIO
    return YYN_RATIO if {high, low} == {"Y", "YN"} else 1.0


def supply_impedances(supply: SupplyConfig, nominal_v: float, order: int) -> tuple[complex, complex, complex]:
    """(z0, z1, z2) of the supply in ohm per phase; z0 is infinite where it is not earthed."""
    impedance = _rx(3 * nominal_v**2 / (supply.short_circuit_mva * 1e6), supply.x_r, order)
    zero = supply.zero_ratio * impedance if supply.earthed else complex(math.inf)
    return zero, impedance, impedance


def _rx(size_ohm: float, x_r: float, order: int) -> complex:
    """R + jX of a given size and X/R at nominal frequency, with X at a multiple of it."""
    resistance = size_ohm / math.hypot(1, x_r)
    return complex(resistance, resistance * x_r * order)
