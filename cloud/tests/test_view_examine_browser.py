"""The page of one event in a real browser: hands, keys, the address, both themes, and no script at all."""

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import demo
import pytest
from page_waits import wait_until

from opq_cloud.view.pages.examine.address import PANELS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PAGE_OPTIONS = {"has_touch": True}
PATH = "/incidents/1/examine"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("examine"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def _shows(page: "Page", pattern: str) -> None:
    """Waits until the server has drawn what the address then says."""
    wait_until(
        page,
        "pattern => new RegExp(pattern).test(location.search)"
        " && location.search.slice(1) === document.getElementById('examine').dataset.query",
        arg=pattern,
    )


def _in_sight(page: "Page") -> dict[str, float]:
    """Where the first chart is, after it was scrolled to the middle of the window."""
    plot = page.locator("[data-examine-chart] .history-plot").first
    plot.evaluate("plot => plot.scrollIntoView({ block: 'center' })")
    box: dict[str, float] | None = plot.bounding_box()
    assert box
    return box


def test_dragging_keys_and_back_move_the_view(scene: demo.Scene, page: "Page") -> None:
    """Back undoes a move."""
    page.goto(f"{scene.url}{PATH}?t=0ms..200ms&a=50ms&b=150ms&panel=wave,rms")
    box = _in_sight(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=3)
    page.mouse.up()
    _shows(page, r"t=50(\.\d+)?ms\.\.250(\.\d+)?ms&a=50ms&b=150ms")
    at_b = box["x"] + box["width"] / 2
    page.mouse.move(at_b, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(at_b + box["width"] / 10, box["y"] + 40, steps=3)
    page.mouse.up()
    _shows(page, r"a=50ms&b=170(\.\d+)?ms")
    page.locator("[data-examine-chart]").first.focus()
    page.keyboard.press("a")
    page.keyboard.press("Shift+ArrowRight")
    _shows(page, r"a=66\.6667ms")
    assert page.locator("#cursor-table").inner_text().count("Box") >= 3
    page.keyboard.press("+")
    _shows(page, r"t=100(\.\d+)?ms\.\.200(\.\d+)?ms")
    page.keyboard.press("u")
    _shows(page, "y=pu")
    page.go_back()
    _shows(page, "y=V")
    page.get_by_role("link", name="Spectrogram").click()
    _shows(page, "panel=wave,rms,spectrogram")
    page.reload()
    assert page.locator("#panel-spectrogram").count() == 1


def test_a_late_answer_keeps_the_new_view(scene: demo.Scene, page: "Page") -> None:
    """A slow server answers the middle of a drag when the drag is just over."""
    page.clock.install()
    page.goto(f"{scene.url}{PATH}?t=0ms..200ms&a=50ms&b=150ms&panel=rms")
    page.clock.pause_at(time.time() + 3600)
    held: list[Route] = []
    page.route("**/examine/part?*", lambda route: route.continue_() if held else held.append(route))
    box = _in_sight(page)
    at, y, width = box["x"] + box["width"] / 2, box["y"] + 60, box["width"]
    page.mouse.move(at, y)
    page.mouse.down()
    page.mouse.move(at - width / 8, y)
    with page.expect_request("**/examine/part?t=25*"):
        page.clock.run_for(200)
    page.mouse.move(at - width / 4, y)
    page.mouse.up()
    held[0].continue_()
    part = held[0].request.url
    page.evaluate("part => fetch(part).then((answer) => answer.text())", part)  # after the held one
    page.clock.resume()
    _shows(page, r"t=50(\.\d+)?ms\.\.250(\.\d+)?ms&a=50ms&b=150ms")


def test_a_cursor_does_not_undo_a_link(scene: demo.Scene, page: "Page") -> None:
    """A cursor that moves before a link is answered does not undo the link."""
    page.goto(f"{scene.url}{PATH}?t=0ms..200ms&a=50ms&b=150ms&panel=rms")
    held: list[Route] = []
    page.route("**/examine/part?*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/examine/part?*"):
        page.get_by_role("link", name="Spectrogram").click()
    page.locator("[data-examine-chart]").first.focus()
    page.keyboard.press("Shift+ArrowRight")
    _shows(page, r"a=66\.6667ms&b=150ms.*panel=rms,spectrogram")


def test_two_fingers_zoom(scene: demo.Scene, page: "Page") -> None:
    page.goto(f"{scene.url}{PATH}?t=0ms..200ms&panel=rms")
    box = _in_sight(page)
    y, middle = box["y"] + 60, box["x"] + box["width"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, apart: float) -> None:
        points = [{"x": middle - apart, "y": y, "id": 1}, {"x": middle + apart, "y": y, "id": 2}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

    touch("touchStart", 100)
    for apart in (130, 160, 200):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    _shows(page, r"t=(49|50)(\.\d+)?ms\.\.(149|150)(\.\d+)?ms")


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_axe_finds_nothing_and_phones_fit(scene: demo.Scene, browser: "Browser", scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    width = 390 if scheme == "dark" else 1440
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(240_000)
    page = context.new_page()
    page.goto(f"{scene.url}{PATH}?panel={','.join(PANELS)}")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_a_form_works_without_script(scene: demo.Scene, browser: "Browser") -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(240_000)
    page = context.new_page()
    page.goto(scene.url + PATH)
    assert page.locator("path.trace").count() >= 9
    page.get_by_label("Cursor A").fill("10ms")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile("a=10ms"))
    assert page.locator("#cursor-table tbody tr").count() == 3
    context.close()
