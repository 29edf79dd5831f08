"""The plane of duration and residual voltage with the ITIC and SEMI F47 lines, as SVG. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_cloud.view.pages.examine.itic_curve import CURVE_FIRST_S, CURVE_LAST_S, corners
from opq_cloud.view.web import words
from opq_measure.events.curves import SEMI_F47
from opq_proto.messages import Incident

TOP_PERCENT = 160.0
POINTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A finding; x and y in percent of the chart from the left and the top."""

    label: str
    series: int
    x: float
    y: float
    words: str
    itic: str
    f47: str


@dataclass(frozen=True, slots=True)
class CurvesChart:
    """Paths over 100 x 100."""

    upper: str
    lower: str
    f47: str
    points: tuple[CurvePoint, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def x_of(seconds: float) -> float:
    """Percent from the left, on a logarithmic time axis."""
    share = math.log(max(seconds, CURVE_FIRST_S) / CURVE_FIRST_S) / math.log(CURVE_LAST_S / CURVE_FIRST_S)
    return round(100 * min(1.0, max(0.0, share)), 2)


def y_of(percent: float) -> float:
    """Percent from the top."""
    return round(100 * (1 - min(max(percent, 0.0), TOP_PERCENT) / TOP_PERCENT), 2)


def path_of(line: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x_of(seconds):.2f} {y_of(percent):.2f}" for seconds, percent in line)


def f47_corners() -> list[tuple[float, float]]:
    corners_, first_s = [], 0.05
    for until_s, percent in SEMI_F47:
        corners_ += [(first_s, percent), (until_s, percent)]
        first_s = until_s
    return corners_


def curves_chart(incident: Incident, series: Mapping[str, int]) -> CurvesChart:
    """The findings of an incident with a residual voltage; the worst POINTS_SHOWN of them."""
    judged = [each.finding for each in incident.findings if each.finding.residual_percent is not None]
    judged.sort(key=lambda one: -abs((one.residual_percent or 100.0) - 100.0))
    points = []
    for one in judged[:POINTS_SHOWN]:
        seconds, percent = (one.end_ns - one.start_ns) / 1e9, one.residual_percent or 0.0
        points.append(
            CurvePoint(
                f"Box {one.box_id}",
                series.get(one.box_id, 5),
                x_of(seconds),
                y_of(percent),
                f"{words.number(percent, 1, '%')} for {words.duration(seconds)}",
                words.ITIC_WORDS.get(one.itic or "", words.NOT_RATED),
                words.F47_WORDS.get(one.semi_f47 or "", words.NOT_RATED),
            )
        )
    names = ((1e-3, "1 ms"), (1e-2, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))
    return CurvesChart(
        path_of(corners()["upper"]),
        path_of([(CURVE_FIRST_S, 0.0), *corners()["lower"]]),
        path_of(f47_corners()),
        tuple(points),
        tuple((x_of(seconds), name) for seconds, name in names),
        tuple((y_of(percent), f"{percent:.0f}{words.THIN}%") for percent in (50.0, 70.0, 100.0, 120.0)),
    )
