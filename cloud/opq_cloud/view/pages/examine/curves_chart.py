"""The plane of duration and residual voltage with the ITIC and SEMI F47 lines, as SVG. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_cloud.view.web import words
from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW, SEMI_F47
from opq_proto.kit.drawing import Tick, VoltagePlane, line
from opq_proto.messages import Incident

CURVE_FIRST_S = 1e-3
"""Shortest duration of the drawn curve."""
CURVE_HALF_CYCLE_S = 1 / 120
"""The upper line starts here, because an rms value needs half a cycle."""
CURVE_LAST_S = 100.0
"""Longest duration of the drawn curve."""
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
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


PLANE = VoltagePlane.of(CURVE_FIRST_S, CURVE_LAST_S, TOP_PERCENT, 100, 100)


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
                PLANE.time.percent(seconds),
                PLANE.level.percent(percent),
                f"{words.number(percent, 1, '%')} for {words.duration(seconds)}",
                words.ITIC_WORDS.get(one.itic or "", words.NOT_RATED),
                words.F47_WORDS.get(one.semi_f47 or "", words.NOT_RATED),
            )
        )
    names = ((1e-3, "1 ms"), (1e-2, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))
    return CurvesChart(
        line(PLANE.curve(ITIC_HIGH, CURVE_HALF_CYCLE_S), digits=2),
        line([PLANE.place(CURVE_FIRST_S, 0.0), *PLANE.curve(ITIC_LOW, CURVE_FIRST_S)], digits=2),
        line(PLANE.curve(SEMI_F47, 0.05), digits=2),
        tuple(points),
        tuple(Tick(PLANE.time.percent(seconds), name) for seconds, name in names),
        tuple(
            Tick(PLANE.level.percent(percent), f"{percent:.0f}{words.THIN}%")
            for percent in (50.0, 70.0, 100.0, 120.0)
        ),
    )
