"""Charts as paths and places: what is drawn where."""

import math

import numpy as np
import pytest

from opq_proto.kit.drawing import (
    HATCHED,
    Axis,
    Svg,
    Tick,
    VoltagePlane,
    bar,
    below,
    corners,
    extremes_line,
    grid,
    levels,
    line,
    path,
    span,
)


def test_a_line_parts_where_nothing_is_known() -> None:
    points = [(0.0, 1.0), (1.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, math.nan), (4.0, 1.0)]
    assert line(points) == "M0.0,1.0H1.0V2.0L2.0,3.0M4.0,1.0"
    assert line(points, digits=0) == "M0.0,1H1.0V2L2.0,3M4.0,1" and line([]) == ""


def test_no_peak_is_lost_between_columns() -> None:
    x = np.arange(10_000) / 10
    low = high = np.where(np.arange(10_000) == 5_003, 90.0, 50.0)
    drawn = extremes_line(x, low, high, 100)
    assert "V90.0" in drawn and drawn.count("M") == 1
    assert extremes_line(x[:3], low[:3], high[:3], 100) == "M0.0,50.0H0.1H0.2"


def test_an_axis_keeps_its_ends() -> None:
    across, up = Axis(10.0, 20.0, 1000), Axis(10.0, 20.0, 500, is_upright=True)
    assert [across.place(each) for each in (5.0, 12.5, 30.0)] == [0.0, 250.0, 1000.0]
    assert [up.place(each) for each in (10.0, 20.0, 25.0)] == [500.0, 0.0, 0.0]
    assert up.places(np.array([10.0, 25.0])).tolist() == [500.0, -250.0], "a line may leave its frame"
    assert [(each.percent, each.words) for each in up.ticks()][:2] == [(100.0, "10.0"), (75.0, "12.5")]


def test_a_low_bar_stays_visible() -> None:
    assert bar(0, 2, 10, 20) == "M0.0,10.0H2.0V20.0H0.0Z"
    assert bar(0, 2, 10, 11, least=4, digits=0) == "M0.0,8H2.0V12H0.0Z"


def test_the_plane_of_voltage_is_logarithmic() -> None:
    plane = VoltagePlane.of(0.01, 100.0, 160.0, 400, 160)
    assert plane.place(1.0, 80.0) == pytest.approx((200.0, 80.0))
    assert corners([(0.2, 50.0), (math.inf, 70.0)], 0.05, 10.0) == [
        (0.05, 50.0),
        (0.2, 50.0),
        (0.2, 70.0),
        (10.0, 70.0),
    ]
    wanted = [(0.0, 160.0), (100.0, 160.0), (100.0, 0.0), (400.0, 0.0)]
    np.testing.assert_allclose(plane.curve([(0.1, 0.0), (1000.0, 160.0)], 0.001), wanted)


def test_words_of_a_chart_are_escaped() -> None:
    drawn = levels([Tick(4.0, "<2>"), Tick(50.0, "1")], " V & A", "last")
    assert drawn == (
        '<text class="level" x="4" y="4.0%" dy="13">&lt;2&gt; V &amp; A</text>'
        '<text class="level" x="4" y="50.0%" dy="-3">1 V &amp; A last</text>'
    ), "the words of a level at the upper edge stand below its line"
    assert path('"', "M0,0") == '<path class="&quot;" d="M0,0"/>'
    assert isinstance(drawn, Svg) and drawn.__html__() is drawn


def test_places_in_time_say_their_time() -> None:
    ticks = [Tick(10.0, "5 ms", at_ms=5.0), Tick(20.0, "6 ms", crowded=True)]
    assert below(ticks) == (
        '<svg class="history-axis" aria-hidden="true"><text data-t="5.0" x="10.0%" y="14">5 ms</text>'
        '<text class="crowded" x="20.0%" y="14">6 ms</text></svg>'
    )
    assert '<line class="grid" data-t="5.0" x1="10.0%"' in grid(ticks, is_upright=True)
    assert span(HATCHED, 1.0, 2.0, 3.0, 4.0).startswith('<rect fill="url(#hatch)" data-t="3.0" data-t2="4.0"')
