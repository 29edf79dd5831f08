"""Each flow by keyboard alone, in real Chromium: no trap, focus in sight, in the order of the page.

One short flow by default; `pytest -m slow` goes through all of them and walks every page of `view_states.py`.
"""

import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import demo
import numpy as np
import pyotp
import pytest
from account_scene import PASSWORD, add_people
from keyboard import WAIT_MS, Keyboard
from notification_scene import MailSink
from page_waits import wait_until
from test_view_admin_rules import FakeEngine
from view_states import PAGES, PARTS
from waiting import wait_for

from opq_cloud.core.settings.view import MailSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.rule_engine import EngineAddress
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.web.links import first_admin_link
from opq_proto.keys.key_files import KeyFolder

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = pytest.mark.usefixtures("cheap_argon2")
DRAWN = "() => !document.querySelector('.scripted .plot:not([data-drawn], .plot-failed)')"
LENGTH = "(({ end, start }) => end - start)(document.getElementById('examine').dataset)"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    folder = tmp_path_factory.mktemp("keyboard")
    keys = KeyFolder(folder / "curve")
    keys.create(True, ["1", "2", "4"])
    engine = FakeEngine()
    thread = threading.Thread(target=engine.serve_forever)
    thread.start()
    token = folder / "token"
    token.write_text("secret\n")
    address = EngineAddress("makai", f"http://127.0.0.1:{engine.server_address[1]}", token)
    addresses = ServiceAddresses(engines=(address,), folder=folder)
    running = demo.Scene(folder, poll_s=0.5, keys=keys, addresses=addresses)
    demo.fill(running.store, time.time_ns(), minutes=1)
    incident = running.store.incident(1)
    assert incident is not None
    other = incident.findings[0].finding
    put_findings(running.store, 1, [replace(other, box_id="4", residual_percent=89.0, residual_v=106.8)])
    add_people(running, ada="admin", eve="owner")
    with running:
        yield running
    engine.shutdown()
    thread.join()
    engine.server_close()


@pytest.fixture
def keyboard(browser: "sync_api.Browser") -> Iterator[Keyboard]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    hands = Keyboard(context.new_page())
    yield hands
    context.close()
    assert hands.wrong == []


def sign_in(hands: Keyboard, scene: demo.Scene, name: str, password: str = PASSWORD) -> None:
    hands.open(f"{scene.url}/sign-in")
    hands.tab_to("E-mail")
    hands.type(f"{name}@example.org")
    hands.press("Tab")
    hands.type(password)
    hands.press("Enter")
    hands.page.locator("h1", has_text="Boxes").wait_for()


def at_url(hands: Keyboard, pattern: str) -> Callable[[], object]:
    return lambda: hands.page.wait_for_url(re.compile(pattern))


def test_examine_is_reached_by_keyboard(scene: demo.Scene, keyboard: Keyboard) -> None:
    """By keyboard: sign in, find an incident, examine it with cursors and zoom."""
    page = keyboard.page
    sign_in(keyboard, scene, "ada")
    keyboard.follow("Incidents", at_url(keyboard, "/incidents$"), "a")
    keyboard.tab_to("Class", "select")
    keyboard.type("Sag")
    keyboard.follow("Show", at_url(keyboard, "class=sag"), "button")
    keyboard.follow("#1", at_url(keyboard, "/incidents/1"), "a")
    keyboard.follow("Examine", at_url(keyboard, "/incidents/1/examine"), "a")

    def shows(pattern: str) -> None:
        wait_until(
            page,
            "pattern => new RegExp(pattern).test(document.getElementById('examine').dataset.query)"
            " && location.search.slice(1) === document.getElementById('examine').dataset.query",
            arg=pattern,
        )

    keyboard.tab_to("Waveform,", "figure")
    keyboard.press("b", "Home")
    start_ms = float(page.locator("#examine").get_attribute("data-start") or "nan")
    shows(f"b={start_ms:g}ms")
    keyboard.press("a", "End", "Shift+ArrowLeft")
    shows(r"a=[0-9.]+ms")
    whole_ms = page.evaluate(LENGTH)
    keyboard.press("+")
    wait_until(page, f"whole => Math.abs({LENGTH} * 2 - whole) < 0.01", arg=whole_ms)
    stop = keyboard.stop()
    assert stop is not None and stop["tag"] == "figure", "the focus is where it was"
    keyboard.press("0")
    wait_until(page, f"whole => Math.abs({LENGTH} - whole) < 0.01", arg=whole_ms)


@pytest.mark.slow
def test_a_box_is_claimed(scene: demo.Scene, keyboard: Keyboard) -> None:
    sign_in(keyboard, scene, "ada")
    page = keyboard.page
    keyboard.open(f"{scene.url}/boxes/2/settings")
    keyboard.follow("Make a code", page.locator("code.secret").wait_for, "button")
    code = page.locator("code.secret").inner_text()
    page.context.clear_cookies()
    sign_in(keyboard, scene, "eve")
    keyboard.open(f"{scene.url}/account/boxes")
    keyboard.tab_to("Its gateway's code")
    keyboard.type(code)
    keyboard.follow("Claim it", at_url(keyboard, "/boxes/2/settings"), "button")
    keyboard.tab_to("Name")
    keyboard.press("Control+a")
    keyboard.type("cellar")
    keyboard.press("Enter")
    page.locator("#name[value=cellar]").wait_for()


@pytest.mark.slow
def test_an_incident_is_exported_and_split(scene: demo.Scene, keyboard: Keyboard, tmp_path: Path) -> None:
    sign_in(keyboard, scene, "ada")
    page = keyboard.page
    keyboard.open(f"{scene.url}/incidents/1")
    wait_until(page, DRAWN)
    keyboard.tab_to("COMTRADE", "a")
    with page.expect_download() as download:
        keyboard.press("Enter")
    assert download.value.suggested_filename == "incident-1-comtrade.zip"
    incident = scene.store.incident(1)
    assert incident is not None
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    events = [scene.store.event(event_id) for event_id in incident.event_ids]
    waves = [(event.event_id, wave) for event in events if event for wave in event.waveforms]
    assert len(waves) == 3
    import comtrade  # loads pandas: not while tests are found

    for event_id, wave in waves:  # as somebody else's program reads it
        read = comtrade.Comtrade(use_numpy_arrays=True, use_double_precision=True, ignore_warnings=True)
        stem = tmp_path / f"event-{event_id}-box-{wave.box_id}"
        read.load(f"{stem}.cfg", f"{stem}.dat")
        assert np.array_equal(np.round(read.analog[0] / wave.v_per_lsb), wave.counts)
    keyboard.tab_to("Split", "summary")
    keyboard.press("Space")
    keyboard.press("Tab")
    assert (keyboard.stop() or {})["type"] == "checkbox"
    keyboard.press("Space")
    keyboard.follow("Split", at_url(keyboard, r"/incidents/\d+"), "button")
    page.get_by_text("split").first.wait_for()
    assert len(scene.store.incidents()) == 2


@pytest.mark.slow
def test_a_key_is_revoked(scene: demo.Scene, keyboard: Keyboard) -> None:
    sign_in(keyboard, scene, "ada")
    keyboard.follow("Administration", at_url(keyboard, "/admin$"), "a")
    keyboard.follow("Keys", at_url(keyboard, "/admin/keys"), "a")
    keyboard.tab_to("Revoke the key of Box 4: asks first")
    keyboard.press("Enter")
    keyboard.tab_to("Revoke the key of Box 4", "button")
    keyboard.press("Enter")
    keyboard.page.locator("#box-4", has_text="shut out").wait_for()


@pytest.mark.slow
def test_the_first_administrator_signs_up_by_keyboard(tmp_path: Path, keyboard: Keyboard) -> None:
    """By keyboard: the first administrator, an invitation and a second factor."""
    page = keyboard.page

    def fill_account(email: str) -> None:
        keyboard.tab_to("E-mail")
        keyboard.type(email)
        keyboard.press("Tab", "Control+a")
        keyboard.type("Ada / g? [")  # keys that do something elsewhere
        keyboard.press("Tab")
        keyboard.type(PASSWORD)
        keyboard.press("Tab")
        keyboard.type(PASSWORD)

    def enter(email: str, code: str, done: Callable[[], object]) -> None:
        keyboard.tab_to("E-mail")
        keyboard.press("Control+a")
        keyboard.type(email)
        keyboard.press("Tab")
        keyboard.type(PASSWORD)
        keyboard.press("Tab")
        keyboard.type(code)
        keyboard.press("Enter")
        done()

    with demo.Scene(tmp_path, poll_s=0.5) as fresh:
        keyboard.open(first_admin_link(fresh.store.people, fresh.url) or "")
        fill_account("eve@example.org")
        keyboard.press("Control+a")
        keyboard.type("another one than before")
        keyboard.follow("Make the account", page.get_by_role("alert").wait_for, "button")
        fill_account("ada@example.org")
        keyboard.follow("Make the account", page.get_by_role("button", name="Sign out").wait_for, "button")
        page.get_by_text("Ada / g? [", exact=True).first.wait_for()
        keyboard.open(f"{fresh.url}/admin/accounts")
        keyboard.tab_to("E-mail")
        keyboard.type("bob@example.org")
        keyboard.follow("Make the invitation", page.locator("code.secret").wait_for, "button")
        link = page.locator("code.secret").inner_text()
        keyboard.follow("Sign out", at_url(keyboard, "/sign-in"), "button")
        keyboard.open(link)
        fill_account("bob@example.org")
        keyboard.follow("Make the account", page.get_by_role("button", name="Sign out").wait_for, "button")
        keyboard.open(f"{fresh.url}/account")
        keyboard.follow("Add a second factor", at_url(keyboard, "/account/second-factor"), "a")
        secret = page.locator("code.secret").inner_text()
        keyboard.tab_to("Present password")
        keyboard.type(PASSWORD)
        keyboard.tab_to("Code")
        keyboard.type("000000")
        keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        secret = page.locator("code.secret").inner_text()
        keyboard.tab_to("Present password")
        keyboard.type(PASSWORD)
        keyboard.tab_to("Code")
        keyboard.type(pyotp.TOTP(secret).now())
        keyboard.press("Enter")
        page.locator(".codes code").first.wait_for()
        recovery = page.locator(".codes code").first.inner_text()
        keyboard.follow("Done", at_url(keyboard, "/account$"), "a")
        keyboard.follow("Sign out", at_url(keyboard, "/sign-in"), "button")
        enter("bob@example.org", "000000", page.get_by_role("alert").wait_for)
        enter("bob@example.org", recovery, page.get_by_role("button", name="Sign out").wait_for)


@pytest.mark.slow
def test_a_forgotten_password_is_replaced_by_mail(tmp_path: Path, keyboard: Keyboard) -> None:
    page, new = keyboard.page, "another horse in a battery"
    lost = demo.Scene(tmp_path, poll_s=0.5)
    demo.fill(lost.store, time.time_ns(), minutes=1)
    with MailSink() as sink:
        mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
        lost.view._config = replace(lost.config, mail=mail, public_url="http://pq.example")
        with lost:
            add_people(lost, ada="admin")
            keyboard.open(f"{lost.url}/sign-in")
            keyboard.follow("Forgotten the password?", at_url(keyboard, "/reset$"), "a")
            keyboard.tab_to("E-mail")
            keyboard.type("ada@example.org")
            keyboard.press("Enter")
            page.get_by_text("a link is on its way").wait_for()
            text = wait_for(lambda: list(sink.mails))[0].get_content()
            link = re.search(r"http://pq\.example(/reset/new\?code=[\w-]+)", text)
            assert link is not None
            keyboard.open(lost.url + link[1])
            for again in (f"{new}!", new):  # at first the two differ
                keyboard.tab_to("New password")
                keyboard.type(new)
                keyboard.press("Tab")
                keyboard.type(again)
                keyboard.press("Enter")
                if again != new:
                    page.get_by_role("alert").wait_for()
            page.wait_for_url(re.compile("/sign-in"))
            sign_in(keyboard, lost, "ada", new)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("width", [390, 1440])
def test_tab_goes_through_every_page_and_leaves_it(scene: demo.Scene, keyboard: Keyboard, width: int) -> None:
    sign_in(keyboard, scene, "ada")
    keyboard.page.set_viewport_size({"width": width, "height": 844})
    for path in (path for path in PAGES.values() if path not in PARTS):
        keyboard.open(scene.url + path)
        wait_until(keyboard.page, DRAWN)
        names = keyboard.walk()
        assert len(names) > 3 or path == "/wall", path  # a wall has no keyboard
