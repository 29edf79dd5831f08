"""What the search finds, and in which order. Who finds what: `test_view_access_matrix.py`."""

from collections.abc import Iterator
from pathlib import Path

import demo
import pytest
from account_scene import FormBrowser
from open_view import open_services

from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.box_record import LocationRecord
from opq_cloud.view.pages.search import (
    INSIDE_WORD,
    NO_MATCH,
    TEXT_STARTS,
    WHOLE_TEXT,
    WORD_STARTS,
    find,
    fit_of,
)
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.visitors import OPEN, VISITOR, Visitor


@pytest.mark.parametrize(
    ("wanted", "text", "fit"),
    [
        ("map", "Map", WHOLE_TEXT),
        ("ver", "Verdicts", TEXT_STARTS),
        ("now", "Grid now", WORD_STARTS),
        ("rid", "Grid now", INSIDE_WORD),
        ("now grid", "Grid now", WORD_STARTS),
        ("wind", "Grid now", NO_MATCH),
    ],
)
def test_how_well_a_text_fits(wanted: str, text: str, fit: int) -> None:
    assert fit_of(wanted, text) == fit


@pytest.fixture
def services(tmp_path: Path) -> Iterator[ViewServices]:
    store = open_store(None, tmp_path)
    for number in (1, 2, 12, 21):
        store.put_box(BoxRecord(str(number), f"Box {number}"))
    store.put_location(LocationRecord("box-2", 21.3, -157.8, "Hale Mahina"))
    store.put_box(BoxRecord("2", "Cellar", location="box-2", region="Kailua", feeder="f7"))
    token = VISITOR.set(OPEN)
    yield open_services(store)
    VISITOR.reset(token)


def found(services: ViewServices, text: str) -> list[str]:
    return [hit.words for hit in find(VisitorContext(services), text) if hit.kind == "Box"]


def test_a_box_is_found_by_each_fact(services: ViewServices) -> None:
    """Number, name, place, region and feeder."""
    assert found(services, "1") == ["Box 1", "Box 12"]  # 21 is not an answer to 1
    assert found(services, "box 2")[0] == "Box 2, Cellar"
    for text in ("cellar", "CELL", "hale mahina", "kailua", "f7"):
        assert found(services, text) == ["Box 2, Cellar"], text
    assert found(services, "no such thing") == []


def test_a_box_is_found_by_each_region(services: ViewServices) -> None:
    """A location of the original may be in several."""
    store = services.store
    store.put_box(BoxRecord("12", "Box 12", location="box-12"))
    for region in ("Kailua", "Windward"):
        store.put_region(region, "box-12")
    for text in ("kailua", "windward"):
        assert "Box 12" in found(services, text), text
    (hit,) = (each for each in find(VisitorContext(services), "windward") if each.kind == "Box")
    assert hit.detail.startswith("Kailua, Windward")


def test_a_boxs_page_names_its_regions(tmp_path: Path) -> None:
    with demo.Scene(tmp_path, poll_s=30.0) as scene:
        scene.store.put_box(BoxRecord("12", "Box 12", location="box-12"))
        browser = FormBrowser(scene.url)
        for region, words in (
            ("Kailua", "In region Kailua."),
            ("Windward", "In the regions Kailua, Windward."),
        ):
            scene.store.put_region(region, "box-12")
            assert browser.get("/boxes/12") == 200 and words in browser.text


def test_a_boxs_actions_follow_it(services: ViewServices) -> None:
    kinds = [(hit.kind, hit.path) for hit in find(VisitorContext(services), "cellar")]
    assert kinds[0] == ("Box", "/boxes/2")
    assert ("Action", "/incidents?box=2") in kinds
    assert not any(path.endswith(("/settings", "/waveforms")) for _, path in kinds)  # without a session


def test_a_public_boxs_place_is_not_searched(services: ViewServices) -> None:
    token = VISITOR.set(Visitor(public=frozenset({"2"})))
    try:
        assert found(services, "cellar") == ["Box 2, Cellar"]
        assert found(services, "hale mahina") == found(services, "f7") == []
        assert all(
            "Hale" not in hit.detail and "f7" not in hit.detail
            for hit in find(VisitorContext(services), "cellar")
        )
        assert found(services, "box 1") == []
    finally:
        VISITOR.reset(token)


def test_pages_are_those_that_the_visitor_may_open(services: ViewServices) -> None:
    assert OPEN.sees_administration is False
    assert {hit.path for hit in find(VisitorContext(services), "")} >= {"/", "/incidents", "/map"}
    assert all(not hit.path.startswith(("/admin", "/account")) for hit in find(VisitorContext(services), ""))
    assert find(VisitorContext(services), "sag")[0].path in ("/incidents?class=sag", "/incidents")
