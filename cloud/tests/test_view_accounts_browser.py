"""Accounts in a real browser: from the first administrator to a deletion; how the pages look to people."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pyotp
import pytest
from account_scene import PASSWORD, add_people

from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.web.links import first_admin_link
from opq_cloud.view.web.sign_in import SignIn

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
pytestmark = pytest.mark.usefixtures("cheap_argon2")
PAGES = (
    "/sign-in",
    "/account",
    "/account/boxes",
    "/account/sites",
    "/account/second-factor",
    "/boxes/1/settings",
    "/boxes/1?ask=1",
    "/account/notifications",
    "/account/notifications/new",
    "/admin/accounts",
    "/admin/changes",
)
SMALL_TARGETS = """() => [...document.querySelectorAll('a, button, select, summary')].filter(item => {
  const box = item.getBoundingClientRect();
  return box.width > 0 && box.height < 24 && !item.matches('.skip');
}).map(item => item.outerHTML.slice(0, 80))"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path, poll_s=0.5)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def _new_page(browser: "sync_api.Browser", scripts: bool = True, **options: object) -> "sync_api.Page":
    context = browser.new_context(java_script_enabled=scripts, **options)
    context.set_default_timeout(240_000)
    return context.new_page()


def _fill_account(page: "sync_api.Page", email: str, name: str) -> None:
    if page.locator("#email").is_editable():  # a link has its e-mail
        page.fill("#email", email)
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.fill("#password_again", PASSWORD)
    page.get_by_role("button", name="Make the account").click()


def test_an_incident_on_the_screen_is_seen(scene: demo.Scene, browser: "sync_api.Browser") -> None:
    """The page's script marks it, once; the list shows the others as new."""
    person = scene.store.people.account(add_people(scene, ada="viewer")["ada"])
    assert person is not None
    scene.store.people.change_account(person.account_id, lambda each: replace(each, created_ms=0))
    scene.store.people.change_access("1", lambda _: BoxAccess("1", person.account_id))
    scene.store.people.change_access("4", lambda _: BoxAccess("4", person.account_id))
    cookie = SignIn(scene.store.people).begin_session(person, "127.0.0.1", "test")
    page = _new_page(browser)
    page.context.add_cookies([{"name": "opq_session", "value": cookie, "url": scene.url}])
    page.goto(f"{scene.url}/incidents?work=new")
    assert (count := page.locator("tr.is-new").count()) > 0
    first = page.locator("tr.is-new").first
    number = first.get_attribute("data-incident")
    with page.expect_response(lambda answer: answer.url.endswith(f"/incidents/{number}/seen")) as marked:
        first.locator("a").first.click()
    assert marked.value.status == 204
    page.goto(f"{scene.url}/incidents?work=new")
    assert page.locator("tr.is-new").count() == count - 1
    assert page.locator(f'tr[data-incident="{number}"]').count() == 0
    page.get_by_text("Nothing here fits").wait_for()


def test_signing_out_hides_former_pages_from_back(scene: demo.Scene, browser: "sync_api.Browser") -> None:
    """Without JavaScript; with it a page hides what it shows as soon as its session has ended."""
    add_people(scene, ada="admin")
    page = _new_page(browser, scripts=False)
    page.goto(f"{scene.url}/sign-in?next=/incidents/1")
    page.fill("#email", "ada@example.org")
    page.fill("#password", PASSWORD)
    page.locator("main button[type=submit]").first.click()
    page.locator("h1", has_text="Sag").wait_for()
    page.goto(f"{scene.url}/account")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.go_back()
    page.go_back()
    assert "Sag" not in page.locator("body").inner_text()


def test_from_the_first_administrator_to_a_deleted_account(
    scene: demo.Scene, browser: "sync_api.Browser"
) -> None:
    ada = _new_page(browser)
    ada.goto(first_admin_link(scene.store.people, scene.url) or "")
    _fill_account(ada, "ada@example.org", "Ada")
    ada.get_by_role("link", name="Administration").click()
    ada.get_by_role("link", name="Accounts", exact=True).click()
    ada.fill("#email", "eve@example.org")
    ada.get_by_role("button", name="Make the invitation").click()
    link = ada.locator("code.secret").inner_text()
    ada.goto(scene.url + "/boxes/1/settings")
    ada.get_by_role("button", name="Make a code").click()
    claim = ada.locator("code.secret").inner_text()

    eve = _new_page(browser, scripts=False)  # all of it works without JavaScript
    eve.goto(link)
    _fill_account(eve, "eve@example.org", "Eve")
    eve.get_by_role("link", name="Add a second factor").click()
    secret = eve.locator("code.secret").inner_text()
    eve.fill("#present_password", PASSWORD)
    eve.fill("#code", pyotp.TOTP(secret).now())
    eve.get_by_role("button", name="Set it up").click()
    eve.get_by_role("link", name="Done").wait_for()  # it comes after all codes
    recovery, another = eve.locator(".codes code").all_inner_texts()[:2]
    eve.get_by_role("button", name="Sign out").click()
    eve.fill("#email", "eve@example.org")
    eve.fill("#password", PASSWORD)
    eve.fill("#code", recovery)
    eve.get_by_role("button", name="Sign in").click()
    eve.goto(scene.url + "/account/boxes")
    eve.fill("#proof", claim)
    eve.get_by_role("button", name="Claim it").click()
    eve.fill("#name", "kitchen")
    eve.get_by_role("button", name="Save").click()
    eve.goto(scene.url)
    assert eve.locator(".card").count() == 1 and "kitchen" in eve.locator(".card").inner_text()
    eve.goto(scene.url + "/account")
    eve.get_by_text("Delete the account").click()
    eve.fill("#delete-password", PASSWORD)
    eve.fill("#delete-password-code", another)
    eve.get_by_role("button", name="Delete my account").click()
    assert "Nothing of it is left" in eve.locator("main").inner_text()
    assert [each.name for each in scene.store.people.accounts()] == ["Ada"]
    assert scene.store.people.access("1").owner_id == ""
    for page in (ada, eve):
        page.context.close()


def test_a_form_clicked_twice_is_sent_once(scene: demo.Scene, browser: "sync_api.Browser") -> None:
    people = scene.store.people
    account = people.account(add_people(scene, joe="owner")["joe"])
    assert account is not None
    secret = SignIn(people).begin_session(account, "127.0.0.1", "a browser")
    page = _new_page(browser)
    page.context.add_cookies([{"name": "opq_session", "value": secret, "url": scene.url}])
    page.goto(scene.url + "/account")
    page.fill("#label", "a program")
    page.fill("#token-password", PASSWORD)
    page.get_by_role("button", name="Make a token").dblclick()
    page.locator("code.secret").wait_for()
    assert len(people.tickets("token")) == 1
    page.get_by_role("button", name="Sign out").click()  # it leaves by another form
    page.wait_for_url("**/sign-in")
    page.context.close()


def test_an_ended_session_clears_every_open_page(scene: demo.Scene, browser: "sync_api.Browser") -> None:
    """A session that ends and a Box that is shared no longer clear every open page."""
    people = scene.store.people
    eve = people.account(add_people(scene, eve="owner")["eve"])
    assert eve is not None
    people.share_box("1", eve.account_id, True)
    secret = SignIn(people).begin_session(eve, "127.0.0.1", "a browser")
    front = _new_page(browser)
    front.context.add_cookies([{"name": "opq_session", "value": secret, "url": scene.url}])
    behind = {"/incidents/1": front.context.new_page(), "/account": front.context.new_page()}
    front.goto(scene.url)
    for path, tab in behind.items():  # headless, each tab says that it is seen
        tab.add_init_script("Object.defineProperty(document, 'hidden', {value: true, writable: true})")
        tab.goto(scene.url + path)
        assert tab.locator(".who").inner_text().startswith("Eve")
    front.locator("#feed:not([hidden])").wait_for()
    people.end_access(eve.account_id)
    front.wait_for_url(scene.url + "/sign-in?ended=true&next=%2F")
    assert "the session of this browser has ended" in front.locator("main").inner_text()
    for path, tab in behind.items():
        tab.locator("main").wait_for(state="hidden")
        assert tab.locator("body").inner_text() == "" and tab.url == scene.url + path
    front.fill("#email", "eve@example.org")
    front.fill("#password", PASSWORD)
    front.get_by_role("button", name="Sign in").click()
    front.wait_for_url(scene.url + "/")
    for path, tab in behind.items():
        tab.evaluate("document.hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
        tab.locator("main").wait_for()
        assert tab.url == scene.url + path and tab.locator(".who").inner_text().startswith("Eve")
    incident = behind["/incidents/1"]
    incident.evaluate("document.hidden = false; sessionStorage.setItem('opq-led', Date.now() + 6e5)")
    front.goto(scene.url + "/boxes/1")
    front.evaluate("sessionStorage.clear()")  # this tab has not led anywhere
    front.locator("#feed:not([hidden])").wait_for()
    people.share_box("1", eve.account_id, False)
    front.get_by_text("it is not shared with you now").wait_for()
    assert front.url == scene.url + "/boxes/1"
    incident.get_by_text("This page is not shown to you any more").wait_for()  # it led a moment ago
    assert incident.locator("body").inner_text().endswith("Go on")
    assert incident.url == scene.url + "/incidents/1"
    incident.get_by_role("link", name="Go on").click()
    incident.wait_for_url(scene.url + "/incidents/1")
    incident.locator(".failure").wait_for()
    front.context.close()


@pytest.mark.parametrize(
    ("scheme", "width"), [pytest.param("light", 1440, marks=pytest.mark.slow), ("dark", 390)]
)
def test_pages_of_accounts_fit_and_axe_finds_nothing(
    scene: demo.Scene, browser: "sync_api.Browser", scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    ids = add_people(scene, ada="admin", eve="owner")
    people = scene.store.people
    people.claim_box("1", ids["ada"])
    people.share_box("1", ids["eve"], True)
    people.changes.add(ids["ada"], "127.0.0.1", "claimed a Box", "box 1")
    account = people.account(ids["ada"])
    assert account is not None
    secret = SignIn(people).begin_session(account, "127.0.0.1", "a browser")
    page = _new_page(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path in PAGES:
        page.goto(scene.url + path)
        results = axe.Axe().run(page)
        assert results.violations_count == 0, f"{path}: {results.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(SMALL_TARGETS) == [], path
        page.context.add_cookies([{"name": "opq_session", "value": secret, "url": scene.url}])
    page.context.close()
