"""The orders of `/api/v1`: raw samples of a Box, and messages for Mauka's bus.

Both need a token with the scope `write`, messages an administrator's; browsers have pages for it.
"""

from base64 import b64decode
from typing import Annotated, Any, TypeVar

from fastapi import Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opq_cloud.operations.plugin_manager import PluginManagerError, publish_events, publish_on_bus
from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import rest_span
from opq_cloud.view.api.problems import MEDIA_TYPE, RestProblemError
from opq_cloud.view.live.feed_messages import LARGEST_ID
from opq_cloud.view.pages.boxes.waveform_requests import (
    LONGEST_S,
    SHORTEST_S,
    WaveformRefusedError,
    WaveformRequests,
)
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.forms import visitor_after_body
from opq_cloud.view.web.shares import PageRouter, in_thread, share_key
from opq_cloud.view.web.visitors import Visitor
from opq_proto.time_units import NS_PER_MS

EVENT_TOPIC = "MakaiEvent"
"""The topic on which events are announced."""
MAX_EVENTS = 10_000
"""Events of one injection, the newest of its span."""
Body = TypeVar("Body", bound=BaseModel)


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a POST, for OpenAPI: this module reads it, within a limit, not FastAPI."""
    return {
        "requestBody": {
            "content": {"application/json": {"schema": model.model_json_schema()}},
            "required": False,
        }
    }


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The codes with which a POST may be refused, for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemShape"}}
    return {code: {"content": {MEDIA_TYPE: schema}} for code in codes}


async def read_request_body(request: Request, shape: type[Body], most_bytes: int) -> Body:
    """Reads the body of a request. Raises RestProblemError 400 or 413."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise RestProblemError(413, f"A request has {most_bytes} bytes at most.")
    try:
        return shape.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise RestProblemError(400, f"{place}: {first['msg'].lower()}.") from None


class InjectionAsk(BaseModel):
    """One message, or stored events to be announced again: one of text, base64, event_ids, and from."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    topic: Annotated[str, Field(min_length=1, max_length=200, examples=["MakaiEvent"])] = EVENT_TOPIC
    text: Annotated[str | None, Field(max_length=1_000_000)] = None
    base64: Annotated[str | None, Field(max_length=1_400_000)] = None
    """Any bytes, such as a serialized MaukaMessage."""
    event_ids: Annotated[list[Annotated[int, Field(ge=1, le=LARGEST_ID)]], Field(max_length=10_000)] = []
    start: Annotated[str | None, Field(alias="from", max_length=40, examples=["now-1d"])] = None
    end: Annotated[str, Field(alias="to", max_length=40)] = "now"


class InjectionShape(BaseModel):
    topic: str
    published: int
    """Number of messages on the bus."""


class InjectionRoutes:
    """One POST, for administrators: what `opq-tools inject` does."""

    def __init__(self, services: ViewServices) -> None:
        self._services = services

    def router(self) -> PageRouter:
        router = PageRouter()
        router.add_api_route(
            "/injections",
            self.inject,
            methods=["POST"],
            status_code=202,
            response_model=InjectionShape,
            openapi_extra=body_of(InjectionAsk),
            responses=refusals(403, 413),
        )
        return router

    async def inject(self, request: Request) -> Response:
        """Publish a message on Mauka's bus as it is, or have stored events analysed again."""
        _check_administers(self._services.visitor)
        wanted = await read_request_body(request, InjectionAsk, 1_500_000)
        visitor = await visitor_after_body(request)
        _check_administers(visitor)
        given = (
            wanted.text is not None,
            wanted.base64 is not None,
            bool(wanted.event_ids),
            bool(wanted.start),
        )
        if sum(given) != 1:
            raise RestProblemError(400, "Give one of text, base64, event_ids and from.")
        if (wanted.event_ids or wanted.start) and wanted.topic != EVENT_TOPIC:
            raise RestProblemError(400, f"Stored events go with the topic {EVENT_TOPIC}.")
        try:
            count = await in_thread(self._published, wanted)
        except PluginManagerError as error:
            raise RestProblemError(503, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        account_id = visitor.account.account_id if visitor.account else ""
        people = self._services.store.people
        subject = f"topic {wanted.topic}, {count} messages"
        people.changes.add(account_id, visitor.address, "injected into Mauka by a token", subject)
        return JSONResponse({"topic": wanted.topic, "published": count}, 202, {"Cache-Control": "no-store"})

    def _published(self, wanted: InjectionAsk) -> int:
        bus = self._services.addresses.bus
        if wanted.text is not None:
            publish_on_bus(bus, wanted.topic, wanted.text.encode())
            return 1
        if wanted.base64 is not None:
            try:
                body = b64decode(wanted.base64, validate=True)
            except ValueError as error:
                raise RestProblemError(400, f"base64: {error}.") from None
            publish_on_bus(bus, wanted.topic, body)
            return 1
        event_ids = self._event_ids(wanted)
        publish_events(bus, event_ids)
        return len(event_ids)

    def _event_ids(self, wanted: InjectionAsk) -> list[int]:
        """The events that are named, or those of the span, oldest first. Raises RestProblemError."""
        store = self._services.store
        if wanted.start is None:
            if missing := [str(each) for each in wanted.event_ids if store.event_record(each) is None]:
                raise RestProblemError(404, f"There is no event {', '.join(missing[:10])}.")
            return wanted.event_ids
        span = rest_span(wanted.start, wanted.end, self._services.now_ns())
        found = store.events(span.start_ms * NS_PER_MS, span.end_ms * NS_PER_MS, MAX_EVENTS)
        if not found:
            raise RestProblemError(404, "No event is stored in that time.")
        return [each.event_id for each in reversed(found)]


def _check_administers(visitor: Visitor) -> None:
    """Raises RestProblemError 403 for a visitor who may not inject."""
    if not visitor.may(Action.INJECT):
        raise RestProblemError(403, "This needs an administrator's token with the scope write.")


def check_writes(visitor: Visitor) -> None:
    """Raises RestProblemError 403 for a visitor without a token that writes."""
    if not visitor.may(Action.WRITE_BY_API):
        raise RestProblemError(403, "This needs a token with the scope write; the page Account makes one.")


class WaveformAsk(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Annotated[str, Field(alias="from", max_length=40, examples=["now-30s"])] = "now"
    """now, now-30s, a time in UTC, or ms since 1970."""
    seconds: Annotated[float, Field(ge=SHORTEST_S, le=LONGEST_S)] = 2.0


class WaveformAsked(BaseModel):
    """The event that waits for the samples; `GET /events/{event_id}` has its state."""

    event_id: int
    box_id: str
    event: str
    """Its address under `/api/v1`."""


class RequestRoutes:
    """One POST; browser sessions cannot use it and have the page instead."""

    def __init__(self, services: ViewServices, requests: WaveformRequests) -> None:
        self._services = services
        self._requests = requests

    def router(self) -> PageRouter:
        router = PageRouter()
        router.add_api_route(
            "/boxes/{box_id}/waveforms",
            self.request_waveform,
            methods=["POST"],
            status_code=202,
            response_model=WaveformAsked,
            openapi_extra=body_of(WaveformAsk),
            responses=refusals(403, 413),
        )
        return router

    async def request_waveform(
        self, request: Request, box_id: Annotated[str, Path(pattern=shapes.BOX_PATTERN, examples=["1"])]
    ) -> Response:
        """Raw samples of a Box: from now on, or out of its gateway's ring. Needs the scope `write`."""
        self._check_may_request(self._services.visitor, box_id)
        wanted = await read_request_body(request, WaveformAsk, 1024)
        visitor = await visitor_after_body(request)
        self._check_may_request(visitor, box_id)

        def opened() -> int:
            now_ns = self._services.now_ns()
            event_id = self._requests.open_request(
                box_id, wanted.start, str(wanted.seconds), share_key(visitor), now_ns
            )
            account_id = visitor.account.account_id if visitor.account else ""
            subject = f"box {box_id}, event {event_id}"
            people = self._services.store.people
            people.changes.add(account_id, visitor.address, "asked for a waveform by a token", subject)
            return event_id

        try:
            event_id = await in_thread(opened)
        except WaveformRefusedError as error:
            headers = {"Retry-After": "20"} if error.status == 429 else None
            raise RestProblemError(error.status, str(error), headers) from None
        where = f"/api/v1/events/{event_id}"
        body = WaveformAsked(event_id=event_id, box_id=box_id, event=where)
        return JSONResponse(body.model_dump(), 202, {"Location": where, "Cache-Control": "no-store"})

    def _check_may_request(self, visitor: Visitor, box_id: str) -> None:
        check_writes(visitor)
        if not visitor.may_request(box_id) or self._services.store.box(box_id) is None:
            raise RestProblemError(404, f"There is no Box {box_id} that you may ask.")
