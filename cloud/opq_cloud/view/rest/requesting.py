"""`POST /api/v1/boxes/{id}/waveforms`: raw samples of a Box, by a token with the scope `write`."""

from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opq_cloud.view.context import ViewContext
from opq_cloud.view.rest import shapes
from opq_cloud.view.rest.answers import limit_key
from opq_cloud.view.rest.problems import MEDIA_TYPE, RestProblemError
from opq_cloud.view.waveform_requests import (
    LONGEST_S,
    SHORTEST_S,
    WaveformRefusedError,
    WaveformRequests,
)

MAX_BODY_BYTES = 1024
Body = TypeVar("Body", bound=BaseModel)


class WaveformAsk(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Annotated[str, Field(alias="from", max_length=40, examples=["now-30s"])] = "now"
    """now, now-30s, a time in UTC, or ms since 1970."""
    seconds: Annotated[float, Field(ge=SHORTEST_S, le=LONGEST_S)] = 2.0


class WaveformAsked(BaseModel):
    """The event that waits for the samples; `GET /events/{event_id}` says what became of it."""

    event_id: int
    box_id: str
    event: str
    """Its address under `/api/v1`."""


BODY: dict[str, Any] = {
    "requestBody": {
        "content": {"application/json": {"schema": WaveformAsk.model_json_schema()}}, "required": False
    }
}  # fmt: skip

REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemShape"}}}}
    for code in (403, 413)
}


class RequestRoutes:
    """One POST; sessions of browsers cannot use it, they have the page."""

    def __init__(self, context: ViewContext, requests: WaveformRequests) -> None:
        self._context = context
        self._requests = requests

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route(
            "/boxes/{box_id}/waveforms", self.request_waveform, methods=["POST"], status_code=202,
            response_model=WaveformAsked, openapi_extra=BODY, responses=REFUSALS,
        )  # fmt: skip
        return router

    async def request_waveform(
        self, request: Request, box_id: Annotated[str, Path(pattern=shapes.BOX_PATTERN, examples=["1"])]
    ) -> Response:
        """Raw samples of a Box: from now on, or out of its gateway's ring. Needs the scope `write`."""
        visitor = self._context.visitor
        if not visitor.writes:
            raise RestProblemError(
                403, "This needs a token with the scope write; the page Account makes one."
            )
        if not visitor.may_request(box_id) or self._context.whole_store.box(box_id) is None:
            raise RestProblemError(404, f"There is no Box {box_id} that you may ask.")
        asked = await read_request_body(request, WaveformAsk, MAX_BODY_BYTES)

        def opened() -> int:
            now_ns = self._context.now_ns()
            event_id = self._requests.open_request(
                box_id, asked.start, str(asked.seconds), limit_key(visitor), now_ns
            )
            account_id = visitor.account.account_id if visitor.account else ""
            subject = f"box {box_id}, event {event_id}"
            people = self._context.whole_store.people
            people.changes.add(account_id, visitor.address, "asked for a waveform by a token", subject)
            return event_id

        try:
            event_id = await anyio.to_thread.run_sync(opened)
        except WaveformRefusedError as error:
            headers = {"Retry-After": "20"} if error.status == 429 else None
            raise RestProblemError(error.status, str(error), headers) from None
        where = f"/api/v1/events/{event_id}"
        body = WaveformAsked(event_id=event_id, box_id=box_id, event=where)
        return JSONResponse(body.model_dump(), 202, {"Location": where, "Cache-Control": "no-store"})


async def read_request_body(request: Request, shape: type[Body], most_bytes: int) -> Body:
    """Raises RestProblemError 400 or 413."""
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
