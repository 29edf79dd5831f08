"""Three Boxes on the three phases of one grid, with an unbalance of known size."""

import cmath
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.voltage import Mains

TURN = cmath.exp(2j * math.pi / 3)
SEED_STEP = 1_000_003
"""Difference between the seeds of the phases, so that each has its own noise."""


@dataclass(frozen=True, slots=True)
class ThreePhase:
    """The phases a, b, c, and their unbalance.

    `negative` and `zero` are complex ratios to the positive sequence (Fortescue): their sizes are u2 and u0
    of IEC 61000-4-30:2015, 5.7.
    """

    phases: tuple[Mains, Mains, Mains]
    negative: complex
    zero: complex

    @property
    def u2_percent(self) -> float:
        return 100 * abs(self.negative)

    @property
    def u0_percent(self) -> float:
        return 100 * abs(self.zero)


def three_phase(
    base: Mains,
    negative: complex = 0,
    zero: complex = 0,
    disturbances: Sequence[Iterable[MainsDisturbance]] = ((), (), ()),
) -> ThreePhase:
    """The grid of `base`, whose voltage is the positive sequence and phase a's angle.

    Args:
        base: the common part of all phases: rate, harmonics, disturbances, converter, clock.
        negative, zero: complex ratios to the positive sequence.
        disturbances: of each phase alone, in addition to those of `base`.
    Raises:
        ValueError: not three phases' disturbances, or a ratio that leaves no positive sequence.
    """
    if len(disturbances) != 3:
        raise ValueError(f"disturbances of {len(disturbances)} phases; want three")
    if not (abs(negative) <= 1 and abs(zero) <= 1):
        raise ValueError(f"negative {negative} and zero {zero}; want ratios of at most 1")
    made = []
    for number, own in enumerate(disturbances):
        size = TURN**-number + negative * TURN**number + zero
        turned = base.grid.phase_cycles + cmath.phase(size) / (2 * math.pi)
        made.append(
            replace(
                base,
                grid=replace(base.grid, phase_cycles=turned),
                wave=replace(base.wave, fundamental_v=base.wave.fundamental_v * abs(size)),
                disturbances=(*base.disturbances, *own),
                seed=base.seed + SEED_STEP * number,
            )
        )
    return ThreePhase((made[0], made[1], made[2]), negative, zero)
