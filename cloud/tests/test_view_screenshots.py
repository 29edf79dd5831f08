"""Pictures of View at the widths of a phone and of a desk, in light and dark, to be looked at.

`OPQ_SCREENSHOTS=docs/screenshots .venv/bin/pytest cloud/tests/test_view_screenshots.py` keeps
them; the README shows `incident-top.png`, the upper part of one. The scene is that of `demo.py`.
"""

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import demo
import pytest
from page_waits import CONNECTED, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = {390: 844, 1440: 900}
PAGES = {"boxes": "/", "incident": "/incidents/1"}
TOP_PX = 1425
"""Height of the README's picture: as far as the first waveform."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("OPQ_SCREENSHOTS")
    path = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    demo.fill(running.store, time.time_ns())
    with running:
        yield running


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", [390, pytest.param(1440, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PAGES)
def test_a_picture_of_each_page(
    scene: demo.Scene, browser: "Browser", folder: Path, name: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS[width]},
        color_scheme=scheme,
        reduced_motion="reduce",
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(scene.url + PAGES[name])
    page.add_style_tag(content="html { scrollbar-gutter: auto !important; }")  # no bar is drawn
    wait_until(page, CONNECTED)
    for sequence in range(3):
        now_ms = time.time_ns() // 1_000_000
        scene.publish(*(demo.measurement_of(outlet, now_ms, 10**6 + sequence) for outlet in demo.OUTLETS))
        page.wait_for_timeout(100)
    wait_until(page, "() => [...document.querySelectorAll('.plot')].every(place => place.dataset.drawn)")
    page.wait_for_timeout(400)
    path = folder / f"{name}-{width}{'-dark' if scheme == 'dark' else ''}.png"
    page.screenshot(path=path, full_page=True)
    if (name, width, scheme) == ("incident", 1440, "light"):
        top = {"x": 0, "y": 0, "width": width, "height": TOP_PX}
        page.screenshot(path=folder / "incident-top.png", full_page=True, clip=top)
    context.close()
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:24])[0] == width
    assert path.stat().st_size > 15_000  # an empty page is smaller
