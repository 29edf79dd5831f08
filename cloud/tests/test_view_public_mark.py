"""A Box that moves finds out nothing about others: everybody sees it where it was, for a week."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.records.accounts.account_records import MOVE_SHOWN_S, BoxAccess
from opq_cloud.view.pages.map.grid_reader import SEEN_S
from opq_cloud.view.pages.visible.public_mark import moved, public_mark
from opq_cloud.view.web.visitors import CACHED_S

pytestmark = pytest.mark.usefixtures("cheap_argon2")
SETTINGS = "/boxes/1/settings"
PLACES = [(f"{21.3 + k / 50:.2f}", f"{-157.8 - k / 50:.2f}") for k in range(9)]
"""In nine cells: 2.2 km and more apart."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    with demo.Scene(tmp_path, poll_s=30.0) as running:
        yield running


def public_marks(scene: demo.Scene) -> dict[str, str]:
    """Where a stranger sees Box 1 on the map; empty where it has no mark."""
    time.sleep(SEEN_S)  # what all maps share is as old as that
    stranger = FormBrowser(scene.url)
    assert stranger.get("/map") == 200
    found = re.findall(r'data-mark="box-(\w+)" data-lat="(\S+)" data-lon="(\S+)"', stranger.text)
    return {box_id: f"{latitude},{longitude}" for box_id, latitude, longitude in found}


def let_a_week_pass(scene: demo.Scene) -> None:
    scene.store.people.change_access("1", lambda was: replace(was, mark_until_ms=was.mark_until_ms and 1))
    time.sleep(CACHED_S)


def test_nine_moves_show_one_public_place(scene: demo.Scene) -> None:
    """Nine moves in some seconds show one place, also after the place, the owner or the account is gone."""
    people = add_people(scene, ada="admin", eve="owner", eva="owner")
    scene.store.put_box(BoxRecord("1", "Cellar"))
    scene.store.people.claim_box("1", people["eve"])
    scene.store.people.change_access("9", lambda was: replace(was, privacy="all"))  # so that there is a map
    eve = FormBrowser(scene.url)
    assert eve.sign_in("eve@example.org") == 303

    def place(browser: FormBrowser, latitude: str, longitude: str) -> None:
        fields = {"name": "Cellar", "privacy": "all", "latitude": latitude, "longitude": longitude}
        assert browser.post(SETTINGS, SETTINGS, **fields) == 303

    seen = set()
    for at in PLACES:
        place(eve, *at)
        seen |= set(public_marks(scene).items())
    assert len(seen) == 1, "the first place, at once"
    place(eve, "", "")
    assert public_marks(scene) == {}, "a place can be hidden at once"
    place(eve, *PLACES[3])
    assert set(public_marks(scene).items()) == seen
    let_a_week_pass(scene)
    assert len(set(public_marks(scene).items()) | seen) == 2, "then it has moved"
    assert eve.post("/boxes/1/release", SETTINGS) == 303
    scene.store.people.claim_box("1", people["eva"])
    eva = FormBrowser(scene.url)
    assert eva.sign_in("eva@example.org") == 303
    place(eva, *PLACES[5])
    assert public_marks(scene) == {}, "a new owner's place is not shown for a week"
    let_a_week_pass(scene)
    assert public_marks(scene)
    assert eva.post("/account/delete", "/account", present_password=PASSWORD) == 200
    scene.store.people.claim_box("1", people["eve"])
    place(eve, *PLACES[7])
    assert public_marks(scene) == {}


def test_each_move_begins_the_week_again() -> None:
    week_ms, near, here = MOVE_SHOWN_S * 1000, (1.0, 2.0), (3.0, 4.0)
    first = moved(BoxAccess("1"), None, 5)
    assert first == BoxAccess("1"), "the first place does not count as a move"
    once = moved(first, near, 10)
    assert public_mark(once, here, 9 + week_ms) == near and public_mark(once, here, 10 + week_ms) == here
    again = moved(once, here, 9 + week_ms)
    assert public_mark(again, here, 10 + week_ms) == near, "it is still seen where it was at first"
    assert public_mark(again, None, 11) is None and public_mark(None, here, 0) == here
    assert moved(again, here, 10 + 3 * week_ms).mark_place == here
