"""Pages of requested waveforms: the form of a Box, `/boxes/{id}/waveforms`, and an event, `/events/{id}`.

The owner of the Box, or an administrator, requests; the answer leads to the event's page, which shows the
state of the request and draws what has arrived. An event is shown to visitors who see one of its Boxes,
samples only to those who may see them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.unknown_gain import gain_command
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.boxes.waveform_requests import (
    LONGEST_S,
    RequestState,
    WaveformRefusedError,
    WaveformRequests,
    request_state,
    waiting_boxes,
)
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, whole_id
from opq_cloud.view.web import words
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.kit.drawing import HEIGHT, WIDTH, Axis, Tick, extremes_line
from opq_proto.messages import Incident, Waveform

COLUMNS = 1000
"""Points drawn of a waveform, lowest and highest of each stretch."""
WAVES_DRAWN = 4
INCIDENTS_COMPARED = 20
LENGTHS_S = (0.5, 1, 2, 5, 10)
FORMATS = ("comtrade", "cff", "csv", "npy", "wav", "json", "pqdif")


@dataclass(frozen=True, slots=True)
class WaveDrawing:
    """A waveform as SVG over 1000 x 500, its figures, and its axes."""

    label: str
    series: int
    path: str
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    seconds: float
    rate_hz: float
    start_ns: int
    rms_v: float
    peak_v: float
    clock: str


class EventPages:
    """`/events/{id}`; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/events/{event_id}", self.event)
        return router

    def event(self, event_id: str) -> HTMLResponse:
        context = self._context
        number = whole_id(event_id, "event")
        record = context.store.event_record(number)
        if record is None:
            raise HTTPException(404, f"There is no event {number}.")
        now_ns = context.now_ns()
        found = context.store.event(number) if record.boxes_received else None
        stored = () if found is None else found.waveforms
        waves = stored[:WAVES_DRAWN]
        incidents = self._incidents_in_event(number, record.start_ns, record.end_ns, record.boxes_triggered)
        return self._render(
            "event.html",
            "boxes",
            200,
            record=record,
            box_id=record.opened_by or next(iter(record.boxes_triggered), ""),
            states=self._states(record, now_ns),
            waiting=bool(waiting_boxes(record, now_ns)),
            waves=[draw_wave(context.box(wave.box_id).label, k, wave) for k, wave in enumerate(waves)],
            unknown_gains=[
                (context.box(wave.box_id).label, gain_command(wave.box_id))
                for wave in stored
                if not wave.gain_known
            ],
            not_drawn=len(stored) - len(waves),
            hidden=bool(record.boxes_received) and not waves,
            incidents=incidents,
            formats=FORMATS,
            length=words.duration((record.end_ns - record.start_ns) / 1e9),
            names=context.names(incidents),
        )

    def _states(self, record: EventRecord, now_ns: int) -> list[tuple[str, RequestState]]:
        """The Boxes, and the state of the request to each group."""
        groups = words.alike((each, request_state(record, each, now_ns)) for each in record.boxes_triggered)
        return [(self._named(box_ids), state) for box_ids, state in groups]

    def _named(self, box_ids: Sequence[str]) -> str:
        if len(box_ids) > words.BOXES_LISTED:
            return words.boxes(box_ids)
        return "; ".join(each.label for each in self._context.boxes(box_ids))

    def _incidents_in_event(
        self, event_id: int, start_ns: int, end_ns: int, box_ids: tuple[str, ...]
    ) -> list[Incident]:
        """The incidents that were found in the event."""
        wanted = IncidentFilter(box_ids=box_ids, start_ns=start_ns, end_ns=end_ns)
        store = self._context.store
        near = store.find_incidents(wanted, INCIDENTS_COMPARED)
        found = store.incidents_of([each.incident_id for each in near])
        return [wanted.shown(each) for each in found if event_id in each.event_ids]


class WaveformPages:
    """The form of a Box, and its earlier requests."""

    def __init__(self, accounts: AccountContext, requests: WaveformRequests, context: VisitorContext) -> None:
        self._accounts = accounts
        self._requests = requests
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        path = "/boxes/{box_id}/waveforms"
        router.add_api_route(path, self.form_page, response_class=HTMLResponse)
        router.add_route(path, form_route(self.request_waveform), methods=["POST"])
        return router

    def form_page(self, box_id: str) -> HTMLResponse:
        return self._page(self._context.visitor, box_id)

    def request_waveform(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        box_id = str(request.path_params["box_id"])
        self._known(visitor, box_id)
        account = visitor.account
        try:
            event_id = self._requests.open_request(
                box_id,
                form.text("from", 40),
                form.text("seconds", 20),
                account.account_id if account else visitor.address,
                self._context.now_ns(),
            )
        except WaveformRefusedError as error:
            return self._page(visitor, box_id, str(error), error.status)
        self._accounts.note(visitor, "asked for a waveform", f"box {box_id}, event {event_id}")
        return see_other(f"/events/{event_id}")

    def _page(self, visitor: Visitor, box_id: str, problem: str = "", code: int = 200) -> HTMLResponse:
        self._known(visitor, box_id)
        now_ns = self._context.now_ns()
        latest = self._context.hub.newest(box_id)
        live = latest is not None and now_ns // 1_000_000 - latest.received_ms < latest.silent_after_ms
        rows: list[tuple[int, int, str, RequestState]] = [
            (
                each.event_id,
                each.start_ns,
                words.duration((each.end_ns - each.start_ns) / 1e9),
                request_state(each, box_id, now_ns),
            )
            for each in self._requests.requests_of(box_id)
        ]
        return self._accounts.page(
            "waveforms.html",
            "boxes",
            code,
            box_id=box_id,
            label=self._context.box(box_id).label,
            problem=problem,
            live=live,
            lengths=LENGTHS_S,
            longest=LONGEST_S,
            rows=rows,
        )

    def _known(self, visitor: Visitor, box_id: str) -> None:
        """Raises 404 also where the visitor may not request, so as not to reveal the Box."""
        if not visitor.may_request(box_id) or self._accounts.store.box(box_id) is None:
            raise HTTPException(404, "No Box with this id is known that you may ask.")


def draw_wave(name: str, series: int, wave: Waveform) -> WaveDrawing:
    """The drawing: lowest and highest of each stretch, so that no peak is lost."""
    volts = wave.volts
    low, high = float(volts.min()), float(volts.max())
    pad = max((high - low) * 0.06, 1e-6)
    seconds = len(volts) / wave.rate_hz
    time, level = Axis(0.0, seconds, WIDTH), Axis(low - pad, high + pad, HEIGHT, is_upright=True)
    times = tuple(Tick(each.percent, f"{each.words} s") for each in time.ticks() if each.percent < 95)
    y = level.places(volts)
    clock = f"{words.source(wave.source)}, {words.uncertainty(wave.uncertainty_ns)}"
    with np.errstate(over="ignore"):  # volts of 1e300, by a senseless gain
        rms_v = float(np.sqrt(np.mean(volts**2)))
    return WaveDrawing(
        name,
        series,
        extremes_line(time.places(np.arange(len(volts)) / wave.rate_hz), y, y, COLUMNS),
        tuple(level.ticks()),
        times,
        seconds,
        wave.rate_hz,
        wave.start_ns,
        rms_v,
        float(np.abs(volts).max()),
        clock,
    )
