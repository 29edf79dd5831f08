"""The values of an interval: mean, minimum and maximum of many quantities.

Source: IEC 61000-4-30:2015, 4.5 (square root of the mean of squares) and 4.7 (flagged values stay visible).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray

Mean = Literal["quadratic", "arithmetic"]
Value = float | FloatArray


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity to aggregate, with `width` values per window (50 for harmonics).

    Magnitudes have a quadratic mean; frequency, angles and Pst have an arithmetic one.
    """

    name: str
    width: int = 1
    mean: Mean = "quadratic"


class Statistics(NamedTuple):
    """One quantity over an interval: numbers, or arrays (width,); NaN where no window had a value."""

    mean: Value
    min: Value
    max: Value


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One finished interval.

    `kind`: `150_cycles`, `180_cycles` (15 windows), `10_min` or `2_h`. `start_ns`, `end_ns`: for 150/180
    cycles the limits of the windows, for the others the ticks, and then `end_ns` is the standard's time tag.
    `count`: number of windows. `coverage`: 0 .. 1 of the interval, exactly 1 without a gap. `mean`, `min`,
    `max`: (q,) in the order of `quantities`; min and max are those of windows. `known`: (q,) number of
    windows with the value.
    """

    kind: str
    start_ns: int
    end_ns: int
    utc: bool
    count: int
    coverage: float
    flagged: bool
    quantities: tuple[Quantity, ...]
    mean: FloatArray
    min: FloatArray
    max: FloatArray
    known: NDArray[np.int64]

    def values(self) -> dict[str, Statistics]:
        """Name -> mean, min and max."""
        found, at = {}, 0
        for quantity in self.quantities:
            part = slice(at, at + quantity.width) if quantity.width > 1 else at
            found[quantity.name] = Statistics(self.mean[part], self.min[part], self.max[part])
            at += quantity.width
        return found

    def entry(self) -> dict[str, object]:
        """The aggregate as a JSON object; an unknown value is None, never NaN."""
        return {
            "kind": self.kind,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "utc": self.utc,
            "count": self.count,
            "coverage": self.coverage,
            "flagged": self.flagged,
            "values": {
                name: {each: _known(value) for each, value in statistics._asdict().items()}
                for name, statistics in self.values().items()
            },
        }


def _known(value: Value) -> float | list[float | None] | None:
    if isinstance(value, np.ndarray):
        return [each if math.isfinite(each) else None for each in value.tolist()]
    return float(value) if math.isfinite(value) else None


def under_v(rms_v: FloatArray, declared_v: float) -> FloatArray:
    """(w,) 10/12-cycle rms limited to at most the declared voltage, for a quadratic mean. NaN stays NaN."""
    found: FloatArray = np.minimum(rms_v, _checked(declared_v))
    return found


def over_v(rms_v: FloatArray, declared_v: float) -> FloatArray:
    """(w,) 10/12-cycle rms raised to at least the declared voltage, for a quadratic mean. NaN stays NaN."""
    found: FloatArray = np.maximum(rms_v, _checked(declared_v))
    return found


def underdeviation_percent(mean_v: float, declared_v: float) -> float:
    """Underdeviation, % of the declared voltage, 0 or more; `mean_v` is the aggregate of `under_v`."""
    return 100 * (_checked(declared_v) - mean_v) / declared_v


def overdeviation_percent(mean_v: float, declared_v: float) -> float:
    """Overdeviation, % of the declared voltage, 0 or more; `mean_v` is the aggregate of `over_v`."""
    return 100 * (mean_v - _checked(declared_v)) / declared_v


def _checked(declared_v: float) -> float:
    if not (math.isfinite(declared_v) and declared_v > 0):
        raise ValueError(f"declared_v is {declared_v}, want a positive number")
    return declared_v
