"""Every route of View, asked by every role, for a Box of one's own, one of another's, and a public one.

The routes are those of the application: a new one without a line in LINES fails. An answer to whoever may not
see a Box never holds its name.
"""

import http.client
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import demo
import pytest
from account_scene import FormBrowser, app_routes

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.store import BoxRecord
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.passwords import secret_hash
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import FORM_COOKIE, SESSION_COOKIE, Visitor, Visitors

ROLES = ("public", "viewer", "owner", "researcher", "admin")
BOXES = {"own": "1", "foreign": "2", "public": "4"}
"""Box 1 belongs to the owner and is shared with the viewer; 2 and 4 belong to somebody else, 4 is public."""
NAMES = {"1": "kitchen-of-ours", "2": "cellar-of-theirs", "4": "hall-of-all"}
SITE = "place-of-theirs"
"""The site of Boxes 2 and 4: the public sees Box 4, and not its place."""
SEES = {"public": "4", "viewer": "14", "owner": "14", "researcher": "124", "admin": "124"}
SEES_WAVEFORM = {"public": "", "viewer": "1", "owner": "1", "researcher": "124", "admin": "124"}
CHANGES = {"public": "", "viewer": "", "owner": "1", "researcher": "", "admin": "124"}
LINES = {
    "list": (
        "GET /",
        "GET /incidents",
        "GET /live",
        "GET /api/v1/availability",
        "GET /api/v1/recent",
        "GET /map",
        "GET /map/state",
        "GET /wall",
        "GET /past",
        "GET /report",
        "GET /report/week",
        "GET /api/v1/reports/week",
        "GET /api/v1/reports/indices",
        "GET /feeds/incidents.atom",
        "GET /sites",
        "GET /api/v1/sites",
        "GET /api/v1/boxes",
        "GET /api/v1/events",
        "GET /api/v1/incidents",
        "GET /api/v1/findings",
        "GET /api/v1/live",
        "GET /api/v1/exports/incidents",
        "GET /api/v1/exports/findings",
        "GET /api/v1/exports/changes",
        "GET /api/v1/phenomena",
        "GET /api/v1/docs",
        "GET /search",
        "GET /search/found",
    ),
    "box seen": (
        "GET /boxes/{box_id}",
        "GET /events/{event_id}",
        "GET /incidents/{incident_id}",
        "GET /incidents/{incident_id}/examine",
        "GET /incidents/{incident_id}/overlay",
        "GET /incidents/{incident_id}/examine/part",
        "GET /incidents/{incident_id}/examine/charts",
        "GET /api/v1/boxes/{box_id}",
        "GET /api/v1/events/{event_id}",
        "GET /api/v1/incidents/{incident_id}",
        "GET /api/v1/incidents/{incident_id}/findings",
        "GET /api/v1/incidents/{incident_id}/findings/export",
        "GET /api/v1/boxes/{box_id}/measurements",
        "GET /api/v1/boxes/{box_id}/trend",
        "GET /api/v1/boxes/{box_id}/intervals",
        "GET /api/v1/boxes/{box_id}/disturbances",
        "GET /api/v1/boxes/{box_id}/history",
    ),
    "site": ("GET /sites/{name:path}", "GET /api/v1/sites/{name:path}"),
    "public box": ("GET /share/incidents/{incident_id}",),
    "named Box": ("GET /api/v1/exports/measurements",),
    "rows seen": ("GET /api/v1/boxes/{box_id}/minutes",),
    "waveform seen": (
        "GET /api/v1/events/{event_id}/waveforms/{box_id}",
        "GET /api/v1/events/{event_id}/export",
        "GET /api/v1/incidents/{incident_id}/export",
    ),
    "box changed": (
        "GET /boxes/{box_id}/settings",
        "POST /boxes/{box_id}/settings",
        "POST /boxes/{box_id}/share",
        "POST /boxes/{box_id}/claim-code",
        "POST /boxes/{box_id}/release",
        "GET /boxes/{box_id}/waveforms",
        "POST /boxes/{box_id}/waveforms",
    ),
    "incident changed": (
        "POST /incidents/{incident_id}/note",
        "POST /incidents/{incident_id}/label",
        "POST /incidents/{incident_id}/split",
        "POST /incidents/{incident_id}/merge",
        "POST /incidents/{incident_id}/work",
    ),
    "token that writes": (
        "POST /api/v1/boxes/{box_id}/waveforms",
        "POST /api/v1/injections",
        "GET /api/v1/site-joins",
        "POST /api/v1/site-joins",
        "POST /api/v1/incidents/{incident_id}/work",
    ),
    "everybody": (
        "GET /health",
        "GET /metrics",
        "GET /theme/{file}",
        "GET /robots.txt",
        "GET /sign-in",
        "GET /reset",
        "GET /map/outlines.json",
        "GET /api/v1/openapi.json",
        "POST /sign-in",
        "POST /reset",
    ),
    "who has a link": (
        "GET /first-admin",
        "POST /first-admin",
        "GET /register",
        "POST /register",
        "GET /reset/new",
        "POST /reset/new",
    ),
    "signed in": (
        "GET /examine",
        "POST /examine",
        "GET /account",
        "GET /account/boxes",
        "GET /account/sites",
        "GET /account/data.json",
        "GET /account/second-factor",
        "POST /account/boxes",
        "POST /account/sites",
        "POST /incidents/work",
        "POST /incidents/{incident_id}/seen",
        "POST /account/profile",
        "POST /account/password",
        "POST /account/second-factor",
        "POST /account/second-factor/remove",
        "POST /account/sessions/end",
        "POST /account/tokens",
        "POST /account/tokens/end",
        "POST /account/delete",
        "POST /sign-out",
        "GET /account/notifications",
        "GET /account/notifications/new",
        "POST /account/notifications/new",
        "POST /account/notifications/tokens",
        "POST /account/notifications/tokens/end",
    ),
    "another's rule": (
        "GET /account/notifications/{rule_id}",
        "POST /account/notifications/{rule_id}",
        "POST /account/notifications/{rule_id}/delete",
        "POST /account/notifications/{rule_id}/test",
    ),
    "admin": (
        "GET /admin/accounts",
        "GET /admin/changes",
        "POST /admin/invitations",
        "POST /admin/invitations/end",
        "POST /admin/accounts/{account_id}",
        "POST /admin/accounts/{account_id}/sessions/end",
        "POST /admin/accounts/{account_id}/delete",
        "GET /admin",
        "GET /admin/boxes",
        "GET /admin/boxes/{box_id}",
        "POST /admin/boxes/{box_id}/facts",
        "POST /admin/boxes/{box_id}/rate",
        "POST /admin/boxes/{box_id}/retire",
        "POST /admin/boxes/{box_id}/return",
        "GET /admin/boxes/{box_id}/delete",
        "POST /admin/boxes/{box_id}/delete",
        "POST /admin/boxes/{box_id}/settings",
        "GET /admin/boxes/{box_id}/firmware",
        "POST /admin/boxes/{box_id}/firmware",
        "POST /admin/boxes/{box_id}/firmware/send",
        "POST /admin/boxes/{box_id}/firmware/stop",
        "POST /admin/boxes/{box_id}/firmware/follow",
        "GET /admin/keys",
        "POST /admin/keys",
        "POST /admin/keys/{box_id}/revoke",
        "POST /admin/keys/{box_id}/rotate",
        "GET /admin/plugins",
        "POST /admin/plugins",
        "POST /admin/plugins/mauka/{name}",
        "POST /admin/plugins/triggers/{name}",
        "POST /admin/plugins/{engine}/{name}/rollback",
        "POST /admin/plugins/{engine}/{name}/delete",
        "GET /admin/rules",
        "POST /admin/rules/{engine}/{rule}/run",
        "GET /admin/system",
        "POST /admin/system/retention",
        "GET /admin/audit",
        "GET /admin/audit.csv",
        "GET /admin/audit.json",
    ),
}
LINES["admin, of a service"] = ("GET /admin/system/mauka.svg",)
"""None runs here: who may ask hears that it does not answer, or is not configured."""
RULE_OF_OTHER = "0123456789abcdef"
LINE_OF = {route: line for line, routes in LINES.items() for route in routes}
HIDDEN = (401, 404)
NOTHING_SUCH = {
    "POST /account/sites",
    "POST /account/sessions/end",
    "POST /account/tokens/end",
    "POST /admin/invitations/end",
    "POST /account/notifications/tokens/end",
    "POST /admin/plugins",
    "POST /admin/plugins/{engine}/{name}/rollback",
    "POST /admin/plugins/{engine}/{name}/delete",
    "POST /admin/rules/{engine}/{rule}/run",
}
REFUSED_AS_TYPED = {
    "POST /account/delete",
    "POST /account/password",
    "POST /account/second-factor/remove",
}
"""They want the present password too, which the matrix does not send: 403 is the answer to who may."""


@dataclass
class Cast:
    """The scene with its people: account id by role."""

    scene: demo.Scene
    ids: dict[str, str]

    def browser(self, role: str) -> FormBrowser:
        """With a session of its own: a request may end it."""
        browser = FormBrowser(self.scene.url, {FORM_COOKIE: "a-browser"})
        if role != "public":
            people = self.scene.store.people
            account = people.account(self.ids[role])
            assert account is not None
            browser.cookies[SESSION_COOKIE] = SignIn(people).begin_session(account, "127.0.0.1", "matrix")
        return browser

    def restore(self) -> None:
        """Whose the Boxes are, and their names, where a request changed them."""
        store = self.scene.store
        found = store.people.accesses()
        for box_id, access in (
            ("1", BoxAccess("1", self.ids["owner"], (self.ids["viewer"],))),
            ("2", BoxAccess("2", self.ids["other"])),
            ("4", BoxAccess("4", self.ids["other"], (), "all")),
        ):
            if found.get(box_id) != access:
                store.people.change_access(box_id, lambda _, access=access: access)
            box = store.box(box_id)
            if box is None or box.name != NAMES[box_id]:
                store.put_box(BoxRecord(box_id, NAMES[box_id], site=None if box_id == "1" else SITE))


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    running = demo.Scene(tmp_path_factory.mktemp("matrix"), poll_s=0.2)
    store = running.store
    demo.fill(store, time.time_ns(), minutes=1)
    for number, outlet in enumerate(demo.OUTLETS):  # incident and event 2, 3, 4: one Box each
        dipping = replace(outlet, dip_v=demo.DIP_BOX_1)
        start_ns = time.time_ns() - (3600 + 600 * number) * 10**9
        demo.put_event(store, [demo.waveform_of(dipping, start_ns)], f"alone-{outlet.box_id}")
    ids = {}
    for role in (*ROLES[1:], "other"):
        account = store.people.add_account(
            f"{role}@example.org", role, "owner" if role == "other" else role, "no-hash"
        )
        assert account is not None
        ids[role] = account.account_id
    rule = NotificationRule(RULE_OF_OTHER, ids["other"], "cellar-of-theirs", "incident", "mail", 0)
    NotificationRecords(store.people.documents).put_rule(rule)
    found = Cast(running, ids)
    found.restore()
    with running:
        yield found


def routes_of_view(cast: Cast) -> list[str]:
    counters = ServiceCounters()
    services = ViewServices(
        cast.scene.store,
        LiveHub(counters),
        counters,
        visitors=Visitors(cast.scene.store.people, cast.scene.config),
        mailer=Mailer(MailSection(), counters),
    )
    return list(app_routes(create_app(services).routes))


def _incident_of(box_id: str) -> int:
    return {"1": 2, "2": 3, "4": 4}[box_id]


def _path(route: str, box_id: str, account_id: str) -> str:
    number = str(_incident_of(box_id))
    values = {"box_id": box_id, "incident_id": number, "event_id": number, "account_id": account_id}
    values["file"] = "dark.css"
    values["rule_id"] = RULE_OF_OTHER
    values["view_id"] = RULE_OF_OTHER
    name = SITE if "/sites/" in route else "none"
    values.update(rule_id=RULE_OF_OTHER, engine="none", name=name, rule="none", number="1")
    return re.sub(r"\{(\w+)(?::path)?\}", lambda found: values[found[1]], route.partition(" ")[2])


def test_the_matrix_has_every_route(cast: Cast) -> None:
    routes = routes_of_view(cast)
    assert len(routes) > 40
    assert set(routes) - set(LINE_OF) == set(), "a new route: say in LINES who may ask it"
    assert set(LINE_OF) - set(routes) == set()


@pytest.mark.parametrize("role", ROLES)
def test_the_matrix(cast: Cast, role: str) -> None:
    spare = cast.scene.store.people.add_account(f"spare-{role}@example.org", "Spare", "viewer", "no-hash")
    assert spare is not None
    wrong, reader = [], cast.browser(role)
    reads_first = sorted(LINE_OF, key=lambda route: not route.startswith("GET"))  # a form may end its session
    for route in reads_first:
        line = LINE_OF[route]
        per_box = "{box_id}" in route or "{incident_id}" in route or "{event_id}" in route
        for kind, box_id in BOXES.items() if per_box else (("-", "1"),):
            path = _path(route, box_id, spare.account_id)
            if route.startswith("GET"):
                browser = reader
                browser.get(path)
            else:
                browser = cast.browser(role)
                secret = browser.cookies.get(SESSION_COOKIE) or browser.cookies[FORM_COOKIE]
                browser.post(path, form_token=Visitor(form_secret=secret).form_token())
                cast.restore()
            hidden = [name for box, name in NAMES.items() if box not in SEES[role] and name in browser.text]
            named = SITE in browser.text and "/sites/" not in route  # an error's page repeats its address
            if named and role not in ("researcher", "admin"):
                hidden.append(SITE)
            verdict = _verdict(route, line, role, box_id, browser)
            if hidden or verdict:
                wrong.append(f"{route} for {kind}: {browser.status} {verdict} {hidden}")
    assert wrong == []
    assert cast.scene.view.counters.total("requests_failed") == 0


def _verdict(route: str, line: str, role: str, box_id: str, browser: FormBrowser) -> str:
    """What is wrong with the answer; empty: nothing."""
    status = browser.status
    may = {
        "list": True,
        "leads to the past": True,
        "past of a box seen": box_id in SEES[role],
        "box seen": box_id in SEES[role],
        "site": role in ("researcher", "admin"),
        "public box": box_id in SEES["public"],
        "rows seen": box_id in SEES[role],
        "named Box": True,
        "waveform seen": box_id in SEES_WAVEFORM[role],
        "box changed": box_id in CHANGES[role],
        "incident changed": box_id in CHANGES[role] or role == "researcher",
        "everybody": True,
        "who has a link": False,
        "to the provider": False,
        "signed in": role != "public",
        "another's rule": False,
        "admin": role == "admin",
        "token that writes": False,
        "admin, of a service": role == "admin",
        "all Boxes, of a service": role in ("admin", "researcher"),
    }[line]
    if route == "POST /boxes/{box_id}/claim-code" and role == "owner":
        return "" if status in (403, 404) else "an owner made a code"
    if line == "named Box":
        return "" if status == 400 else "the request names no Box"
    if line == "token that writes":
        return "" if status in (401, 403) else "a session wrote by the API"
    if line == "who has a link":
        return "" if status in (400, 404) else "without a link"
    if line == "to the provider":
        return "" if status in (400, 502) else "without a provider"
    if line.endswith(", of a service") and may:
        return "" if status in (404, 503) else "who answers?"
    if not may:
        return "" if status in HIDDEN else "not hidden"
    if line == "rows seen":
        return "" if status == 200 and json.loads(browser.text)["rows"] else "no rows"
    if "past" in line:
        return "" if status == 307 else "leads nowhere"
    if route.startswith("GET"):
        signed_in_already = route == "GET /sign-in" and role != "public" and status == 303
        return "" if status == 200 or signed_in_already else "not shown"
    allowed = (403,) if route in REFUSED_AS_TYPED else ()
    if route == "POST /sign-in" or (route == "POST /account/boxes" and role != "public"):
        allowed = (403,)  # without password; without proof, or as a role that claims nothing
    if route in NOTHING_SUCH:
        allowed = (404,)  # there is no such one
    return "" if status in (200, 204, 303, 400, 409, *allowed) else "refused"


@pytest.mark.parametrize("role", ROLES)
def test_lists_hold_what_the_role_sees(cast: Cast, role: str) -> None:
    """They hold nothing else."""
    browser = cast.browser(role)
    assert browser.get("/api/v1/boxes") == 200
    assert "".join(box["box_id"] for box in json.loads(browser.text)["items"]) == SEES[role]
    browser.get("/api/v1/incidents")
    seen = {box for each in json.loads(browser.text)["items"] for box in each["box_ids"]}
    assert seen == set(SEES[role])
    browser.get("/api/v1/recent")
    assert set(json.loads(browser.text)) == set(SEES[role])
    for path in ("/", "/incidents"):
        browser.get(path)
        assert {box for box, name in NAMES.items() if name in browser.text} == set(SEES[role]), path


@pytest.mark.parametrize("role", ROLES)
def test_api_and_files_hold_the_roles_boxes(cast: Cast, role: str) -> None:
    """They hold all of them, and no row of another Box."""
    browser = cast.browser(role)
    every = "&".join(f"box={box_id}" for box_id in BOXES.values())
    for path, field in (
        ("boxes", "box_id"),
        ("incidents", "box_ids"),
        ("findings", "box_id"),
        ("events", "received"),
        (f"exports/measurements?format=json&{every}&from=now-1h", "box_id"),
        ("exports/incidents?format=json", "box_ids"),
        ("exports/findings?format=json", "box_id"),
    ):
        assert browser.get(f"/api/v1/{path}") == 200, path
        found = json.loads(browser.text)
        (rows,) = [value for name, value in found.items() if isinstance(value, list)]
        assert {box_id for row in rows for box_id in row[field]} == set(SEES[role]), path
    for box_id in BOXES.values():
        seen = browser.get(f"/api/v1/exports/incidents?format=json&box={box_id}") == 200
        assert seen == bool(json.loads(browser.text).get("incidents")) == (box_id in SEES[role]), box_id


def published_ms(cast: Cast) -> int:
    """Publishes one Measurement of each Box, 4 last, until View has received them; returns their time, ms."""
    counters = cast.scene.view.counters
    stop_s = time.monotonic() + 240
    while time.monotonic() < stop_s:  # a PUB drops what it sends before its subscriber has joined
        before, t_ms = counters.total("measurements"), time.time_ns() // 1_000_000
        outlets = sorted(demo.OUTLETS, key=lambda outlet: outlet.box_id == "4")
        cast.scene.publish(*(demo.measurement_of(outlet, t_ms, 10**6) for outlet in outlets))
        again_s = time.monotonic() + 5
        while time.monotonic() < again_s:
            if counters.total("measurements") >= before + len(outlets):
                return t_ms
            time.sleep(0.01)
    raise AssertionError("View received no Measurement")


@pytest.mark.parametrize("values", ["?values=*", "?values=1,2,4", ""])
@pytest.mark.parametrize("role", ROLES)
def test_the_feed_holds_what_the_role_sees(cast: Cast, role: str, values: str) -> None:
    """It holds nothing else."""
    cookies = cast.browser(role).cookies
    parts = urlsplit(cast.scene.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)) as connection:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        connection.request("GET", f"/live{values}", headers=sent)
        answer = connection.getresponse()
        assert answer.status == 200
        t_ms, boxes, name, reporting = 0, set(), "", []
        while True:
            line = answer.readline().decode()
            assert line, "the feed ended"
            field, _, text = line.strip().partition(": ")
            name = text if field == "event" else name
            if field != "data":
                continue
            facts = json.loads(text)
            t_ms = t_ms or published_ms(cast)  # the feed is open; what comes of the others comes before Box 4
            if name == "reporting":
                reporting.append(facts["reporting"])
            if name == "measurement":
                boxes.add(facts["box_id"])
                if facts["box_id"] == "4" and facts["timestamp_ms"] >= t_ms:
                    break
    assert boxes == set(SEES[role])
    assert all(count <= len(SEES[role]) for count in reporting) and bool(reporting) == bool(values)


@pytest.mark.parametrize("role", ROLES)
def test_the_feeds_map_equals_the_maps_state(cast: Cast, role: str) -> None:
    """A role sees no mark, figure or name by the feed that /map/state would not answer."""
    browser = cast.browser(role)
    parts = urlsplit(cast.scene.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)) as connection:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
        connection.request("GET", "/live?values=&map=", headers=sent)
        answer = connection.getresponse()
        assert answer.status == 200
        while answer.readline().strip() != b"event: map":
            pass
        text = answer.readline().decode().removeprefix("data: ")
    fed = json.loads(text)["state"]
    browser.get("/map/state")
    state = json.loads(browser.text)
    assert fed.keys() == state.keys() and fed["incidents"] == state["incidents"]
    assert fed["marks"].keys() == state["marks"].keys()
    assert fed["figures"].keys() == state["figures"].keys()
    assert {box for box, name in NAMES.items() if name in text} <= set(SEES[role])


@pytest.mark.parametrize("role", ROLES)
def test_the_search_finds_what_the_role_sees(cast: Cast, role: str) -> None:
    """By name, number and place; an incident by its number; neither page nor palette says more."""
    browser = cast.browser(role)
    for route in ("/search", "/search/found"):
        for box_id, name in NAMES.items():
            for words in (name, name[:6], f"box {box_id}", f"incident {_incident_of(box_id)}"):
                browser.get(f"{route}?q={words.replace(' ', '+')}")
                paths = (f'/boxes/{box_id}"', f'/incidents/{_incident_of(box_id)}"')
                assert any(path in browser.text for path in paths) == (box_id in SEES[role]), (route, words)
                assert name in words or name not in browser.text or box_id in SEES[role]
        browser.get(f"{route}?q=log+of+changes")
        assert ("/admin/audit" in browser.text) == (role == "admin")


def test_a_session_that_ended_is_nobodys(cast: Cast) -> None:
    browser = cast.browser("admin")
    assert browser.get("/boxes/2") == 200
    made_for = re.search(r'data-feed="([^"]+)"', browser.text)
    assert made_for
    cast.scene.store.people.end_session(secret_hash(browser.cookies[SESSION_COOKIE]))
    assert browser.get("/boxes/2") == 404
    with urllib.request.urlopen(f"{cast.scene.url}/live?values=*&feed={made_for[1]}", timeout=240) as feed:
        assert feed.read().decode() == "retry: 1000\n\nevent: ended\ndata: {}\n\n"
