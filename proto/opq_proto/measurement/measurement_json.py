"""A Measurement as JSON: every field for exports and REST, and its figures for View, rounded."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter, itemgetter

from opq_proto.measurement import own_channels
from opq_proto.measurement.fields import FIELDS, QUANTITIES, USUAL
from opq_proto.messages import SOURCE_WORDS, Measurement, Metric, known_uncertainty_ns

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
_metrics_of: Callable[[Mapping[str, Metric]], Iterable[Metric]] = itemgetter(*USUAL)
_USUAL_FIGURES = ", ".join(
    f"{each.key}.{each.part}" + ("" if each.factor == 1 else f" * {each.factor!r}")
    for each in FIGURES
    if each.key in USUAL
)
_values_of: Callable[..., list[float | str]] = eval(f"lambda {', '.join(USUAL)}: [{_USUAL_FIGURES}]")
"""Their figures, as a line that is written by hand: a loop over the table takes a microsecond more."""
_OTHERS = tuple(each for each in FIGURES if each.key not in USUAL)
FIGURES_TEXT = ", ".join(
    f'"{each.name}": %.{each.rounded}f' if each.key in USUAL else f'"{each.name}": %s' for each in FIGURES
)
"""The members of `figures_json` as text, for the values of `figures_values`."""


def measurement_json(measurement: Measurement) -> dict[str, object]:
    """Returns all exported fields and all metrics, exactly; unknown is None."""
    found: dict[str, object] = dict(zip(_NAMES, _VALUES(measurement), strict=True))
    found["uncertainty_ns"] = known_uncertainty_ns(measurement.uncertainty_ns)
    found["source"] = SOURCE_WORDS[measurement.source]
    found["metrics"] = {
        key: {"min": metric.min, "max": metric.max, "average": metric.average}
        for key, metric in sorted(measurement.metrics.items())
    }
    return found


def figures_json(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    """Returns the figures that View shows, rounded, with the means of channels of the Box's program.

    Unknown and not finite is None.
    """
    found = {each.name: _rounded(metrics.get(each.key), each) for each in FIGURES}
    for key in _own_keys(metrics):
        found[key] = _rounded(metrics[key], Figure(key, key, "average", 1.0, own_channels.DIGITS))
    return found


def figures_values(metrics: Mapping[str, Metric]) -> list[float | str]:
    """Returns the values for FIGURES_TEXT: `figures_json` as text in a quarter of the time.

    Empty where one of the usual metrics is missing or not finite, or the Box's program has channels.
    """
    if _own_keys(metrics):
        return []
    try:
        values = _values_of(*_metrics_of(metrics))
    except KeyError:
        return []
    if not isfinite(sum(values)):  # type: ignore[arg-type]  # no text is among them yet
        return []
    for each in _OTHERS:
        value = _rounded(metrics.get(each.key), each)
        values.append("null" if value is None else value)
    return values


def _own_keys(metrics: Mapping[str, Metric]) -> list[str]:
    """A gateway may send any name: a page gets what is a channel, and no more than a Box has."""
    own = own_channels.own_channel
    return [key for key in metrics if key.startswith(own_channels.PREFIX) and own(key)][
        : own_channels.CHANNELS
    ]


def _rounded(metric: Metric | None, figure: Figure) -> float | None:
    if metric is None:
        return None
    value: float = getattr(metric, figure.part) * figure.factor
    return round(value, figure.rounded) if isfinite(value) else None
