"""Forms that cannot be carried out: what was typed stays, and nothing is overwritten unseen."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people

from opq_cloud.store.box_record import BoxRecord, LocationRecord

pytestmark = pytest.mark.usefixtures("cheap_argon2")
SETTINGS = "/boxes/1/settings"
ADMIN = "/admin/boxes/1"


@pytest.fixture(scope="module")
def ids(scene: demo.Scene) -> dict[str, str]:
    made = add_people(scene, ada="admin", bob="admin", eve="owner")
    scene.store.put_box(BoxRecord("1", "Cellar"))
    scene.store.people.claim_box("1", made["eve"])
    return made


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    with demo.Scene(tmp_path_factory.mktemp("view"), poll_s=30.0) as running:
        yield running


def browser_of(scene: demo.Scene, name: str) -> FormBrowser:
    browser = FormBrowser(scene.url)
    assert browser.sign_in(f"{name}@example.org") == 303
    return browser


def seen_in(browser: FormBrowser) -> str:
    found = re.search(r'name="seen" value="(\w+)"', browser.text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("name", "page", "form"), [("eve", SETTINGS, SETTINGS), ("ada", ADMIN, f"{ADMIN}/facts")]
)
def test_a_refused_form_keeps_what_was_typed(
    scene: demo.Scene, ids: dict[str, str], name: str, page: str, form: str
) -> None:
    browser = browser_of(scene, name)
    typed = {"name": "Attic", "region": "north", "privacy": "all", "public_waveforms": "on"}
    assert browser.post(form, page, **typed, nominal_v="many") == 400
    assert 'value="Attic"' in browser.text and 'value="many"' in browser.text
    assert re.search(r'value="all" checked', browser.text)
    assert re.search(r'name="public_waveforms" checked', browser.text)
    assert scene.store.box("1").name == "Cellar"


@pytest.mark.parametrize(("page", "form"), [(SETTINGS, SETTINGS), (ADMIN, f"{ADMIN}/facts")])
def test_a_change_by_another_is_not_overwritten_unseen(
    scene: demo.Scene, ids: dict[str, str], page: str, form: str
) -> None:
    ada, bob = browser_of(scene, "ada"), browser_of(scene, "bob")
    for each in (ada, bob):
        assert each.get(page) == 200
    seen = seen_in(bob)
    assert ada.post(form, name="Garage", privacy="region", seen=seen_in(ada)) == 303
    assert ada.get(ada.headers["location"]) == 200 and "Saved." in ada.text
    assert bob.post(form, name="Shed", privacy="nothing", seen=seen) == 409
    assert "stored now: name Garage, privacy region" in bob.text, re.findall(r"stored now[^<]*", bob.text)
    assert 'value="Shed"' in bob.text
    assert scene.store.box("1").name == "Garage"
    assert bob.post(form, name="Shed", privacy="nothing", seen=seen_in(bob)) == 303, "who saw it may"
    assert scene.store.box("1").name == "Shed"
    scene.store.put_box(BoxRecord("1", "Cellar"))


def test_a_typed_place_can_be_removed(scene: demo.Scene, ids: dict[str, str]) -> None:
    eve, store = browser_of(scene, "eve"), scene.store
    where = {"latitude": "0", "longitude": "21.5"}
    assert eve.post(SETTINGS, SETTINGS, name="Cellar", privacy="nothing", **where) == 303
    assert eve.get(SETTINGS) == 200 and 'name="latitude" type="text" value="0.0"' in eve.text
    assert eve.post(SETTINGS, name="Cellar", privacy="nothing") == 303
    assert not store.box("1").location and "box-1" not in store.locations()
    store.put_location(LocationRecord("kailua", 21.4, -157.7))
    store.put_box(BoxRecord("1", "", location="kailua"))
    where = {"latitude": "21.4", "longitude": "-157.7"}
    assert eve.post(SETTINGS, SETTINGS, name="Cellar", privacy="nothing", **where) == 303
    assert store.box("1").location == "kailua", "what was not changed is not a move"
    assert eve.post(SETTINGS, SETTINGS, name="Cellar", privacy="nothing") == 303
    assert not store.box("1").location and "kailua" in store.locations(), "others may stand there"


def test_a_form_without_session_leads_to_sign_in(scene: demo.Scene, ids: dict[str, str]) -> None:
    eve = browser_of(scene, "eve")
    assert eve.get(SETTINGS) == 200
    scene.store.people.end_access(ids["eve"])
    came = {"Referer": f"{scene.url}{SETTINGS}"}
    assert eve.post(SETTINGS, headers=came, name="Attic", privacy="all") == 401
    assert eve.headers["content-type"].startswith("text/html")
    assert "so nothing was changed" in eve.text
    assert "/sign-in?next=%2Fboxes%2F1%2Fsettings" in eve.text
    assert scene.store.box("1").name == "Cellar"


def test_a_name_cannot_reverse_its_text(scene: demo.Scene, ids: dict[str, str]) -> None:
    """A name neither hides nor turns the text after it."""
    browser = browser_of(scene, "eve")
    hidden = "\u200b\u2066\ufeff"
    wanted = {"days": "7", "present_password": PASSWORD}
    assert browser.post("/account/tokens", "/account", label=hidden, **wanted) == 400
    turned = f"Dips \u202egnihton\u0085{hidden} \u2028of the \u05d1\u05d9\u05ea"
    assert browser.post("/account/tokens", "/account", label=turned, **wanted) == 200
    assert ">Dips gnihton of the \u05d1\u05d9\u05ea<" in browser.text


def test_no_form_sets_a_foreign_field(scene: demo.Scene, ids: dict[str, str]) -> None:
    """Names of what others set, beside the fields of a form, change nothing."""
    people, store, bob = scene.store.people, scene.store, ids["bob"]
    eve = browser_of(scene, "eve")
    store.put_box(BoxRecord("1", "Cellar", feeder="f1", grid="g1", location="here"))
    account, access, other = people.account(ids["eve"]), people.access("1"), people.account(bob)
    foreign = {"role": "admin", "disabled": "on", "account_id": bob, "owner_id": bob, "shared_ids": bob}
    foreign |= {"owner": "bob@example.org", "further_owner_ids": bob, "asked_site": "mill~1", "made_by": bob}
    foreign |= {"feeder": "f9", "grid": "g9", "location": "there", "retired_ms": "1", "gain": "2"}
    foreign |= {"scopes": "write", "password_hash": "x", "expires_s": "9999999999", "purpose": "first_admin"}
    token = {"label": "program", "days": "7", "present_password": PASSWORD}
    for path, page, fields, code in (
        (SETTINGS, SETTINGS, {"name": "Loft", "privacy": "nothing"}, 303),
        ("/account/profile", "/account", {"name": "Eve", "time_zone": "UTC", "theme": "dark"}, 303),
        ("/account/tokens", "/account", token, 200),
    ):
        assert eve.post(path, page, **{**foreign, **fields}) == code, path
    assert account is not None and people.account(bob) == other
    assert people.account(ids["eve"]) == replace(account, theme="dark", time_zone="UTC")
    assert people.access("1") == access
    assert replace(store.box("1"), stated=()) == BoxRecord(
        "1", "Loft", feeder="f1", grid="g1", location="here"
    )
    assert people.tickets("token", bob) == [] == people.tickets("first_admin")
    (made,) = (each for each in people.tickets("token", ids["eve"]) if each.label == "program")
    assert made.scopes == ("read",) and made.expires_s < 9_999_999_999
    store.put_box(BoxRecord("1", "Cellar"))


def test_no_request_has_a_foreign_field(scene: demo.Scene, ids: dict[str, str]) -> None:
    """Each body of REST refuses a name that it does not have."""
    browser = browser_of(scene, "eve")
    assert browser.get("/api/v1/openapi.json") == 200
    paths = json.loads(browser.text)["paths"]
    bodies = {
        f"{method} {path}": route["requestBody"]["content"]["application/json"]["schema"]
        for path, methods in paths.items()
        for method, route in methods.items()
        if "requestBody" in route
    }
    assert len(bodies) >= 4
    assert [path for path, body in bodies.items() if body.get("additionalProperties") is not False] == []
