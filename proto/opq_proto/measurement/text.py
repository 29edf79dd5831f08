"""A Measurement as JSON: every field for exports and REST, and its figures for View, rounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter

from opq_proto.measurement.fields import FIELDS, QUANTITIES, USUAL
from opq_proto.messages import Measurement, Metric, known_uncertainty_ns

EXPORTED = tuple(sorted((each for each in FIELDS if each.exported), key=lambda each: each.exported))
"""Fields in the order of an export's columns."""
_NAMES = tuple(each.name for each in EXPORTED)
_VALUES = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of View's JSON: a part of a metric, in the unit of its name."""

    name: str
    key: str
    part: str
    factor: float
    rounded: int


FIGURES = tuple(
    Figure(name, each.key, part, each.shown.factor, each.shown.rounded)
    for each in QUANTITIES
    if each.shown
    for name, part in zip(
        (each.shown.name, *(each.shown.limits or ())), (each.shown.part, "min", "max"), strict=False
    )
)
_USUAL = [(USUAL.index(each.key), attrgetter(each.part)) for each in FIGURES if each.key in USUAL]
_SCALED = [(place, each.factor) for place, each in enumerate(FIGURES) if each.factor != 1]
_OTHERS = tuple(each for each in FIGURES if each.key not in USUAL)
FIGURES_TEXT = ", ".join(
    f'"{each.name}": %.{each.rounded}f' if each.key in USUAL else f'"{each.name}": %s' for each in FIGURES
)
"""The members of `figures_json` as text, for the values of `figures_values`."""


def measurement_json(measurement: Measurement) -> dict[str, object]:
    """Returns all exported fields and all metrics, exactly; unknown is None."""
    found: dict[str, object] = dict(zip(_NAMES, _VALUES(measurement), strict=True))
    found["uncertainty_ns"] = known_uncertainty_ns(measurement.uncertainty_ns)
    found["source"] = measurement.source.name.lower()
    found["metrics"] = {
        key: {"min": metric.min, "max": metric.max, "average": metric.average}
        for key, metric in sorted(measurement.metrics.items())
    }
    return found


def figures_json(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    """Returns the figures that View shows, rounded; unknown and not finite is None."""
    return {each.name: _rounded(metrics.get(each.key), each) for each in FIGURES}


def figures_values(metrics: Mapping[str, Metric]) -> list[float | str]:
    """Returns the values for FIGURES_TEXT: `figures_json` as text in a quarter of the time.

    Empty where one of the usual metrics is missing or not finite.
    """
    try:
        known = [metrics[key] for key in USUAL]
    except KeyError:
        return []
    values = [of(known[place]) for place, of in _USUAL]
    for place, factor in _SCALED:
        values[place] *= factor
    if not isfinite(sum(values)):
        return []
    for each in _OTHERS:
        value = _rounded(metrics.get(each.key), each)
        values.append("null" if value is None else value)
    return values


def _rounded(metric: Metric | None, figure: Figure) -> float | None:
    if metric is None:
        return None
    value: float = getattr(metric, figure.part) * figure.factor
    return round(value, figure.rounded) if isfinite(value) else None
