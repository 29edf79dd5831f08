"""A site belongs to who made it: the name that somebody types leads to no other owner's site."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.phases_together import IntervalsOfSites, site_intervals
from opq_cloud.store.site_key import checked_site, owners_site, site_name
from opq_cloud.view.web.links import make_ticket
from opq_proto.measurement.intervals import TEN_MINUTES_NS

PAGE = "/account/sites"
pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    with demo.Scene(tmp_path, poll_s=30.0) as running:
        yield running


def test_a_typed_name_joins_no_other_owners_site(scene: demo.Scene) -> None:
    """Two owners and an administrator each type mill: three sites, also in pages and reports."""
    people, store = add_people(scene, ada="admin", eve="owner", bob="owner"), scene.store
    store.put_box(BoxRecord("9", "hall", site="mill"))
    for box_id, name in (("1", "eve"), ("2", "eve"), ("4", "bob")):
        store.put_box(BoxRecord(box_id, f"Box {box_id}"))
        store.people.claim_box(box_id, people[name])
    eve, bob, ada = FormBrowser(scene.url), FormBrowser(scene.url), FormBrowser(scene.url)
    for browser, name in ((eve, "eve"), (bob, "bob"), (ada, "ada")):
        assert browser.sign_in(f"{name}@example.org") == 303

    def type_site(browser: FormBrowser, box_id: str, site: str) -> int:
        page = f"/boxes/{box_id}/settings"
        return browser.post(page, page, name=f"Box {box_id}", privacy="nothing", site=site)

    for browser, box_id in ((eve, "1"), (eve, "2"), (bob, "4")):
        assert type_site(browser, box_id, "mill") == 303
        assert (
            'name="site" type="text" value="mill"'
            in (browser.get(browser.headers["location"]), browser.text)[1]
        )
    sites = {box.box_id: box.site for box in store.boxes()}
    assert sites["1"] == sites["2"] and len({*sites.values()}) == 3 and sites["9"] == "mill"
    assert type_site(eve, "1", "mill") == 303 and store.box("1").site == sites["1"], "unchanged"
    for refused in ("4", str(sites["4"])):
        assert type_site(eve, "1", refused) == 400, "a Box's id, or another's key"
    assert ada.get("/sites/mill") == 200 and "Box 4" not in ada.text and "Box 9" in ada.text
    assert ada.get(f"/sites/{sites['1']}") == 200 and "Box 2" in ada.text
    assert bob.get(f"/sites/{sites['1']}") == 404
    assert type_site(ada, "4", str(sites["1"])) == 303 and store.box("4").site == sites["1"]


def test_owners_join_a_site_by_request(scene: demo.Scene) -> None:
    """A Box of another owner is in a site once both agreed; others decide nothing, and it can be undone."""
    people, store = add_people(scene, eve="owner", bob="owner", mel="owner"), scene.store
    for box_id, name in (("1", "eve"), ("4", "bob"), ("9", "mel")):
        store.put_box(BoxRecord(box_id, f"Box {box_id}"))
        store.people.claim_box(box_id, people[name])
    key = owners_site("mill", people["eve"])
    store.put_box(BoxRecord("1", "", site=key))
    eve, bob, mel = (FormBrowser(scene.url) for _ in range(3))
    for browser, name in ((eve, "eve"), (bob, "bob"), (mel, "mel")):
        assert browser.sign_in(f"{name}@example.org") == 303

    def sends(browser: FormBrowser, do: str, box_id: str = "4", site: str = "") -> int:
        return browser.post(PAGE, PAGE, do=do, box_id=box_id, site=site)

    assert eve.get(PAGE) == 200 and key in eve.text and "Accept" not in eve.text
    refused = [(bob, "accept", "4", ""), (eve, "accept", "4", ""), (mel, "ask", "4", key), (bob, "", "4", "")]
    assert [sends(*each) for each in refused] == [404] * 4
    assert sends(bob, "ask", site="mill") == sends(eve, "ask", "1", key) == 400, "no key; one's own"
    assert sends(bob, "ask", site=key) == sends(mel, "ask", "9", owners_site("mill", "stranger")) == 303
    assert eve.get(PAGE) == 200 and "Box 4 asks to join" in eve.text and "Box 9" not in eve.text
    assert not store.box("4").site and sends(mel, "accept") == sends(bob, "accept") == 404
    assert sends(eve, "accept") == 303 and store.box("4").site == key
    assert sends(eve, "accept") == sends(mel, "remove") == sends(bob, "remove") == 404
    assert sends(eve, "remove") == 303 and not store.box("4").site
    assert sends(bob, "ask", site=key) == 303 and sends(eve, "refuse") == 303 and not store.box("4").site
    assert sends(bob, "ask", site=key) == sends(bob, "withdraw") == 303 and sends(eve, "accept") == 404
    assert sends(bob, "ask", site=key) == 303
    store.people.change_access("4", lambda was: replace(was, owner_id=people["mel"]))
    assert sends(eve, "accept") == 303, "the request stands until its Box is given back"
    assert sends(eve, "remove") == 303
    store.people.change_access("4", lambda was: replace(was, asked_site=key))

    def become(role: str, disabled: bool) -> None:
        store.people.change_account(people["mel"], lambda was: replace(was, role=role, disabled=disabled))

    for role, disabled in (("viewer", False), ("owner", True)):
        become(role, disabled)
        assert sends(eve, "accept") == 404 and not store.box("4").site, "its owner may not ask now"
        assert eve.get(PAGE) == 200 and "Box 4 asks" not in eve.text
    become("owner", disabled=False)
    assert eve.get(PAGE) == 200 and "Box 4 asks" in eve.text and sends(eve, "accept") == 303
    store.people.change_access("4", lambda was: replace(was, asked_site=key).released(False))
    assert sends(eve, "accept") == 404
    store.people.change_account(people["eve"], lambda was: replace(was, role="viewer"))
    assert sends(eve, "remove") == 404, "a former owner decides nothing"


def test_digits_alone_are_not_a_site(scene: demo.Scene) -> None:
    """Neither typed nor stored by another program: such a site reads nothing of the Box with this id."""
    for text in ("4", "٤", "4~abc"):
        with pytest.raises(ValueError, match="as a Box's id is"):
            checked_site(text)
    with pytest.raises(ValueError, match="as a Box's id is"):
        owners_site("4", "eve")
    assert owners_site("", "eve") == checked_site("") == ""
    assert site_name(owners_site("mill", "eve")) == site_name("mill") == "mill" and site_name(None) == ""
    records = [BoxRecord("1", "", site="4")]
    asked = []

    class Reads:
        def read(
            self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: object = None
        ) -> object:
            asked.append((box_id, end_ns - start_ns))
            return scene.store.intervals.read(box_id, length_ms, start_ns, end_ns)

    site_intervals(Reads(), "4", records, 0, TEN_MINUTES_NS)
    assert asked == [("4", 0)]
    assert IntervalsOfSites(scene.store.intervals, records).box_ids() == scene.store.intervals.box_ids()


def test_a_token_joins_a_site_by_rest(scene: demo.Scene) -> None:
    """As on the page; a token that reads or writes, a session and another owner's token do nothing."""
    people, store = add_people(scene, eve="owner", bob="owner", mel="owner", vic="viewer"), scene.store
    for box_id, name in (("1", "eve"), ("4", "bob"), ("9", "mel")):
        store.put_box(BoxRecord(box_id, f"Box {box_id}"))
        store.people.claim_box(box_id, people[name])
    key = owners_site("mill", people["eve"])
    store.put_box(BoxRecord("1", "", site=key))
    tokens = {
        name: make_ticket(
            store.people, "token", 3600, account_id=people[name], label="t", scopes=("read", "sites")
        )
        for name in people
    }
    others = [
        make_ticket(store.people, "token", 3600, account_id=people["eve"], label="o", scopes=scopes)
        for scopes in ((), ("read",), ("read", "waveforms", "write"))
    ]
    browser = FormBrowser(scene.url)

    def sends(token: str, **asked: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return browser.send("POST", "/api/v1/site-joins", json.dumps(asked), headers)

    def reads(name: str) -> object:
        assert browser.get("/api/v1/site-joins", Authorization=f"Bearer {tokens[name]}") == 200
        return json.loads(browser.text)

    for token in others:
        assert browser.get("/api/v1/site-joins", Authorization=f"Bearer {token}") == 403
        assert sends(token, do="accept", box_id="4") == sends(token, do="ask", box_id="1", site=key) == 403
    assert sends("", do="accept", box_id="4") in (401, 403)
    assert sends(tokens["mel"], do="ask", box_id="4", site=key) == 404, "a Box of another"
    assert sends(tokens["vic"], do="ask", box_id="4", site=key) == 404, "a viewer has none"
    assert sends(tokens["bob"], do="ask", box_id="4", site="mill") == 400
    assert sends(tokens["bob"], do="ask", box_id="4") == sends(tokens["bob"], do="own", box_id="4") == 400
    assert sends(tokens["bob"], do="ask", box_id="4", site=key) == 200
    assert reads("bob") == {"sites": [], "waiting": [{"box_id": "4", "site": key}]}
    mine = {"key": key, "name": "mill", "members": [], "asking": ["4"]}
    assert reads("eve") == {"sites": [mine], "waiting": []}
    assert (
        sends(tokens["mel"], do="accept", box_id="4") == sends(tokens["bob"], do="accept", box_id="4") == 404
    )
    assert not store.box("4").site and sends(tokens["eve"], do="accept", box_id="4") == 200
    assert store.box("4").site == key and reads("eve") == {
        "sites": [mine | {"members": ["4"], "asking": []}],
        "waiting": [],
    }
    assert sends(tokens["eve"], do="remove", box_id="4") == 200 and not store.box("4").site
    store.people.change_account(people["bob"], lambda was: replace(was, role="viewer"))
    assert sends(tokens["bob"], do="ask", box_id="4", site=key) == 404, "a former owner asks nothing"
