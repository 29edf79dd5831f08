"""`/report` and `/api/v1/reports`: the week by a standard and the indices, as each visitor may see them."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import demo
import numpy as np
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.reports.week import week_of
from opq_cloud.store import BoxRecord
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE
from opq_proto.messages import Disturbance, Interval, Measurement

pytestmark = pytest.mark.usefixtures("cheap_argon2")
TEN_NS = 600 * 10**9
WEEK = week_of("last", "UTC", time.time_ns())


class Cast:
    """Box 1 is Olga's, on feeder f1 and at the site mill with Box 2 of another; Box 4 is public."""

    def __init__(self, scene: demo.Scene) -> None:
        self.scene, store = scene, scene.store
        self.ids = add_people(scene, root="admin", olga="owner", petra="owner")
        for box_id, feeder, site in (("1", "f1", "mill"), ("2", "f1", "mill"), ("4", "f2", None)):
            store.put_box(BoxRecord(box_id, f"house-{box_id}", feeder=feeder, site=site, nominal_v=120.0))
        for box_id, owner, privacy in (("1", "olga", "own"), ("2", "petra", "own"), ("4", "petra", "all")):
            access = BoxAccess(box_id, self.ids[owner], (), "all" if privacy == "all" else "owner")
            store.people.change_access(box_id, lambda _, access=access: access)
        rows = []
        for box_id in ("1", "2", "4"):
            for at in range(1008):
                start_ns = WEEK.start_ns + at * TEN_NS
                values = {"rms_v": 120.0, "f_hz": float(np.float32(60.0 - 0.01 * (at == 7)))}
                interval = Interval(600_000, False, 1.0, values)
                rows.append(
                    Measurement(
                        box_id, 1, {}, start_ns, start_ns + TEN_NS, 5, sequence=at + 1, interval=interval
                    )
                )
            dip_ns = WEEK.start_ns + 3600 * 10**9
            dip = Disturbance(box_id, "dip", dip_ns, dip_ns + 10**8, 1000, 84.0)
            rows.append(Measurement(box_id, 1, {}, dip_ns, dip_ns + 10**8, sequence=2000, disturbance=dip))
        store.intervals.append(rows)

    def browser(self, name: str) -> FormBrowser:
        people = self.scene.store.people
        account = people.account(self.ids[name])
        assert account is not None
        cookie = SignIn(people).begin_session(account, "127.0.0.1", "test")
        return FormBrowser(self.scene.url, {SESSION_COOKIE: cookie})


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with demo.Scene(tmp_path_factory.mktemp("reports"), poll_s=30.0) as running:
        yield Cast(running)


def boxes_of(browser: FormBrowser, query: str = "") -> list[str]:
    assert browser.get(f"/api/v1/reports/indices?{query}") == 200, browser.text
    return [each["box_id"] for each in json.loads(browser.text)["boxes"]]


def test_an_administrator_sees_every_place(cast: Cast) -> None:
    """The indices and the week report are those of the places."""
    root = cast.browser("root")
    assert boxes_of(root) == ["1", "2", "4"]
    found = json.loads(root.text)
    assert found["complete_percent"] == pytest.approx(100.0) and found["interruptions_per_box"] == 0
    assert found["sarfi"]["80"] == 1.0 and found["frequency"]["nadir_hz"] == pytest.approx(59.99)
    assert root.get("/report") == 200
    assert "Site mill" in root.text and "100.0\u202f%" in root.text and "house-4" in root.text
    assert root.get(f"/api/v1/reports/week?place=site:mill&week={WEEK.name}") == 200
    report = json.loads(root.text)
    assert (report["site"], report["week"]) == ("mill", WEEK.name)


def test_the_report_has_its_form_and_downloads(cast: Cast) -> None:
    root = cast.browser("root")
    assert root.get("/report/week?place=box:1&standard=ieee519&zone=Europe/Berlin") == 200
    assert "IEEE 519" in root.text and "<h1>Box 1" in root.text
    assert 'value="box:1" selected' in root.text, "also a Box of a site can be chosen"
    assert "script" not in root.headers["content-security-policy"]
    assert "default-src 'none'" in root.headers["content-security-policy"]
    assert (
        "/api/v1/reports/week?place=box%3A1&week=last&zone=Europe%2FBerlin&standard=ieee519&format=pdf"
        in (root.text)
    )
    assert root.get("/report/week?place=box:1&week=2026-W47") == 200
    assert 'value="2026-W47"' in root.text


def test_an_owner_sees_only_her_boxes(cast: Cast) -> None:
    """Her own Box 1 and the public Box 4, whose place she does not learn."""
    olga = cast.browser("olga")
    assert boxes_of(olga) == ["1", "4"]
    found = json.loads(olga.text)
    assert [each["feeder"] for each in found["feeders"]] == ["f1"], "the place of Box 4 is not hers to know"
    assert boxes_of(olga, "place=site:mill") == ["1"]
    assert olga.get("/report/week?place=all") == 200
    assert "house-2" not in olga.text and "house-4" in olga.text
    assert olga.get("/report/week?place=box:2") == 404
    assert olga.get("/api/v1/reports/week?place=box:2") == 400
    assert olga.get("/api/v1/reports/week?place=feeder:f2") == 400
    stranger = FormBrowser(cast.scene.url)
    assert boxes_of(stranger) == ["4"]
    assert stranger.get("/report") == 200 and "house-1" not in stranger.text


@pytest.mark.parametrize(
    "query",
    [
        "week=2026-W99",
        "standard=/etc/passwd.toml",
        "standard=magic",
        "place=planet:earth",
        "zone=Nowhere/Else",
        "week=2026-W47&bx=1",
        "format=exe",
    ],
)
def test_what_cannot_be_is_refused_in_words(cast: Cast, query: str) -> None:
    root = cast.browser("root")
    assert root.get(f"/api/v1/reports/week?{query}") == 400
    assert json.loads(root.text)["detail"] or json.loads(root.text)["errors"]
    assert root.get("/report?span=2026-13") == 404


def test_the_files_are_what_their_names_say(cast: Cast) -> None:
    root = cast.browser("root")
    for form, begin in (("csv", "site,"), ("html", "<!doctype html>"), ("json", "{")):
        assert root.get(f"/api/v1/reports/week?place=box:1&format={form}") == 200
        assert root.text.startswith(begin), form
        assert root.headers["content-disposition"].endswith(f'-box-1-en50160.{form}"')
    assert root.get("/api/v1/reports/indices?span=2026&format=csv") == 200
    assert "sarfi_90" in root.text


def test_a_week_report_can_be_a_pdf(cast: Cast) -> None:
    """A process beside View makes it."""
    pytest.importorskip("weasyprint", reason="needs the extra report")
    root = cast.browser("root")
    assert root.get("/api/v1/reports/week?place=box:1&format=pdf") == 200
    assert root.headers["content-type"] == "application/pdf" and root.text.startswith("%PDF-")


def dip_at(cast: Cast, box_id: str, hours_ago: float) -> int:
    start_ns = time.time_ns() - round(hours_ago * 3600) * 10**9
    outlet = replace(demo.OUTLETS[0], box_id=box_id)
    made = demo.put_event(
        cast.scene.store, [demo.waveform_of(outlet, start_ns, 1.0, 20)], f"{box_id}-{start_ns}"
    )
    assert made is not None
    return made.incident_id


def test_a_site_lists_its_incidents(cast: Cast) -> None:
    """Boxes 1 and 2 are the site; Box 4 is elsewhere. An incident links to those before and after it."""
    first, other, last = (dip_at(cast, box, hours) for box, hours in (("1", 30.0), ("4", 29.0), ("2", 28.0)))
    root = cast.browser("root")
    root.get("/incidents?site=mill")
    assert re.findall(r'data-incident="(\d+)"', root.text) == [str(last), str(first)]
    assert 'class="curve curve-itic"' in root.text and 'class="curve curve-f47"' in root.text
    root.get(f"/incidents/{first}")
    assert f'At site mill: <a href="/incidents/{last}">after, #{last}</a>' in root.text
    assert root.get("/incidents?site=nowhere") == 404
    assert root.get("/api/v1/exports/incidents?site=mill&format=json") == 200
    assert {each["id"] for each in json.loads(root.text)["incidents"]} == {first, last}
    olga = cast.browser("olga")  # does not know the place of Box 4, nor that of Box 2
    olga.get("/incidents?site=mill")
    assert re.findall(r'data-incident="(\d+)"', olga.text) == [str(first)]
    root.get("/")
    day = re.search(r'href="/incidents\?(class=sag&from=\d+&to=\d+)">\d+</a>', root.text)
    assert day is not None and root.get(f"/incidents?{day[1]}") == 200
    assert str(other) in root.text or str(first) in root.text or str(last) in root.text
