"""Notes, labels, splits and merges on an incident's page: who may, what is kept and shown, and to whom."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote

import demo
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store.incidents.index import IncidentWork
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

pytestmark = pytest.mark.usefixtures("cheap_argon2")
ROLES = {"root": "admin", "rita": "researcher", "olga": "owner", "vera": "viewer"}


class Cast:
    """A scene with its people; Box 1 is Olga's, shared with Vera; 4 is another's."""

    def __init__(self, scene: demo.Scene) -> None:
        self.scene = scene
        self.made = 0
        self.ids = add_people(scene, **ROLES)
        access = BoxAccess("1", self.ids["olga"], (self.ids["vera"],))
        scene.store.people.change_access("1", lambda _: access)

    def browser(self, name: str) -> FormBrowser:
        people = self.scene.store.people
        account = people.account(self.ids[name])
        assert account is not None
        cookie = SignIn(people).begin_session(account, "127.0.0.1", "test")
        return FormBrowser(self.scene.url, {SESSION_COOKIE: cookie})

    def incident(self, *box_ids: str) -> int:
        """A new one: the same dip at each of these Boxes, an hour before the one made last."""
        self.made += 1
        start_ns = time.time_ns() - self.made * 3600 * 10**9
        waves = [
            demo.waveform_of(replace(demo.OUTLETS[0], box_id=each), start_ns, 1.0, 20) for each in box_ids
        ]
        made = demo.put_event(self.scene.store, waves, f"edit-{self.made}")
        assert made is not None and made.box_ids == box_ids
        return made.incident_id


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with demo.Scene(tmp_path_factory.mktemp("edits"), poll_s=30.0) as running:
        yield Cast(running)


def test_a_note_has_author_time_without_markup(cast: Cast) -> None:
    number = cast.incident("1")
    olga = cast.browser("olga")
    page = f"/incidents/{number}"
    text = '<script>alert("x")</script> the crane again'
    assert olga.post(f"{page}/note", page, text=text.replace(" the", "\r\nthe") + "\x1b") == 303
    assert olga.headers["location"] == f"{page}#said"
    assert olga.get(page) == 200
    assert re.search(r"Olga wrote, <time [^>]+>\d{4}-\d\d-\d\d \d\d:\d\d UTC</time>", olga.text)
    assert "the crane again" in olga.text
    assert [note.text for note in cast.scene.store.notes(number)] == [text]
    cookie = {"Cookie": f"{SESSION_COOKIE}={olga.cookies[SESSION_COOKIE]}"}
    with urllib.request.urlopen(urllib.request.Request(cast.scene.url + page, headers=cookie)) as answer:
        assert b"&lt;script&gt;alert(" in answer.read()
    assert cast.scene.store.people.changes.entries()[0].what == "wrote a note"


def test_a_manual_class_can_be_taken_back(cast: Cast) -> None:
    """A class by hand is shown with what the analyses say and can be taken back."""
    number = cast.incident("1")
    rita = cast.browser("rita")
    page = f"/incidents/{number}"
    assert rita.post(f"{page}/label", page, **{"class": "mains_signalling"}) == 303
    rita.get(page)
    assert "<h1>Mains signalling at" in rita.text
    assert "the analyses say “Sag”" in rita.text
    rita.get(f"/api/v1/incidents/{number}")
    found = json.loads(rita.text)
    assert (found["class"], found["machine_class"]) == ("mains_signalling", "sag")
    assert rita.post(f"{page}/label", page, **{"class": "magic"}) == 400
    assert "is not a class" in rita.text
    assert rita.post(f"{page}/label", page, **{"class": ""}) == 303
    rita.get(f"/api/v1/incidents/{number}")
    assert (json.loads(rita.text)["class"], json.loads(rita.text)["machine_class"]) == ("sag", None)


def test_split_and_merge_lead_to_their_result(cast: Cast) -> None:
    """A split and a merge by the page lead to what they made."""
    number = cast.incident("1", "4")
    rita = cast.browser("rita")
    page = f"/incidents/{number}"
    rita.get(page)
    chosen = re.findall(r'name="(finding-\d+)"> Box 4', rita.text)
    assert len(chosen) == 1
    assert rita.post(f"{page}/split", page, **{chosen[0]: "on"}) == 303
    fresh = int(re.findall(r"/incidents/(\d+)#said", rita.headers["location"])[0])
    rita.get(f"/incidents/{fresh}")
    assert fresh != number and f"it was a part of incident #{number}" in rita.text
    assert cast.scene.store.incident(number).box_ids == ("1",)  # type: ignore[union-attr]
    assert rita.post(f"{page}/merge", page, others=f"#{fresh}") == 303
    assert rita.headers["location"] == f"{page}#said"
    assert cast.scene.store.incident(number).box_ids == ("1", "4")  # type: ignore[union-attr]
    for path in ("", "/examine"):
        assert rita.get(f"/incidents/{fresh}{path}") == 301
        assert rita.headers["location"] == f"{page}{path}"
    assert f"is part of incident {number} now" in rita.text
    api = "/api/v1/incidents"
    rita.get(f"{api}/{fresh}")
    assert (rita.status, rita.headers["location"]) == (301, f"{api}/{number}")
    assert rita.get(f"/api/v1/incidents/{fresh}/export?format=csv") == 301
    assert rita.headers["location"] == f"/api/v1/incidents/{number}/export?format=csv"
    assert rita.get(f"/api/v1/incidents/{fresh}/findings/export") == 301
    assert (json.loads(rita.text)["status"], json.loads(rita.text)["title"]) == (301, "Moved Permanently")
    assert cast.browser("olga").get(f"/incidents/{fresh}") == 404, "its finding was at Box 4 alone"
    assert FormBrowser(cast.scene.url).get(f"/share/incidents/{fresh}") == 404, "its past is hidden"


def test_an_unseen_merge_is_not_revealed(cast: Cast) -> None:
    """A visitor who may not see the merged incident learns nothing of the merge."""
    first, second = cast.incident("4"), cast.incident("4")
    kept = IncidentEditor(cast.scene.store).merge_incidents([first, second], cast.ids["root"])
    (gone,) = {first, second} - {kept}
    assert cast.browser("rita").get(f"/incidents/{gone}") == 301
    vera = cast.browser("vera")
    assert vera.get(f"/incidents/{gone}") == vera.get(f"/api/v1/incidents/{gone}") == 404


def test_a_partly_seen_merge_is_not_revealed(cast: Cast) -> None:
    """Whoever sees a part of the merged incident does not learn which numbers became part of it."""
    olga, editor = cast.browser("olga"), IncidentEditor(cast.scene.store)
    for other, answer in (("4", 404), ("1", 301)):
        first, second = cast.incident("1"), cast.incident(other)
        assert editor.merge_incidents([first, second], cast.ids["root"]) == first
        assert olga.get(f"/incidents/{first}") == 200
        for path in ("", "/examine", "/overlay"):
            assert olga.get(f"/incidents/{second}{path}") == answer, (other, path)
        for path in ("", "/findings"):
            assert olga.get(f"/api/v1/incidents/{second}{path}") == answer, (other, path)


@pytest.mark.parametrize("what", ["note", "label", "split", "merge", "work"])
def test_a_refused_editor_learns_nothing(cast: Cast, what: str) -> None:
    """A visitor without the right to change an incident learns nothing of it."""
    number = cast.incident("1", "4")  # Olga owns one of its Boxes, not both
    for name in ("olga", "vera"):
        browser = cast.browser(name)
        browser.get("/account")
        before = cast.scene.store.notes(number)
        assert browser.post(f"/incidents/{number}/{what}", text="x", others="1") == 404, name
        assert browser.post("/incidents/work", do="acknowledge", **{f"incident-{number}": "on"}) == 404
        assert cast.scene.store.notes(number) == before
    stranger = FormBrowser(cast.scene.url)
    assert stranger.post(f"/incidents/{number}/{what}", text="x") in (401, 403)


def test_a_form_without_our_token_changes_nothing(cast: Cast) -> None:
    number = cast.incident("1")
    rita = cast.browser("rita")
    page = f"/incidents/{number}"
    assert rita.post(f"{page}/note", page, text="x", form_token="y" * 48) == 403
    assert rita.post(f"{page}/note", page, {"Origin": "https://elsewhere.example"}, text="x") == 403
    assert cast.scene.store.notes(number) == []


def test_a_note_needs_sight_of_every_box(cast: Cast) -> None:
    number = cast.incident("1", "4")
    rita = cast.browser("rita")
    assert rita.post(f"/incidents/{number}/note", f"/incidents/{number}", text="Box 4 is in the lab") == 303
    vera = cast.browser("vera")
    assert vera.get(f"/incidents/{number}") == 200
    assert "in the lab" not in vera.text and "Notes and changes" not in vera.text


def test_a_deleted_account_leaves_notes_without_name(cast: Cast) -> None:
    """Personal data contain the account's notes, and a deleted account leaves no name."""
    number = cast.incident("1")
    gone = add_people(cast.scene, gil="researcher")["gil"]
    cast.ids["gil"] = gone
    gil = cast.browser("gil")
    assert gil.post(f"/incidents/{number}/note", f"/incidents/{number}", text="mine alone") == 303
    gil.get("/account/data.json")
    assert [note["text"] for note in json.loads(gil.text)["notes"]] == ["mine alone"]
    root = cast.browser("root")
    assert root.post(f"/admin/accounts/{gone}/delete", "/admin/accounts") == 303
    assert cast.scene.store.notes_of(gone) == []
    rita = cast.browser("rita")
    rita.get(f"/incidents/{number}")
    assert "somebody whose account is gone wrote" in rita.text


def test_work_on_the_page_is_found_and_logged(cast: Cast) -> None:
    """Work is done on the page, found by the filter and logged."""
    number, other = cast.incident("1"), cast.incident("1")
    rita, page = cast.browser("rita"), f"/incidents/{number}"
    rita.get("/incidents?work=open")
    assert f'href="/incidents/{number}?work=open"' in rita.text and "Acknowledge the chosen" in rita.text
    sent = {"assigned": cast.ids["olga"], "cause": "the crane", "acknowledge": "yes"}
    assert rita.post(f"{page}/work", page, **sent) == 303
    assert rita.headers["location"] == f"{page}#work"
    rita.get(page)
    assert "Acknowledged, assigned to Olga. Known cause: the crane." in rita.text
    assert re.search(r"Rita assigned it, .{0,200}to Olga", rita.text, re.S)
    first = cast.scene.store.people.changes.entries()[0]
    assert (first.what, first.subject, first.account_id) == (
        "worked on an incident",
        f"incident {number}",
        cast.ids["rita"],
    )
    assert first.after == {"work": "acknowledged", "assigned_to": cast.ids["olga"], "cause": "stated"}
    olga = cast.browser("olga")
    olga.get("/incidents?assigned=me&cause=known")
    assert re.findall(r'data-incident="(\d+)"', olga.text) == [str(number)]
    assert "Acknowledged, Olga, cause: the crane" in olga.text
    back = "/incidents?box=1&work=open"
    chosen = {f"incident-{other}": "on"}
    assert olga.post("/incidents/work", back, do="acknowledge", back=back, **chosen) == 303
    assert olga.headers["location"] == back
    assert cast.browser("vera").post("/incidents/work", back, do="acknowledge", **chosen) == 404
    assert olga.post(f"{page}/work", page, assigned=cast.ids["vera"]) == 400, "she may not work on it"
    assert olga.post(f"{page}/work", page, cause="", acknowledge="no") == 303
    assert cast.scene.store.incident_work([number])[number] == IncidentWork("open")
    vera = cast.browser("vera")
    vera.get("/incidents?work=acknowledged")
    assert re.findall(r'data-incident="(\d+)"', vera.text) == [str(other)], "she sees all of it"
    stranger = FormBrowser(cast.scene.url)
    stranger.get("/incidents?work=acknowledged")
    assert "data-incident" not in stranger.text
    assert stranger.get("/incidents?assigned=me") == 303, "to sign in"
    assert rita.get("/incidents?work=magic") == 404 == rita.get("/incidents?cause=magic")


def test_owners_assign_only_to_themselves(cast: Cast) -> None:
    """By a form, too; they may leave it with another person, or take it back."""
    number, store = cast.incident("1"), cast.scene.store
    olga, page = cast.browser("olga"), f"/incidents/{number}"

    def assigned(name: str) -> tuple[int, str]:
        status = olga.post(f"{page}/work", page, assigned=cast.ids.get(name, name))
        return status, store.incident_work([number])[number].assigned_to

    assert assigned("rita") == assigned("root") == assigned("unknown") == (400, "")
    assert store.notes(number) == []
    assert assigned("olga") == (303, cast.ids["olga"])
    rita = cast.browser("rita")
    assert rita.post(f"{page}/work", page, assigned=cast.ids["rita"]) == 303
    assert assigned("rita") == (303, cast.ids["rita"])
    assert assigned("") == (303, "")


def test_an_incident_is_new_until_shown(cast: Cast) -> None:
    """Reading alone marks nothing; what one account has seen is new to the others."""
    one, two = cast.incident("1"), cast.incident("1")
    for each in cast.ids.values():
        cast.scene.store.people.change_account(each, lambda account: replace(account, created_ms=0))
    vera, rita = cast.browser("vera"), cast.browser("rita")

    def new(browser: FormBrowser) -> list[str]:
        assert browser.get("/incidents?work=new") == 200
        rows = re.findall(r'data-incident="(\d+)" class="is-new"', browser.text)
        counted = re.search(r'<a href="/incidents\?work=new">(\d+) new to you', browser.text)
        assert int(counted[1]) == len(rows) if counted else not rows
        return [each for each in rows if each in (str(one), str(two))]

    assert new(vera) == new(rita) == [str(one), str(two)]
    vera.get(f"/incidents/{one}")
    seen = re.search(r'data-unseen="(/incidents/\d+/seen)"', vera.text)
    assert seen and 'src="/static/seen.js"' in vera.text and new(vera) == [str(one), str(two)]
    assert vera.post(seen[1], f"/incidents/{one}") == 204 and vera.text == ""
    assert (new(vera), new(rita)) == ([str(two)], [str(one), str(two)])
    vera.get(f"/incidents/{one}")
    assert "data-unseen" not in vera.text
    assert vera.post("/incidents/work", "/incidents", do="see", **{f"incident-{two}": "on"}) == 303
    assert new(vera) == []
    assert rita.post("/incidents/work", "/incidents", do="see-all", up_to=str(two)) == 303
    assert new(rita) == []
    assert rita.post(f"/incidents/{one}/seen", f"/incidents/{two}", form_token="y" * 48) == 403
    stranger = FormBrowser(cast.scene.url)
    assert stranger.get("/incidents?work=new") == 303, "to sign in"
    rita.get("/account/data.json")
    assert json.loads(rita.text)["seen_incidents"]["up_to"] >= two


def test_work_is_hidden_with_a_hidden_box(cast: Cast) -> None:
    number = cast.incident("1", "4")
    rita, page = cast.browser("rita"), f"/incidents/{number}"
    assert rita.post(f"{page}/work", page, cause="the lab", acknowledge="yes") == 303
    vera = cast.browser("vera")
    vera.get(page)
    assert "the lab" not in vera.text and "Acknowledged" not in vera.text
    vera.get("/incidents?cause=known")
    assert f'data-incident="{number}"' not in vera.text
    vera.get(f"/api/v1/incidents/{number}")
    assert json.loads(vera.text)["work"] is None


def test_a_mailed_link_leads_to_its_incident(cast: Cast) -> None:
    number = cast.incident("1")
    browser = FormBrowser(cast.scene.url)
    address = f"/incidents/{number}?work=new"
    assert browser.get(address) in (303, 404)
    way = browser.headers.get("location", "") or re.findall(r'"(/sign-in\?next=[^"]+)"', browser.text)[0]
    assert unquote(way) == f"/sign-in?next={address}"


def test_a_token_that_writes_works_on_incidents(cast: Cast) -> None:
    """A program works on an incident by a token with the scope write."""
    number, people = cast.incident("1"), cast.scene.store.people

    def asked(token: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        browser = FormBrowser(cast.scene.url)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        browser.send("POST", f"/api/v1/incidents/{number}/work", json.dumps(body), headers)
        return browser.status, json.loads(browser.text)

    reads, writes, veras = (
        make_ticket(people, "token", 3600, account_id=cast.ids[name], scopes=scopes)
        for name, scopes in (("rita", ("read",)), ("rita", ("read", "write")), ("vera", ("read", "write")))
    )
    assert asked(reads, {"acknowledged": True})[0] == 403
    assert asked(veras, {"acknowledged": True})[0] == 404
    assert asked(writes, {"acknowledged": True, "assigned_to": "me", "known_cause": "a tree"}) == (
        200,
        {"state": "acknowledged", "assigned_to": "Rita", "known_cause": "a tree"},
    )
    assert asked(writes, {"acknowledged": False})[1]["known_cause"] == "a tree", "what is absent stays"
    assert asked(writes, {"assigned_to": "unknown@example.org"})[0] == 400
    assert asked(writes, {"assigned_to": ""})[1]["assigned_to"] is None
    assert asked(writes, {"magic": 1})[0] == 400
    rita = cast.browser("rita")
    rita.get("/api/v1/incidents?cause=known&work=open")
    assert [each["id"] for each in json.loads(rita.text)["items"]] == [number]


def test_a_viewers_token_marks_as_seen(cast: Cast) -> None:
    """It is the account's own mark; what concerns others stays refused, and what is hidden stays hidden."""
    shown, hidden, people = cast.incident("1"), cast.incident("4"), cast.scene.store.people

    def sent(method: str, path: str, token: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        browser = FormBrowser(cast.scene.url)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        browser.send(method, f"/api/v1/incidents/{path}", json.dumps(body) if body else None, headers)
        return browser.status, json.loads(browser.text)

    reads, writes = (
        make_ticket(people, "token", 3600, account_id=cast.ids["vera"], scopes=scopes)
        for scopes in (("read",), ("read", "write"))
    )
    people.change_account(cast.ids["vera"], lambda account: replace(account, created_ms=0))
    assert sent("GET", f"{shown}", reads, {})[1]["seen"] is False
    assert sent("POST", f"{shown}/work", reads, {"seen": True})[0] == 403
    status, work = sent("POST", f"{shown}/work", writes, {"seen": True})
    assert status == 200 and set(work) == {"state", "assigned_to", "known_cause"}
    assert sent("GET", f"{shown}", reads, {})[1]["seen"] is True
    assert sent("POST", f"{shown}/work", writes, {"seen": True, "acknowledged": True})[0] == 404
    assert sent("POST", f"{hidden}/work", writes, {"seen": True})[0] == 404
    assert hidden not in people.seen_marks.of(cast.ids["vera"], 0).numbers
