"""The dots of incidents over duration and residual voltage."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from account_scene import FormBrowser

from opq_cloud.store import BoxRecord
from opq_cloud.store.incidents.index import PLANE_COLUMNS, IndexedIncident, cell_of
from opq_cloud.view.pages.incidents.incident_scatter import HEIGHT, WIDTH, scatter_of

pytestmark = pytest.mark.usefixtures("cheap_argon2")
S = 10**9


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path, poll_s=30.0)
    running.store.put_box(BoxRecord("1", "kitchen"))
    dipping = replace(demo.OUTLETS[0], dip_v=demo.DIP_BOX_1)
    demo.put_event(running.store, [demo.waveform_of(dipping, time.time_ns() - 3600 * S)], "alone")
    with running:
        yield running


def test_a_dot_lies_at_its_incident() -> None:
    """A dot lies where its incident does and a field is a filter."""
    sag = IndexedIncident(7, 0, S // 10, "sag", 60.0, 3.0, "local", length_ns=S // 10)
    swell = IndexedIncident(8, 0, 20 * S, "swell", 115.0, 3.0, "local", length_ns=20 * S)
    flicker = IndexedIncident(9, 0, 20 * S, "flicker", None, None, None)
    cell = cell_of(60.0, S // 10)
    found = scatter_of([flicker, swell, sag], cell, lambda text: f"cell={text}")
    assert found is not None and found.without == 1
    high, low = found.dots
    assert (low.tone, high.tone, low.incident_id) == ("down", "up", 7)
    assert low.x < high.x and low.y > high.y
    inside = [
        each
        for each in found.fields
        if each.x <= low.x < each.x + each.width and each.y <= low.y < each.y + each.height
    ]
    assert [(each.chosen, each.query) for each in inside] == [(True, "cell=")], "chosen again, it is given up"
    assert sum(each.width * each.height for each in found.fields) == pytest.approx(WIDTH * HEIGHT, rel=0.01)
    assert found.fields[PLANE_COLUMNS].query == f"cell={PLANE_COLUMNS}"
    assert scatter_of([flicker], None, str) is None


def test_each_dot_keeps_the_lists_filter(scene: demo.Scene) -> None:
    browser = FormBrowser(scene.url)
    assert browser.get("/incidents?class=sag") == 200
    assert browser.text.count('<g transform="translate(') == 1
    assert '<a href="/incidents/1?class=sag" tabindex="-1" aria-label="#1 Sag, 8' in browser.text
    cell = re.search(r'<a href="/incidents\?(class=sag&cell=[0-9]+)" tabindex="-1"', browser.text)
    assert cell is not None and browser.get(f"/incidents?{cell[1]}") == 200
