"""How alike the voltages of two Boxes move, and how likely it is that they hang on one phase. Pure.

Boxes on one phase of one transformer share nearly every change from one ten minutes to the next. This is a
likelihood only: that Boxes are at one place, or one Box, is a fact that somebody states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from opq_cloud.mauka.change.series import OUTLIER, spread

WHERE: Mapping[str, tuple[float, float]] = {
    "same_phase": (0.9, 0.35),
    "same_transformer": (0.6, 0.3),
    "elsewhere": (0.25, 0.3),
}
"""Place -> usual correlation of ten-minute changes, and its deviation as Fisher's z. The figures are ours."""
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
    changes = [_changes(values[name]) for name in names]
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
    width = OUTLIER * max(spread(changes[~np.isnan(changes)]), 1e-9)
    found: NDArray[np.float64] = np.clip(changes, -width, width)
    return found


def _likelihoods(correlation: float) -> dict[str, float]:
    z = float(np.arctanh(np.clip(correlation, -0.999, 0.999)))
    usual = {place: float(np.arctanh(r)) for place, (r, _) in WHERE.items()}
    z = min(max(z, usual["elsewhere"]), usual["same_phase"])  # beyond the outer ones it is certain
    weights = {place: float(norm.pdf(z, usual[place], width)) for place, (_, width) in WHERE.items()}
    return {place: weight / sum(weights.values()) for place, weight in weights.items()}


def most_likely(found: Sequence[Likeness], least: float = 0.8) -> list[Likeness]:
    """Returns the pairs that probably are on one phase."""
    return [each for each in found if each.likelihoods["same_phase"] >= least]
