"""Two events over one another, `/incidents/{id}/overlay?with=17`: waveforms, rms and its difference."""

import math
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

import numpy as np
from fastapi import HTTPException, Query
from fastapi.responses import HTMLResponse

from opq_cloud.store.incidents.box_events import narrowed
from opq_cloud.view.pages.drawing.charts import ChartLine, reduce_min_max
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.examine import drawing
from opq_cloud.view.pages.examine.address import ExamineAddress, moment, read_address
from opq_cloud.view.pages.examine.panels import MIN_V, Lane, TimePanel, Trace
from opq_cloud.view.pages.examine.signal_reading import read_signals
from opq_cloud.view.pages.examine.signals import SignalCache
from opq_cloud.view.pages.incidents.incident_list import beside_at_place
from opq_cloud.view.pages.incidents.laid_event import LaidEvent, crossing_ns
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter
from opq_measure.waveform.over_one_another import difference
from opq_proto.messages import Incident

ALIGNED = {"trigger": "By their beginnings", "crossing": "By a rising zero crossing"}
LONGEST_FIRST_MS = 2000.0
"""Of two long events their beginnings are shown first."""
Field = Annotated[str, Query(max_length=200)]


class OverlayPages:
    """The page; the second event is that of `with`, else the one before at the same site."""

    def __init__(self, context: VisitorContext, signals: SignalCache, render: PageMaker) -> None:
        self._context, self._cache, self._render = context, signals, render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/incidents/{incident_id}/overlay", self.page)
        return router

    def page(
        self,
        incident_id: str,
        other: Annotated[str, Query(alias="with", max_length=12)] = "",
        align: Field = "trigger",
        t: Field = "",
        box: Field = "",
    ) -> HTMLResponse:
        context = self._context
        one = context.incident_of_address(incident_id, "/incidents/{}/overlay")
        if align not in ALIGNED:
            raise HTTPException(400, f"align is {align[:40]!r}; want {' or '.join(ALIGNED)}.")
        beside = beside_at_place(context, one)
        number = other.strip().lstrip("#") or str(beside["place_previous"] or beside["place_next"] or "")
        here = f"/incidents/{one.incident_id}/overlay"
        both = [one]
        if number:
            both.append(context.incident_of_address(number, f"{here}?with={{}}"))
        longest_ms = min(LONGEST_FIRST_MS, max((each.end_ns - each.start_ns) / 1e6 for each in both))
        try:
            address = read_address(
                math.ceil(longest_ms), t or f"-60ms..{max(60, round(1.4 * longest_ms))}ms", show=box
            )
        except ValueError as error:
            raise HTTPException(400, f"The address has a value that cannot be used: {error}.") from None
        events = [each for incident in both if (each := self._event(incident, address, align)) is not None]
        fields = {"with": number, "align": align, "box": ",".join(address.box_ids)}

        def query(moved: ExamineAddress = address, second: str = number, align: str = align) -> str:
            span = f"{moment(moved.start_ms)}..{moment(moved.end_ms)}"
            found = {**fields, "with": second, "align": align, "t": span}
            return urlencode([each for each in found.items() if each[1]], safe=",")

        span = address.start_ms, address.end_ms
        rms = [each.rms(*span) for each in events]
        return self._render(
            "overlay.html",
            "incidents",
            200,
            incident=one,
            number=number,
            fields=fields,
            headline=words.headline(one, context.names(both)),
            place=here,
            span_words=f"{moment(span[0])}..{moment(span[1])}",
            events=events,
            lowest=[_lowest(lines) for lines in rms],
            panels=_panels(events, rms, span) if len(events) == 2 else (),
            query=query(),
            aligned=[(text, name == align, query(align=name)) for name, text in ALIGNED.items()],
            seconds=[
                (
                    f"{text} at {beside['place_words']}, #{near}",
                    str(near) == number,
                    query(second=str(near)),
                )
                for text, near in (("Before", beside["place_previous"]), ("After", beside["place_next"]))
                if near
            ],
            steps=[
                (text, query(moved))
                for text, moved in (
                    ("Back", address.shifted(-0.5)),
                    ("Forward", address.shifted(0.5)),
                    ("Zoom in", address.zoomed(0.5)),
                    ("Zoom out", address.zoomed(2.0)),
                )
            ],
            axis=drawing.time_axis(*span),
            zero_percent=drawing.percent_of(0.0, span),
            ends_percent=drawing.percent_of(0.0, span),
            length_ms=0.0,
            cursors=[],
            unknown_gains=[],
        )

    def _event(self, incident: Incident, address: ExamineAddress, align: str) -> LaidEvent | None:
        """The event at the Box of the address, where it has a waveform there, else where it was worst."""
        found = read_signals(self._context, self._cache, incident, address, 1)
        if not found.shown or not found.signals[found.shown[0].box_id].runs:
            return None
        box = found.shown[0]
        signal = found.signals[box.box_id]
        own = [each.finding.start_ns for each in incident.findings if each.finding.box_id == box.box_id]
        begun_ns = min(own, default=incident.start_ns)
        origin_ns = begun_ns if align == "trigger" else crossing_ns(signal, begun_ns, box.nominal_hz)
        there = narrowed(incident, (box.box_id,))
        return LaidEvent(there, box, signal, origin_ns, f"#{incident.incident_id}, {box.label}")


def _off(one: Sequence[ChartLine], two: Sequence[ChartLine], apart_ms: float) -> ChartLine | None:
    """First minus second where both have a value."""
    if not one or not two:
        return None
    whole = [
        np.concatenate([getattr(each, name) for each in lines])
        for lines in (one, two)
        for name in ("t_ms", "values")
    ]
    at_ms, values = difference(whole[0], whole[1], whole[2], whole[3], apart_ms)
    return ChartLine(at_ms, values) if len(at_ms) else None


def _panels(
    events: Sequence[LaidEvent], shares: Sequence[Sequence[ChartLine]], span: tuple[float, float]
) -> tuple[TimePanel, ...]:
    """Waveforms, rms, and the difference of rms, in volts where both have one nominal voltage, else in %."""
    one, two = events
    whole, unit = (one.box.nominal_v, "V") if one.box.nominal_v == two.box.nominal_v else (100.0, "%")
    waves = [each.wave(*span, whole) for each in events]
    rms = [[ChartLine(each.t_ms, whole * each.values) for each in lines] for lines in shares]
    off = _off(rms[0], rms[1], 1e3 / one.box.nominal_hz)
    labels = (one.label, two.label)
    panels: list[tuple[str, str, str, Sequence[str], Sequence[Sequence[ChartLine | None]], bool]] = [
        ("wave", "Waveforms", "Both on the same axes.", labels, waves, True),
        ("rms", "Half-cycle rms", "Urms(1/2) (IEC 61000-4-30, 5.4).", labels, rms, False),
        ("off", "Difference of rms", f"{one.label} minus {two.label}.", ("Difference",), [[off]], True),
    ]
    found = []
    for name, title, hint, names, lines, even in panels:
        drawn = [[_fewer(each) for each in group if each is not None] for group in lines]
        scale = drawing.scale_of([each for group in drawn for each in group], MIN_V * whole, even=even)
        if scale is None:
            lane = Lane(title, (), (), "", empty="Nothing of this stretch is stored.")
        else:
            traces = tuple(
                Trace("", text, (2 if name == "off" else 0) + row, drawing.trace(group, scale, *span))
                for row, (text, group) in enumerate(zip(names, drawn, strict=True))
            )
            lane = Lane(title, traces, scale.ticks(), unit)
        found.append(TimePanel(name, title, hint, (lane,)))
    return tuple(found)


def _fewer(line: ChartLine) -> ChartLine:
    return reduce_min_max(line.t_ms, line.values, drawing.POINTS)


def _lowest(rms: Sequence[ChartLine]) -> tuple[float, float] | None:
    """Lowest of these shares, percent of nominal, and when, ms."""
    lines = [each for each in rms if len(each.values)]
    found = [(100 * float(each.values.min()), float(each.t_ms[each.values.argmin()])) for each in lines]
    return min(found, default=None)
