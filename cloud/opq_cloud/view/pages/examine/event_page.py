"""The page of an event on one time axis, `/incidents/{id}/examine`, and the part that a script replaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import HTTPException, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from opq_cloud.core.page_parts import ShownParts, made_parts
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.examine import drawing, signal_figures
from opq_cloud.view.pages.examine.address import PANELS, UNITS, ExamineAddress, moment, read_address
from opq_cloud.view.pages.examine.curves_chart import curves_chart
from opq_cloud.view.pages.examine.half_cycle_lines import rms_at
from opq_cloud.view.pages.examine.panels import MAX_SERIES, PanelMaker, TimePanel
from opq_cloud.view.pages.examine.signal_reading import BOXES_FIRST, EventSignals, read_signals
from opq_cloud.view.pages.examine.signals import SignalCache
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter
from opq_proto.messages import Incident

TABLE_ROWS = 120
EMBEDDED = ["rms", "wave"]
"""The charts of an incident's own page."""
BEFORE_MS = 20.0
"""The window before the incident ends this long before it, because its edge is not exact to the cycle."""
Text = Annotated[str, Field(max_length=200)]
Texts = Annotated[list[str], Field(max_length=32)]


class ExamineQuery(BaseModel):
    """The fields of the three addresses, as they are sent; `read_address` reads them."""

    t: Text = ""
    a: Text = ""
    b: Text = ""
    show: Texts = []
    panel: Texts = []
    y: Text = ""


SentQuery = Annotated[ExamineQuery, Query()]


@dataclass(frozen=True, slots=True)
class CursorRow:
    """One Box at both cursors."""

    box: ShownBox
    label: str
    series: int
    a: signal_figures.Reading
    b: signal_figures.Reading
    off: signal_figures.CursorDifference
    lead_deg: float | None
    """Its phase at A minus that of the first Box shown."""
    lead_doubt_deg: float | None


@dataclass(frozen=True, slots=True)
class HarmonicBars:
    """Harmonics of one Box: before the incident, and from cursor A on."""

    label: str
    series: int
    before: signal_figures.Harmonics | None
    at_a: signal_figures.Harmonics | None
    top_percent: float

    @property
    def before_path(self) -> str:
        return drawing.harmonic_bars(self.before.percents if self.before else (), self.top_percent)

    @property
    def at_a_path(self) -> str:
        return drawing.harmonic_bars(self.at_a.percents if self.at_a else (), self.top_percent, beside=True)


class ExaminePages:
    """The page, its replaceable part, and the charts that an incident's own page embeds."""

    def __init__(self, context: VisitorContext, signals: SignalCache, render: PageMaker) -> None:
        self._context = context
        self._render = render
        self._cache = signals

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/incidents/{incident_id}/examine", self.page)
        router.add_api_route("/incidents/{incident_id}/examine/part", self.part)
        router.add_api_route("/incidents/{incident_id}/examine/charts", self.charts)
        return router

    def page(self, incident_id: str, query: SentQuery) -> HTMLResponse:
        found = self._context.incident_of_address(incident_id, "/incidents/{}/examine")
        return self._render("examine.html", "incidents", 200, **self._values(found, query))

    def part(self, incident_id: str, query: SentQuery) -> HTMLResponse:
        found = self._context.incident_of_address(incident_id, "/incidents/{}/examine/part")
        return self._render("examine_part.html", "incidents", 200, **self._values(found, query))

    def charts(self, incident_id: str, query: SentQuery) -> HTMLResponse:
        """The charts of an incident's own page, as its script reloads them."""
        found = self._context.incident_of_address(incident_id, "/incidents/{}/examine/charts")
        address = self._address(found, ExamineQuery(t=query.t, show=query.show, panel=EMBEDDED, y=query.y))
        signals = read_signals(self._context, self._cache, found, address)
        values = self._embedded_values(found, address, signals)
        return self._render("examine_charts.html", "incidents", 200, incident=found, **values)

    def embedded(
        self, incident: Incident, most: int
    ) -> tuple[dict[str, object], EventSignals, Mapping[str, int]]:
        """For `incident.html`: values of its charts, `most` Boxes, the colours of those drawn."""
        address = self._address(incident, ExamineQuery(panel=EMBEDDED))
        found = read_signals(self._context, self._cache, incident, address, most)
        drawn = replace(found, shown=found.shown[:BOXES_FIRST])
        series = {box.box_id: row % MAX_SERIES for row, box in enumerate(drawn.shown)}
        return self._embedded_values(incident, address, drawn), found, series

    def _address(self, incident: Incident, query: ExamineQuery) -> ExamineAddress:
        length_ms = (incident.end_ns - incident.start_ns) / 1e6
        try:
            unit = query.y or self._context.visitor.voltage_unit
            show, panel = ",".join(query.show), ",".join(query.panel)
            return read_address(length_ms, query.t, query.a, query.b, show, panel, unit)
        except ValueError as error:
            raise HTTPException(400, f"The address has a value that cannot be used: {error}.") from None

    def _embedded_values(
        self, incident: Incident, address: ExamineAddress, found: EventSignals
    ) -> dict[str, object]:
        address = replace(address, box_ids=tuple(box.box_id for box in found.shown))
        maker = PanelMaker(self._context, incident, address, found)
        return self._chart_values(incident, address, found, maker) | {"cursors": []}

    def _chart_values(
        self, incident: Incident, address: ExamineAddress, found: EventSignals, maker: PanelMaker
    ) -> dict[str, object]:
        """What the charts on the time axis and the tables of their half cycles need."""
        length_ms = (incident.end_ns - incident.start_ns) / 1e6
        span, parts = (address.start_ms, address.end_ms), ShownParts()
        names = [name for name in address.panels if name in TIME_PANELS]
        panels, failed = made_parts(names, lambda name: PANELS[name], lambda name: _time_panel(maker, name))
        tables = parts.made("Half cycles", lambda: _tables(incident, address, found), [])
        return {
            "address": address,
            "moment": moment,
            "panels": list(panels),
            "failed_panels": [*failed, *parts.failed],
            "axis": drawing.time_axis(*span),
            "zero_percent": drawing.percent_of(0.0, span),
            "ends_percent": drawing.percent_of(length_ms, span),
            "length_ms": length_ms,
            "steps": _steps(address, length_ms),
            "events_left_out": found.events_left_out,
            "unknown_gains": maker.unknown_gains(),
            "sample_ms": max(
                (1e6 / each.runs[0].wave.rate_millihz for each in found.signals.values() if each.runs),
                default=0.1,
            ),
            "cycle_ms": 1e3 / found.shown[0].nominal_hz if found.shown else 1e3 / 60,
            "tables": tables,
        }

    def _values(self, incident: Incident, query: ExamineQuery) -> dict[str, object]:
        address = self._address(incident, query)
        found = read_signals(self._context, self._cache, incident, address)
        address = replace(address, box_ids=tuple(box.box_id for box in found.shown))
        maker = PanelMaker(self._context, incident, address, found)
        span = (address.start_ms, address.end_ms)
        rows = self._cursor_rows(incident, address, found, maker)
        names, parts = self._context.names([incident]), ShownParts()
        harmonics: Sequence[HarmonicBars] = ()
        curves = None
        if "harmonics" in address.panels:
            harmonics = parts.made("Harmonics", lambda: _harmonics(incident, address, found, maker), [])
        if "curves" in address.panels:
            curves = parts.made("ITIC and SEMI F47", lambda: curves_chart(incident, maker.series), None)
        return self._chart_values(incident, address, found, maker) | {
            "incident": incident,
            "failed": parts.failed,
            "headline": words.headline(incident, names),
            "cursors": [
                (name, at, drawing.percent_of(at, span))
                for name, at in (("A", address.a_ms), ("B", address.b_ms))
            ],
            "order_ticks": drawing.ORDER_TICKS,
            "cursor_rows": rows,
            "apart_ms": address.b_ms - address.a_ms,
            "choices": [
                (
                    self._context.box(box_id).label,
                    box_id in address.box_ids,
                    address.with_box(box_id, address.box_ids).query,
                )
                for box_id in found.candidates
            ],
            "panel_choices": [
                (words_, name in address.panels, address.with_panel(name).query)
                for name, words_ in PANELS.items()
            ],
            "unit_choices": [
                (words_, unit == address.unit, replace(address, unit=unit).query)
                for unit, words_ in UNITS.items()
            ],
            "stated_nominal": words.stated_nominal(
                (
                    (box.box_id, box.nominal_v)
                    for box in found.shown
                    if found.judged.volts(box.box_id) is None
                ),
                names,
            ),
            "pixel_words": words.duration(address.length_ms / 1e3 / (drawing.POINTS / 2)),
            "harmonics": harmonics,
            "phasors": "phasors" in address.panels and any(row.a.rms_v is not None for row in rows),
            "curves": curves,
            "itic_words": words.ITIC_WORDS,
            "f47_words": words.F47_WORDS,
        }

    def _cursor_rows(
        self, incident: Incident, address: ExamineAddress, found: EventSignals, maker: PanelMaker
    ) -> list[CursorRow]:
        rows: list[CursorRow] = []
        origin_ns = incident.start_ns
        for box in found.shown:
            signal = found.signals[box.box_id]
            at_a = _reading(found, box.box_id, address.a_ms, origin_ns)
            at_b = _reading(found, box.box_id, address.b_ms, origin_ns)
            off = signal_figures.between(signal, address.a_ms, address.b_ms, origin_ns)
            if off.rms_v is None and at_a.rms_v is not None and at_b.rms_v is not None:
                off = replace(off, rms_v=at_b.rms_v - at_a.rms_v)
            lead = signal_figures.phase_between_deg(rows[0].a, at_a) if rows else None
            doubt = _doubt_deg(maker, found.shown[0], box) if lead is not None else None
            rows.append(CursorRow(box, box.label, maker.series[box.box_id], at_a, at_b, off, lead, doubt))
        return rows


def _reading(found: EventSignals, box_id: str, t_ms: float, origin_ns: int) -> signal_figures.Reading:
    """The values from the samples at this time; where there are none, Urms(1/2) from the ledger."""
    read = signal_figures.reading(found.signals[box_id], t_ms, origin_ns)
    if read.rms_v is not None:
        return read
    kept = [rms_at(half, t_ms, origin_ns) for half in found.halves.get(box_id, ())]
    return replace(read, rms_v=next((volts for volts in kept if volts is not None), None))


TIME_PANELS = ("wave", "rms", "missing", "residual", "frequency", "spectrogram")


def _time_panel(maker: PanelMaker, name: str) -> TimePanel:
    if name == "spectrogram":
        return maker.spectrograms()
    return maker.together(name) if name in ("rms", "frequency") else maker.lanes_of(name)


def _steps(address: ExamineAddress, length_ms: float) -> list[tuple[str, str, str]]:
    """(name, words, query) of the links that move the span."""
    plain = read_address(length_ms)
    return [
        ("back", "Back", address.shifted(-0.5).query),
        ("forward", "Forward", address.shifted(0.5).query),
        ("in", "Zoom in", address.zoomed(0.5).query),
        ("out", "Zoom out", address.zoomed(2.0).query),
        ("start", "Its start", address.spanning(-50.0, 150.0).query),
        ("end", "Its end", address.spanning(length_ms - 150.0, length_ms + 50.0).query),
        ("whole", "Whole incident", address.spanning(plain.start_ms, plain.end_ms).query),
    ]


def _doubt_deg(maker: PanelMaker, one: ShownBox, other: ShownBox) -> float | None:
    """The uncertainty of both clocks as an angle; None where unknown, or above half a turn."""
    both = [maker.clocks[box.box_id].uncertainty_ms for box in (one, other)]
    known = signal_figures.known(both)
    if len(known) < 2:
        return None
    doubt = 360.0 * one.nominal_hz * sum(known) / 1e3
    return doubt if doubt < 180.0 else None


def _harmonics(
    incident: Incident, address: ExamineAddress, found: EventSignals, maker: PanelMaker
) -> list[HarmonicBars]:
    made = []
    for box in found.shown:
        signal = found.signals[box.box_id]
        before = signal_figures.harmonics_at(signal, -BEFORE_MS, incident.start_ns, ends=True)
        at_a = signal_figures.harmonics_at(signal, address.a_ms, incident.start_ns)
        every = [v for each in (before, at_a) if each for v in signal_figures.known(each.percents)]
        made.append(HarmonicBars(box.label, maker.series[box.box_id], before, at_a, max([1.0, *every])))
    return made


def _tables(
    incident: Incident, address: ExamineAddress, found: EventSignals
) -> list[tuple[str, float, tuple[object, ...]]]:
    """Half cycles within the span as tables, for visitors who cannot see the charts."""
    span = (address.start_ms, address.end_ms)
    return [
        (
            box.label,
            box.nominal_v,
            signal_figures.half_cycles(found.signals[box.box_id], *span, incident.start_ns, TABLE_ROWS),
        )
        for box in found.shown
    ]
