"""What changed over weeks, on pages, in the API and in exports: to those who see each Box of it."""

import csv
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

DAY_MS = 86_400_000
pytestmark = pytest.mark.usefixtures("cheap_argon2")


def change(kind: str, size: float, start_ms: int, end_ms: int, *box_ids: str) -> StoredPhenomenon:
    because = f"voltage of Box {' or Box '.join(box_ids)} moved by {size:+.2f} % of nominal at {{start}}"
    figures = {"quantity": "rms_v", "size": size, "unit": "% of nominal"}
    details = {"analysis": "change", "because": because, **figures}
    return StoredPhenomenon(kind, box_ids, start_ms, end_ms, details)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    now_ms = time.time_ns() // 1_000_000
    span = now_ms - 30 * DAY_MS, now_ms
    running = demo.Scene(tmp_path, poll_s=30.0)
    demo.fill(running.store, time.time_ns(), minutes=2)
    step = change("level_step", 1.25, now_ms - 5 * DAY_MS, now_ms - 5 * DAY_MS + 3_600_000, "1")
    drift = change("own_drift", -0.6, now_ms - 20 * DAY_MS, now_ms - 10 * DAY_MS, "1", "4")
    running.store.replace_phenomena("change", "1", *span, [step, drift])
    running.store.replace_phenomena("change", "4", *span, [change("anomaly", 3.0, *span, "4")])
    with running:
        yield running


def test_changes_are_on_pages_and_in_the_api(scene: demo.Scene) -> None:
    """A sentence with time, quantity and size on the page of the Box and on `/past`, numbered as drawn."""
    visitor = FormBrowser(scene.url)
    assert visitor.get("/boxes/1") == 200
    said = re.findall(r"<li><span><b>(\d)</b> (.*?)\. <a href=\"/past\?([^\"]+)\"", visitor.text)
    assert [number for number, _, _ in said] == ["1", "2"]
    plain = [re.sub("<[^>]+>", "", sentence) for _, sentence, _ in said]
    moved = "moved by {} % of nominal at 20"
    assert plain[0].startswith("Voltage of Box 1 or Box 4 " + moved.format("-0.60"))
    assert plain[1].startswith("Voltage of Box 1 " + moved.format("+1.25"))
    assert visitor.get(f"/past?{said[1][2]}".replace("&amp;", "&")) == 200
    data = json.loads(visitor.text.split('<template id="past-data">')[1].split("</template>")[0])
    drawn = [each["changes"] for each in data["charts"] if each["name"] == "rms_v"]
    assert "moved by +1.25 % of nominal" in visitor.text and all(len(each) == 1 for each in drawn)
    visitor.get("/api/v1/phenomena?box=1&limit=1")
    first = json.loads(visitor.text)
    visitor.get(f"/api/v1/phenomena?box=1&cursor={first['next']}")
    second = json.loads(visitor.text)
    items = [*first["items"], *second["items"]]
    assert [(each["kind"], each["size"]) for each in items] == [("level_step", 1.25), ("own_drift", -0.6)]
    assert second["next"] is None and items[0]["quantity"] == "rms_v"
    visitor.get("/api/v1/exports/changes?box=4&format=csv")
    rows = list(csv.DictReader(visitor.text.splitlines()))
    assert [(each["kind"], each["box_ids"]) for each in rows] == [("anomaly", "4"), ("own_drift", "1 4")]


def test_changes_at_unseen_boxes_are_hidden(scene: demo.Scene) -> None:
    """One that names a Box that the visitor does not see is left out."""
    ids = add_people(scene, vera="viewer")
    scene.store.people.change_access("1", lambda _: BoxAccess("1", "", (ids["vera"],)))
    account = scene.store.people.account(ids["vera"])
    assert account is not None
    cookie = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    vera = FormBrowser(scene.url, {SESSION_COOKIE: cookie})
    vera.get("/boxes/1")
    assert "moved by" in vera.text and "Box 4" not in vera.text
    for address in ("/api/v1/phenomena", "/api/v1/phenomena?box=4", "/api/v1/exports/changes?format=json"):
        vera.get(address)
        assert "own_drift" not in vera.text and "anomaly" not in vera.text
