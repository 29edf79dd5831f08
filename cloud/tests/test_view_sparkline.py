"""The lines of the last minutes: one scale for all Boxes of a page, empty where nothing was measured."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from opq_cloud.view.pages.boxes.sparkline import (
    NORMAL_PERCENT,
    SPARK_HEIGHT,
    spark_scale,
    spark_steps,
    sparkline,
)
from opq_proto.messages import Measurement, Metric


def _measurement(t_ms: int, rms: tuple[float, float, float]) -> Measurement:
    return Measurement("1", t_ms, {"rms": Metric(*rms)})


def _paths(rows: Sequence[Measurement], nominal_v: float = 120.0) -> tuple[str, str]:
    """The line and the band of one Box that is alone on its page."""
    steps = spark_steps(rows)
    line = sparkline(steps, nominal_v, spark_scale([(steps, nominal_v)]))
    assert line is not None
    return line.line, line.band


def test_a_sparkline_needs_two_points() -> None:
    """A sparkline needs two points and stays in its frame."""
    rows = [_measurement(k * 1000, (100.0 + k, 121.0, 120.0)) for k in range(20)]
    scale = spark_scale([(spark_steps(rows), 120.0)])
    assert sparkline(spark_steps(rows[:1]), 120.0, scale) is None
    line = sparkline(spark_steps(rows), 120.0, scale)
    assert line is not None
    for letter, numbers in re.findall("([MLHV])([-0-9.,]+)", line.line + line.band):
        values = [float(number) for number in numbers.split(",")]
        across, down = (values[:1] if letter != "V" else []), (values[-1:] if letter != "H" else [])
        assert all(0 <= x <= 240 for x in across)
        assert all(0 <= y <= 48 for y in down)
    assert line.line.count("M") == 1
    assert (line.low_v, line.high_v, line.seconds) == (100.0, 121.0, 20.0)


def test_an_unmeasured_part_is_empty() -> None:
    """A sparkline is empty where nothing was measured and a dip is as wide as its window."""
    rows = [_measurement(k * 1000, (120.0, 120.0, 120.0)) for k in (1, 2, 63, 64)]
    dip = replace(_measurement(2050, (60.0, 60.0, 60.0)), start_ns=2034 * 10**6, end_ns=2050 * 10**6)
    line, band = _paths([*rows[:2], dip, *rows[2:]])
    assert line.count("M") == 2
    begin, end = re.findall(r"M([0-9.]+),[0-9.]+H([0-9.]+)V", band)[2]
    assert float(end) - float(begin) <= 0.2  # 16 ms of 64 s in 240


def test_dips_are_in_percent_of_nominal() -> None:
    """A deep dip is deeper than a shallow one at another nominal voltage."""
    boxes = []
    for nominal_v, residual_v in ((230.0, 28.0), (120.0, 114.0)):
        rows = [_measurement(k * 1000, (nominal_v, nominal_v, nominal_v)) for k in range(1, 6)]
        rows[2] = _measurement(3000, (residual_v, nominal_v, nominal_v))
        boxes.append((spark_steps(rows), nominal_v))
    scale = spark_scale(boxes)
    depths = []
    for steps, nominal_v in boxes:
        line = sparkline(steps, nominal_v, scale)
        assert line is not None
        depths.append(max(float(y) for y in re.findall(r"V([0-9.]+)H", line.band)) - scale.y(100.0))
    assert depths[0] / depths[1] == pytest.approx((202 / 230) / (6 / 120), rel=0.05)  # written to a tenth


def test_a_wild_value_scales_to_200_percent() -> None:
    """A steady voltage is flat; a wild value widens the scale to 200 % at most."""
    _, band = _paths([_measurement(k * 1000, (119.8, 120.2, 120.0)) for k in (1, 2)])
    low, high = (float(re.findall(find, band)[0]) for find in (r"V([0-9.]+)H", r"M[0-9.]+,([0-9.]+)H"))
    assert 0 < low - high < 1.0, "a third of a percent"
    wild = [_measurement(k * 1000, (0.0, 1e30, 1e30)) for k in (1, 2)]
    scale = spark_scale([(spark_steps(wild), 120.0)])
    assert scale.y(NORMAL_PERCENT[0]) - scale.y(NORMAL_PERCENT[1]) > SPARK_HEIGHT / 12
    assert "M0.0,0.0H" in _paths(wild)[0]
