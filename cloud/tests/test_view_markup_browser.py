"""Names, notes, class words and plug-in names that are markup stay text on every page, in Chromium."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import demo
import pytest
from account_scene import add_people
from page_waits import wait_until
from test_view_admin_rules import FakeEngine
from test_view_administration import HEALTH, FakeHealth
from view_states import PAGES, PARTS

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.rule_engine import EngineAddress
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.store import BoxRecord, LocationRecord
from opq_cloud.store.incidents.index import IncidentNote
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE
from opq_proto.messages import Finding

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cheap_argon2")]
BAD = "\"'><img src=x onerror=alert(1)>"
MADE = "document.querySelectorAll('[onerror], img[src=x]').length"
"""Elements that the text has become: what the policy against inline code stops would still be one."""
DRAWN = "() => !document.querySelector('.scripted .plot:not([data-drawn], .plot-failed)')"
SHOWN = {
    "/",
    "/sites/mill",
    "/incidents/2",
    "/boxes/1",
    "/account",
    "/admin/plugins",
    "/admin/system",
    "/admin/boxes/1",
}
"""Pages on which the text itself must stand."""


class BadHealth(FakeHealth):
    """Services, triggers and plug-ins of Mauka whose names and words are markup."""

    health = json.loads(
        json.dumps(HEALTH).replace("SagPlugin", json.dumps(BAD)[1:-1]).replace("<b>", "<img src=x>")
    )


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def put_bad_names(running: demo.Scene) -> str:
    """Everything that a person, a Box or a plug-in may name; returns an administrator's account id."""
    store, now_ns = running.store, time.time_ns()
    demo.fill(store, now_ns, minutes=2)
    store.put_location(LocationRecord("home", 21.3, -157.8, BAD))
    for box_id in "124":
        place = {"region": BAD, "feeder": BAD, "site": "mill", "phase": BAD}
        store.put_box(BoxRecord(box_id, BAD, "home", description=BAD, **place))
    sag = Finding(
        BAD, "1", now_ns - 10**9, now_ns, 1000, True, residual_percent=70.0, ieee1159=BAD, because=BAD
    )
    put_findings(store, 2, [sag])
    assert store.incident(2) is not None
    ada = add_people(running, ada="admin")["ada"]
    store.people.change_account(ada, lambda was: type(was)(**{**_facts(was), "name": BAD}))
    store.put_note(IncidentNote(0, 2, 1000, ada, "note", BAD))
    store.people.changes.add(ada, BAD, BAD, BAD, {BAD: BAD}, {BAD: 1})
    return ada


def _facts(account: object) -> dict[str, object]:
    return {name: getattr(account, name) for name in account.__dataclass_fields__}  # type: ignore[attr-defined]


def test_no_users_text_becomes_markup(tmp_path: Path, browser: "sync_api.Browser") -> None:
    """No name, note, class or plug-in becomes markup."""
    engine = FakeEngine()
    engine.plugin = engine.plugin_help = BAD
    token = tmp_path / "token"
    token.write_text("secret\n")
    with served(engine) as url, served(ThreadingHTTPServer(("127.0.0.1", 0), BadHealth)) as health:
        addresses = ServiceAddresses(
            health=(("opq", health),), engines=(EngineAddress("makai", url, token),), folder=tmp_path
        )
        running = demo.Scene(tmp_path, poll_s=0.2, addresses=addresses)
        account = running.store.people.account(put_bad_names(running))
        assert account is not None
        with running:
            secret = SignIn(running.store.people).begin_session(account, "127.0.0.1", BAD)
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.set_default_timeout(240_000)
            context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": running.url}])
            page = context.new_page()
            wrong = []
            paths = {path for path in PAGES.values() if path not in PARTS}
            for path in sorted(paths | {each.replace("/incidents/1", "/incidents/2") for each in paths}):
                page.goto(running.url + path)
                wait_until(page, DRAWN)
                if page.evaluate(MADE):
                    wrong.append(f"{path}: it became an element")
                if path in SHOWN and "onerror=" not in page.inner_text("body"):
                    wrong.append(f"{path}: it is not shown")
            assert wrong == []
            page.goto(running.url)
            page.locator("#feed:not([hidden])").wait_for()
            now_ns = time.time_ns()
            put_findings(
                running.store, 3, [Finding(BAD, "2", now_ns, now_ns + 10**8, 1000, True, because=BAD)]
            )
            page.locator("li.incident-new").wait_for()  # by the live feed
            assert "onerror=" in page.locator("li.incident-new").inner_text()
            page.keyboard.press("/")
            page.keyboard.type("onerror")
            page.locator("[role=option]", has_text="onerror=").first.wait_for()
            assert page.evaluate(MADE) == 0
            context.close()
