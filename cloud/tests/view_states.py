"""Every page of View in each of its states: who looks at what, and what the page must say.

A page is a route that answers with HTML; `test_view_states.py` holds the list to the application's routes.
"""

from collections.abc import Callable
from typing import Any

from opq_cloud.store import CloudStore
from opq_proto.errors import StoreError

PAGES = {
    "/": "/",
    "/incidents": "/incidents",
    "/incidents/{incident_id}": "/incidents/1",
    "/incidents/{incident_id}/examine": "/incidents/1/examine",
    "/incidents/{incident_id}/examine/part": "/incidents/1/examine/part",
    "/incidents/{incident_id}/examine/charts": "/incidents/1/examine/charts",
    "/incidents/{incident_id}/overlay": "/incidents/1/overlay",
    "/share/incidents/{incident_id}": "/share/incidents/1",
    "/boxes/{box_id}": "/boxes/1",
    "/boxes/{box_id}/settings": "/boxes/1/settings",
    "/boxes/{box_id}/waveforms": "/boxes/1/waveforms",
    "/events/{event_id}": "/events/1",
    "/report": "/report",
    "/sites": "/sites",
    "/sites/{name:path}": "/sites/mill",
    "/past": "/past",
    "/map": "/map",
    "/wall": "/wall",
    "/search": "/search?q=box",
    "/account": "/account",
    "/account/boxes": "/account/boxes",
    "/account/sites": "/account/sites",
    "/account/second-factor": "/account/second-factor",
    "/account/notifications": "/account/notifications",
    "/account/notifications/new": "/account/notifications/new?about=incident",
    "/account/notifications/{rule_id}": "/account/notifications/0123456789abcdef",
    "/admin": "/admin",
    "/admin/boxes": "/admin/boxes",
    "/admin/boxes/{box_id}": "/admin/boxes/1",
    "/admin/boxes/{box_id}/delete": "/admin/boxes/1/delete",
    "/admin/boxes/{box_id}/firmware": "/admin/boxes/1/firmware",
    "/admin/keys": "/admin/keys",
    "/admin/plugins": "/admin/plugins",
    "/admin/rules": "/admin/rules",
    "/admin/system": "/admin/system",
    "/admin/audit": "/admin/audit",
    "/admin/accounts": "/admin/accounts",
}
"""Route -> an address of it that has something to show in the filled scene."""
PARTS = {"/incidents/1/examine/part", "/incidents/1/examine/charts"}
"""Parts that a script puts into a page: no documents of their own."""
WITHOUT_STATES = {
    "/sign-in",
    "/first-admin",
    "/register",
    "/reset",
    "/reset/new",
    "/admin/changes",
    "/search/found",
    "/examine",
    "/report/week",
}
"""Forms before signing in, redirects, a document to print with the times of its own zone, a frame that is
not set, a part of a page, a form for recordings, which reads no store."""

NEW = {
    "/": "No Box has been heard yet.",
    "/incidents": "Nothing has happened yet.",
    "/sites": "No Box has a site.",
    "/past": "No Box can be chosen yet.",
    "/map": "No Box has a mark here.",
    "/wall": "Nothing has happened lately.",
    "/admin": "No Box is known yet",
    "/admin/boxes": "No Box is known yet.",
    "/admin/keys": "This View knows no key folder.",
    "/admin/plugins": "This View knows no rule engine.",
    "/admin/rules": "This View knows no rule engine.",
    "/admin/system": "This View knows no service.",
    "/admin/audit": "Nothing was changed yet.",
}
"""On its own machine, without Box, incident and account: why it is empty, and what changes that."""

NEW_OWNER = {
    "/": "You see no Box yet.",
    "/incidents": "Nothing has happened yet.",
    "/sites": "No Box has a site.",
    "/past": "You see no Box yet",
    "/map": "You see your own Boxes",
    "/account": "No Box yet.",
    "/account/boxes": "No Box is yours yet.",
    "/account/notifications": "You are not notified of anything yet.",
}
"""Signed in, and nothing is shared with them."""

STALE = {
    "/": "No Box reports now.",
    "/boxes/1": "No Box reports now.",
    "/map": "none of them reporting now",
    "/wall": "none of them reporting now",
}
"""The newest value of all Boxes is ten minutes old."""

FORBIDDEN = {
    "/boxes/1": (404, "shared with you"),
    "/boxes/1/settings": (404, "shared with you"),
    "/boxes/1/waveforms": (404, "shared with you"),
    "/incidents/1": (404, "shared with you"),
    "/incidents/1/examine": (404, "shared with you"),
    "/events/1": (404, "shared with you"),
    "/admin": (404, "administrator"),
    "/admin/audit": (404, "administrator"),
    "/nothing/here": (404, "There is no page at this address."),
    "/boxes/%2e%2e": (404, "is shown to you"),
    "/incidents/zero": (404, "numbered 1, 2, 3"),
    "/sites/mill": (404, "No site of this name"),
    "/past?box=1": (404, "No Box with this id is known"),
    "/past?of=region:north": (404, "No region of this name"),
    "/incidents?class=storm": (404, "There is no such class"),
    "/incidents?from=then": (400, "cannot be used"),
    "/?page=99": (404, "There is no page 99"),
}
"""Asked by an owner without a Box: what one may do, and never whether it exists."""


class FailingStore:
    """A store that can be taken away and given back; `people` goes with it."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._people = _Failing(store.people, self)
        self.away = False

    @property
    def people(self) -> object:
        return self._people

    def __getattr__(self, name: str) -> Any:
        return guarded(getattr(self._store, name), self)


class _Failing:
    """Records of people behind the same switch."""

    def __init__(self, records: object, switch: FailingStore) -> None:
        self._records = records
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        return guarded(getattr(self._records, name), self._switch)


def guarded(found: Any, switch: FailingStore) -> Any:
    if not callable(found):
        return found

    def call(*values: object, **named: object) -> Any:
        if switch.away:
            raise StoreError("/secret/place/store.db is gone")
        return found(*values, **named)

    return call


def html_routes(routes: object, walk: Callable[[Any], Any]) -> set[str]:
    """Paths of those that may answer with a page."""
    skipped = ("/api/", "/static", "/theme/", "/live", "/health", "/metrics", "/feeds/", "/robots.txt")
    paths = {route.partition(" ")[2] for route in walk(routes) if route.startswith("GET ")}
    ends = (".json", ".csv", ".svg", "/state", "/rows")
    return {path for path in paths if not path.startswith(skipped) and not path.endswith(ends)}
