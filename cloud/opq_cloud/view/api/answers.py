"""The common parts of all answers of `/api/v1`: ETags, cursors for lists, spans, rate limits."""

import base64
import binascii
import difflib
import hashlib
import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from fastapi import Request, Response

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.web.gate import current_visitor
from opq_cloud.view.web.shares import pause_refusal, share_key
from opq_cloud.view.web.time_span import TimeSpan, read_span
from opq_proto.kit.rate_limit import TokenBuckets

REQUEST_BURST = 120
"""Requests at once of one account, or of one address that is not signed in."""
REQUESTS_PER_S = 30.0
"""Requests per second after the burst."""
EXPORT_BURST = 20
"""Exports at once of the same; an export may read everything."""
EXPORT_PER_S = 0.5
"""Exports per second after the burst."""
LARGEST_CURSOR = 2**63 - 1

CursorKind = Literal["events", "incidents", "measurements", "intervals", "disturbances", "phenomena"]


def _plain(value: object) -> object:
    """NumPy's float64 is a float, and a view of a dict a Mapping; msgspec takes only float and dict."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not a value of JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
"""Writes NaN and infinities as null."""


def rest_span(start: str, end: str, now_ns: int) -> TimeSpan:
    """The span of an address. Raises RestProblemError 400."""
    try:
        return read_span(start, end, now_ns // 1_000_000)
    except ValueError as error:
        raise RestProblemError(400, f"{error}.") from None


def refuse_unknown_values(request: Request) -> None:
    """Raises RestProblemError 400 for an unknown query value: a misspelt filter would let everything pass."""
    route = request.scope["route"].dependant
    taken = [each.alias for part in (route, *route.dependencies) for each in part.query_params]
    for name in request.query_params:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, n=1)
            allowed = f"it takes {', '.join(taken)}" if taken else "this address takes no values"
            hint = f"did you mean {near[0]}?" if near else f"{allowed}."
            raise RestProblemError(400, f"There is no value {name[:40]!r} here; {hint}")


def json_answer(request: Request, facts: object) -> Response:
    """200 with a weak ETag of the content, or 304 where the client already has it."""
    body = _ENCODER.encode(facts)
    return tagged(request, etag_of(body)) or Response(
        body, media_type="application/json", headers=_cache_headers(etag_of(body))
    )


def etag_of(text: bytes) -> str:
    """A weak ETag, because the bytes on the wire may be compressed or not."""
    return f'W/"{hashlib.blake2b(text, digest_size=12).hexdigest()}"'


def tagged(request: Request, etag: str) -> Response | None:
    """304 where `If-None-Match` names this ETag (RFC 9110, 13.1.2: the weak comparison)."""
    named = request.headers.get("if-none-match", "")
    plain = etag.removeprefix("W/")
    known = {each.strip().removeprefix("W/") for each in named.split(",")}
    return (
        Response(status_code=304, headers=_cache_headers(etag))
        if plain in known or named.strip() == "*"
        else None
    )


def _cache_headers(etag: str) -> dict[str, str]:
    """Only the client may store the answer, and it must ask before each use."""
    return {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}


def cursor_text(kind: CursorKind, *place: int) -> str:
    """An opaque text: where the next page begins; new rows do not move it.

    Args:
        place: for Measurements the millisecond, for events the number of the last one sent (its time may be
            hidden), for incidents the start and the number of the last one sent.
    """
    return base64.urlsafe_b64encode(f"{kind}:{':'.join(map(str, place))}".encode()).decode().rstrip("=")


def cursor_place(kind: CursorKind, text: str | None) -> tuple[int, ...] | None:
    """The place that was given to `cursor_text`; None at the beginning.

    Raises:
        RestProblemError: 400, a cursor that we did not make for this list.
    """
    if text is None:
        return None
    try:
        made = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        made = ""
    name, *numbers = made.split(":")
    place = tuple(int(each) for each in numbers if re.fullmatch(r"-?[0-9]{1,19}", each))
    right = name == kind and len(place) == len(numbers) == (2 if kind == "incidents" else 1)
    if not right or not all(abs(each) <= LARGEST_CURSOR for each in place):
        raise RestProblemError(
            400, f"cursor is of another list ({kind}): send the `next` of its last page as it was."
        )
    return place


class RequestLimits:
    """Requests a second per account, or else per address (IPv6: per /56); used on the event loop."""

    def __init__(
        self,
        counters: ServiceCounters,
        requests: TokenBuckets | None = None,
        exports: TokenBuckets | None = None,
    ) -> None:
        self._counters = counters
        self._requests = requests or TokenBuckets(REQUEST_BURST, REQUESTS_PER_S)
        self._exports = exports or TokenBuckets(EXPORT_BURST, EXPORT_PER_S)

    async def request(self) -> None:
        """Counts a request. Raises RestProblemError 429."""
        await self._spend(self._requests, REQUESTS_PER_S, "request")

    async def export(self) -> None:
        """Counts an export. Raises RestProblemError 429."""
        await self._spend(self._exports, EXPORT_PER_S, "export")

    async def _spend(self, buckets: TokenBuckets, per_s: float, what: str) -> None:
        key = share_key(current_visitor())
        if not buckets.spend(key):
            self._counters.add("requests_limited", label=what)
            await pause_refusal()
            wait_s = max(1, round((1.0 - buckets.left(key)) / per_s))
            text = f"Too many {what}s; {per_s:g} a second are answered. Try again in {wait_s} s."
            raise RestProblemError(429, text, {"Retry-After": str(wait_s)})
