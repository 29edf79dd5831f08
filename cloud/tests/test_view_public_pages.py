"""Pages of the public over the application itself: who sees what, policies, the feed."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from demo_grid import ISLAND, fill_island, island_measurement, put_travelling_sag

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.fuzz import distance_km
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE, Visitors
from opq_cloud.view.web.web_guard import ViewGuard
from opq_proto.messages import Finding, Incident, WaveformAlignment

PUBLIC = ("21", "22", "27")
REGIONAL = ("23", "24", "25", "26")
"""One of Central, two of North Shore, one of Honolulu."""
NOBODYS = ("28", "29")
AT = {each.box_id: each.at for each in ISLAND}
NAMES = {each.box_id: each.name for each in ISLAND}


@dataclass
class PublicView:
    """An application over a store of its own, asked as by a browser from elsewhere."""

    store: CloudStore
    hub: LiveHub
    config: ViewSection
    incident: Incident
    now_ns: int
    _app: ViewGuard | None = None

    def changed(self) -> None:
        """What the application knows of the store is read again."""
        self._app = None

    def app(self) -> ViewGuard:
        if self._app is None:
            self._app = self._made()
        return self._app

    def _made(self) -> ViewGuard:
        counters = ServiceCounters()
        services = ViewServices(
            self.store,
            self.hub,
            counters,
            now_ns=lambda: self.now_ns,
            visitors=Visitors(self.store.people, self.config),
            mailer=Mailer(MailSection(), counters),
        )
        return ViewGuard(create_app(services), {"pq.example"})

    def get(
        self, path: str, cookies: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.get_all([path], cookies, headers)[0]

    def get_all(
        self,
        paths: list[str],
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[httpx.Response]:
        async def ask() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app(), client=("192.0.2.7", 1))
            base = "http://pq.example"
            async with httpx.AsyncClient(transport=transport, base_url=base, cookies=cookies) as client:
                return [await client.get(path, headers=headers) for path in paths]

        return asyncio.run(ask())

    def admin(self) -> dict[str, str]:
        people = self.store.people
        found = people.account_of("a@b.example") or people.add_account("a@b.example", "A", "admin", "no-hash")
        assert found is not None
        return {SESSION_COOKIE: SignIn(people).begin_session(found, "192.0.2.7", "test")}

    def hear(self) -> None:
        now_ms = self.now_ns // 1_000_000
        for outlet in ISLAND:
            self.hub.accept_measurement(island_measurement(outlet, now_ms, 1), received_ms=now_ms)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[PublicView]:
    """Three public Boxes, four that count in their regions, two that the public may not see."""
    store = open_store(None, tmp_path)
    now_ns = time.time_ns()
    incident = fill_island(store, now_ns, minutes=2)
    for box_id in PUBLIC:
        store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id, privacy="all"))
    for box_id in REGIONAL:
        store.people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, f"owner {b}", privacy="region"))
    made = PublicView(store, LiveHub(ServiceCounters()), ViewSection(), incident, now_ns)
    made.hear()
    made.hub.accept_incident(incident)
    yield made
    store.close()


def shown_places(
    view: PublicView, cookies: Mapping[str, str] | None = None
) -> dict[str, tuple[float, float]]:
    """Where the map draws each Box."""
    text = view.get("/map?at=21.45,-157.93&km=150", cookies).text
    marks = re.findall(r'data-mark="box-(\w+)" data-lat="(\S+)" data-lon="(\S+)"', text)
    return {box_id: (float(latitude), float(longitude)) for box_id, latitude, longitude in marks}


def test_the_public_map_shows_public_boxes_only(view: PublicView) -> None:
    """The public's map shows public Boxes only, none at its exact place."""
    found = shown_places(view)
    assert set(found) == set(PUBLIC)
    for box_id, at in found.items():
        assert 1.9 < distance_km(at, AT[box_id]) < 6.6, box_id  # 2 km to 6.5 km, and the drawing's tenths
    assert shown_places(view) == found


def test_a_permitted_visitor_sees_the_exact_place(view: PublicView) -> None:
    found = shown_places(view, view.admin())
    assert set(found) == set(AT)
    assert all(distance_km(at, AT[box_id]) < 0.2 for box_id, at in found.items())


def test_another_installation_shows_the_same_boxes_elsewhere(view: PublicView, tmp_path: Path) -> None:
    other = open_store(None, tmp_path / "other")
    fill_island(other, view.now_ns, minutes=1)
    for box_id in PUBLIC:
        other.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id, privacy="all"))
    elsewhere = replace(view, store=other, _app=None)
    assert all(
        distance_km(at, shown_places(elsewhere)[box_id]) > 0.05 for box_id, at in shown_places(view).items()
    )
    other.close()


EVERY_PAGE = (
    "/map",
    "/map/state",
    "/past?of=grid:1",
    "/past?of=grid:&q=f_hz,rms_v&from=now-24h",
    "/wall",
    "/feeds/incidents.atom",
    "/share/incidents/1",
    "/incidents/1",
    "/api/v1/incidents/1",
    "/incidents",
    "/api/v1/incidents",
)


def test_no_page_exceeds_the_owners_choice(view: PublicView) -> None:
    """Names of Boxes that are not public, and places of any, in whatever form."""
    for path, answer in zip(EVERY_PAGE, view.get_all(list(EVERY_PAGE)), strict=True):
        assert answer.status_code == 200, path
        hidden = [NAMES[box_id] for box_id in (*REGIONAL, *NOBODYS) if NAMES[box_id] in answer.text]
        assert hidden == [], path
        others = "|".join((*REGIONAL, *NOBODYS))
        assert not re.search(rf"\bBox (?:{others})\b|boxes/(?:{others})\b", answer.text), path
        text = answer.text
        assert [at for at in AT.values() if f"{at[0]:.3f}" in text and f"{at[1]:.3f}" in text] == [], path


def test_a_public_incident_hides_its_centre(view: PublicView) -> None:
    """The centre of one Box would be the Box's own place."""
    alone = put_travelling_sag(view.store, view.now_ns - 10**9, ISLAND[:1], "local")
    assert alone.centre is None or alone.centre == pytest.approx(ISLAND[0].at, abs=1e-3)
    found = view.get(f"/api/v1/incidents/{alone.incident_id}").json()
    assert found["box_ids"] == ["21"] and found["centre"] is None


def test_a_reference_clock_needs_its_boxs_permission(view: PublicView) -> None:
    """A waveform was compared with that of a Box that the public may not see; one that is public stays."""
    at_ns, poor_ns = view.now_ns - 300 * 10**9, 300_000_000
    by_28, by_21 = (
        WaveformAlignment(box_id, -2_000_000, 18_600, 1000, 7, f"ahead of that of Box {box_id}")
        for box_id in ("28", "21")
    )
    one = Finding("sag", "21", at_ns, at_ns + 10**8, 1000)
    findings = [one, replace(one, box_id="22", uncertainty_ns=poor_ns, alignment=by_28, clock_id=7)]
    findings.append(replace(one, box_id="27", uncertainty_ns=poor_ns, alignment=by_21))
    (number,) = {each.incident_id for each in put_findings(view.store, 1, findings)}
    paths = [f"/incidents/{number}", f"/share/incidents/{number}", "/feeds/incidents.atom"]
    paths += [f"/api/v1/incidents/{number}", f"/api/v1/incidents/{number}/findings"]
    *pages, whole, listed = view.get_all(paths)
    told = {each["box_id"]: each for each in listed.json()["items"]}
    assert [told[box_id]["alignment"] is None for box_id in ("22", "27")] == [True, False]
    by = {each["box_id"]: each["aligned_to"] for each in whole.json()["arrivals"]}
    assert by == {"21": None, "22": None, "27": "21"} and told["22"]["clock_id"] is None
    for answer in (*pages, whole, listed):
        assert answer.status_code == 200 and not re.search(r'Box 28|boxes/28|"28"', answer.text)
    admins, theirs = view.get_all(paths[3:5], view.admin())
    assert "that of Box 28" in theirs.text and '"aligned_to":"28"' in admins.text


def test_share_and_feed_are_equal_for_everyone(view: PublicView) -> None:
    """For an administrator and the public."""
    paths = ["/feeds/incidents.atom"]
    nobodys, admins = view.get_all(paths), view.get_all(paths, view.admin())
    assert [each.text for each in nobodys] == [each.text for each in admins]
    shared = view.get("/share/incidents/1", view.admin()).text
    assert "harbour" in shared and "cape" not in shared
    assert "cape" in view.get("/map", view.admin()).text
    hidden = put_travelling_sag(view.store, view.now_ns - 10**9, ISLAND[-1:])
    assert view.get(f"/share/incidents/{hidden.incident_id}", view.admin()).status_code == 404


def test_regions_need_three_boxes_hidden_elsewhere(view: PublicView) -> None:
    """Two of North Shore do not count; a third makes a region of them."""
    figures = view.get("/map/state").json()["figures"]
    assert not any("North Shore" in name or "Central" in name for name in figures)
    assert figures["region Honolulu boxes"].startswith(
        "1 Box"
    )  # the public one; one hidden beside it does not count
    assert figures["grid 1 boxes"].startswith("3 Boxes")
    view.store.put_box(BoxRecord("23", "highland", region="North Shore"))
    view.changed()
    state = view.get("/map/state").json()
    assert state["figures"]["region North Shore boxes"].startswith("3 Boxes")
    assert state["figures"]["grid 1 boxes"].startswith("6 Boxes")
    assert set(state["marks"]) == {"box-21", "box-22", "box-27", "region-North Shore"}
    assert "North Shore" in view.get("/past").text and "North Shore" in view.get("/map").text


def test_two_boxes_of_one_read_no_third(view: PublicView) -> None:
    """An owner adds Boxes to the region of two others until half are theirs: its figures are not shown."""
    view.store.put_box(BoxRecord("23", "highland", region="North Shore"))
    view.changed()
    assert "region North Shore u" in view.get("/map/state").json()["figures"]
    for box_id in ("24", "23"):
        access = BoxAccess(box_id, "owner 23", privacy="region")
        view.store.people.change_access(box_id, lambda _, access=access: access)
        view.changed()
        for path in ("/map", "/map/state", "/wall", "/past"):
            assert "North Shore" not in view.get(path).text, path
        assert view.get("/past?of=region:North+Shore").status_code == 404
        state = view.get("/map/state").json()
        assert state["figures"]["grid 1 boxes"].startswith("3 Boxes"), "those that everybody sees"
        assert state["summary"].startswith("3 Boxes")


def test_a_region_has_frequency_and_visible_incidents(
    view: PublicView,
) -> None:
    """A region says its frequency and the incidents of the day that its visitor may see."""
    region, (incident,) = "Honolulu", view.store.incidents()
    everybodys, admins = view.get("/map").text, view.get("/map", view.admin()).text
    link = f'<a href="/incidents?region={region}&amp;from=now-24h">of the last day</a>'
    for page in (everybodys, admins):
        assert f'data-figure="region {region} f"' in page
    assert link in admins and incident.start_ns > time.time_ns() - 86_400 * 10**9
    assert f"/past?of=region:{region}&amp;" in admins
    view.store.put_box(BoxRecord("23", "highland", region="North Shore"))
    view.changed()
    row = next(each for each in view.get("/map").text.split("<tr>") if "North Shore" in each)
    assert "/incidents?" not in row, "figures of a region say nothing of its incidents"


def test_a_regions_only_view_shows_the_map(view: PublicView) -> None:
    """It shows nothing else."""
    for box_id in PUBLIC:
        view.store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id))
    view.store.put_box(BoxRecord("23", "highland", region="North Shore"))
    view.changed()
    found = {path: view.get(path).status_code for path in ("/", "/map", "/past", "/wall", "/api/v1/boxes")}
    assert found == {"/": 303, "/map": 200, "/past": 200, "/wall": 200, "/api/v1/boxes": 401}
    for box_id in REGIONAL:
        view.store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id))
    view.changed()
    assert view.get("/map").status_code == 303
    assert view.get("/map/state").status_code == 401
    assert view.get("/feeds/incidents.atom").status_code == 200  # and empty: a reader is not sent to a form


def test_a_silent_box_is_the_worst_mark(view: PublicView) -> None:
    """It gets the loudest mark of the map."""
    app = view.get("/map/state").json()
    assert {mark["tone"] for mark in app["marks"].values()} == {"normal"}
    view.now_ns += 60 * 10**9
    view.changed()
    state = view.get("/map/state").json()
    assert {mark["tone"] for mark in state["marks"].values()} == {"silent"}
    assert "none of them reporting" in state["summary"] and state["figures"]["grid 1 f"] == "–"


def test_an_unchanged_state_is_not_resent(view: PublicView) -> None:
    first = view.get("/map/state")
    again = view.get("/map/state", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    view.now_ns += 60 * 10**9
    view.changed()
    later = view.get("/map/state", headers={"If-None-Match": first.headers["etag"]})
    assert later.status_code == 200 and later.headers["etag"] != first.headers["etag"]


def test_a_window_address_is_drawn_or_explained(view: PublicView) -> None:
    """A window of the address is drawn and a wrong one is named."""
    assert "data-mark" not in view.get("/map?at=48,11&km=300").text
    assert "3 Boxes lie" in view.get("/map?at=48,11&km=300").text
    for path in (
        "/map?at=here",
        "/wall?km=3",
        "/map/state?at=1,1&km=0",
        "/wall?theme=pink",
    ):
        answer = view.get(path)
        assert answer.status_code in (400, 404), path
    assert "latitude and longitude" in view.get("/map?at=here&km=9").text
    outlines = view.get("/map/outlines.json?at=21.3,-157.8&km=120")
    assert outlines.headers["content-type"] == "application/geo+json" and outlines.json()["features"]
    assert "latitude and longitude" in view.get("/map/outlines.json?at=here&km=9").json()["error"]


# Policies
def policies(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_no_page_may_be_framed(view: PublicView) -> None:
    for path in (*EVERY_PAGE, "/", "/nothing"):
        assert policies(view.get(path))["frame-ancestors"] == "'none'", path


def test_tiles_are_allowed_on_map_pages_only(view: PublicView) -> None:
    """From their origin alone."""
    view.config = replace(
        view.config,
        tile_url="https://tiles.example:8443/{z}/{x}/{y}.png",
        tile_attribution="A <mapper>",
    )
    for path in ("/map", "/wall"):
        answer = view.get(path)
        assert policies(answer)["img-src"] == "'self' https://tiles.example:8443", path
        assert 'data-tiles="https://tiles.example:8443/{z}/{x}/{y}.png"' in answer.text
        assert "A &lt;mapper&gt;" in answer.text
    for path in ("/past", "/", "/share/incidents/1"):
        assert policies(view.get(path))["img-src"] == "'self'", path


# Feeds
def test_an_independent_reader_reads_the_atom_feed(view: PublicView) -> None:
    feedparser = pytest.importorskip("feedparser", reason="needs the dev extra's feedparser")
    view.store.put_box(BoxRecord("21", "har<b>our & 'quay'\x0b ]]> \U0001f600"))
    found = feedparser.parse(view.get("/feeds/incidents.atom").content)
    assert not found.bozo and found.version == "atom10"
    (entry,) = found.entries
    assert entry.id == "tag:pq.example,2026:incidents/1"
    assert entry.link == "http://pq.example/share/incidents/1"
    assert "har<b>our & 'quay'\ufffd ]]> \U0001f600" in entry.title
    assert abs(time.mktime(entry.published_parsed) - time.timezone - view.incident.start_ns / 1e9) < 1.5
    assert found.feed.links[0].href.endswith("/feeds/incidents.atom")


def test_an_unchanged_feed_is_not_resent(view: PublicView) -> None:
    path = "/feeds/incidents.atom"
    etag, year = view.get(path).headers["etag"], "Fri, 31 Dec 2100 00:00:00 GMT"
    for known, status in ((etag, 304), ("*", 304), ('"other"', 200)):
        answer = view.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, bool(answer.content)) == (status, status == 200), known
    for box_id in PUBLIC:  # what was public goes, and no reader takes what it has for what there is
        view.store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id))
    view.changed()
    for headers in ({"If-None-Match": etag}, {"If-Modified-Since": year}):
        answer = view.get(path, headers=headers)
        assert answer.status_code == 200 and b"share/incidents" not in answer.content


# An incident that is shared
def test_a_shared_incident_shows_public_boxes(
    view: PublicView,
) -> None:
    """A shared incident lists public Boxes in order, without others' scope."""
    text = view.get("/share/incidents/1").text
    assert re.findall(r'<th scope="row"><a href="/boxes/(\d+)"', text) == ["21", "22", "27"]
    own = view.get("/incidents/1").text
    lasted = [re.findall(r"<dt>Duration</dt><dd>([^<]+)", each) for each in (text, own)]
    assert lasted[0] == lasted[1] != [], "one duration for one incident"
    assert "Wide area" not in text and 'property="og:title"' in text
    state = json.loads(view.get("/map/state").text)
    assert state["incidents"][0]["scope"] == ""


def test_a_single_box_incident_has_no_map(view: PublicView) -> None:
    alone = put_travelling_sag(view.store, view.now_ns - 10**9, ISLAND[:1], "local")
    text = view.get(f"/share/incidents/{alone.incident_id}").text
    assert "Its way cannot be shown" in text and "Local" in text
    assert view.get("/share/incidents/x").status_code == 404


def test_a_box_without_place_is_listed_only(view: PublicView) -> None:
    view.store.put_location(LocationRecord("nowhere", 500.0, 0.0))
    view.store.put_box(BoxRecord("22", "school", location="nowhere"))
    text = view.get("/share/incidents/1").text
    assert re.findall(r'data-arrival="(\d+)"', text) == ["1", "3"]
    assert "(no place)" in text and "1 Box has no place" in view.get("/map").text


def test_a_places_name_needs_permission(view: PublicView) -> None:
    view.store.put_location(LocationRecord("elm-street-12", 21.3, -157.8, "12, Elm Street"))
    view.store.put_box(BoxRecord("21", "", location="elm-street-12", feeder="f7", phase="a"))
    paths = ["/boxes/21", "/api/v1/boxes", "/api/v1/boxes"]
    for answer in view.get_all(paths):
        assert answer.status_code == 200
        assert "lm-street" not in answer.text and "Elm" not in answer.text and "f7" not in answer.text
    page, *lists = view.get_all(paths, cookies=view.admin())
    assert "At 12, Elm Street, feeder f7, phase a. " in page.text
    assert all("elm-street-12" in each.text for each in lists)
