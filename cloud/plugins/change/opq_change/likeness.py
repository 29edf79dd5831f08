"""How alike the voltages of two Boxes move, and how likely it is that they hang on one phase. Pure.

What all Boxes share comes from the grid above; what is left of the changes from one ten minutes to the next
is alike on one phase of one transformer. This is a likelihood only: that Boxes are at one place, or one Box,
is a fact that somebody states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from opq_change.series import OUTLIER_DEVIATIONS, spread

WHERE: Mapping[str, tuple[float, float]] = {
    "same_phase": (0.31, 0.23),
    "same_transformer": (-0.08, 0.08),
    "elsewhere": (-0.02, 0.04),
}
"""Place -> usual correlation of ten-minute changes as Fisher's z, and its deviation: those of simulated
fleets whose places are known (the README). A neutral turns the sign between the phases that share it."""
LEAST_LIKELY = 0.8
"""From this likelihood on two Boxes probably are on one phase; set on training fleets (the README)."""
LEAST_BOXES = 6
"""With fewer, what they share cannot be told from what one phase has."""
LEAST_COMMON = 432
"""Changes that both Boxes have to have: three days."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two Boxes."""

    box_ids: tuple[str, str]
    correlation: float
    common: int
    """Changes that both have."""
    likelihoods: Mapping[str, float]
    """Key of WHERE -> probability, if each was as likely before."""


def likenesses(values: Mapping[str, NDArray[np.float64]]) -> list[Likeness]:
    """Returns each pair of Boxes with enough in common, the most alike first.

    Args:
        values: Box -> (n,) values of the same intervals, NaN: unknown.
    """
    names = list(values)
    if len(names) < LEAST_BOXES:
        return []
    changes = np.stack([_changes(values[name]) for name in names])
    changes -= _shared(changes)
    found = []
    for at, one in enumerate(changes):
        for other_at in range(at + 1, len(changes)):
            both = ~np.isnan(one) & ~np.isnan(changes[other_at])
            common = int(both.sum())
            if common >= LEAST_COMMON:
                r = float(np.corrcoef(one[both], changes[other_at][both])[0, 1])
                found.append(Likeness((names[at], names[other_at]), r, common, _likelihoods(r)))
    return sorted(found, key=lambda each: -each.correlation)


def _changes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    changes = np.diff(values)
    width = OUTLIER_DEVIATIONS * max(spread(changes[~np.isnan(changes)]), 1e-9)
    found: NDArray[np.float64] = np.clip(changes, -width, width)
    return found


def _shared(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) median of the Boxes' changes; NaN, which compares none, where fewer than LEAST_BOXES are known."""
    enough = (~np.isnan(changes)).sum(axis=0) >= LEAST_BOXES
    found = np.full(changes.shape[1], np.nan)
    found[enough] = np.nanmedian(changes[:, enough], axis=0)
    return found


def _likelihoods(correlation: float) -> dict[str, float]:
    z = float(np.arctanh(np.clip(correlation, -0.999, 0.999)))
    lowest, width = WHERE["same_transformer"]
    z = min(max(z, lowest - 3 * width), WHERE["same_phase"][0])  # beyond these it is certain
    weights = {place: NormalDist(usual, width).pdf(z) for place, (usual, width) in WHERE.items()}
    return {place: weight / sum(weights.values()) for place, weight in weights.items()}


def most_likely(found: Sequence[Likeness], least: float = LEAST_LIKELY) -> list[Likeness]:
    """Returns the pairs that probably are on one phase."""
    return [each for each in found if each.likelihoods["same_phase"] >= least]
