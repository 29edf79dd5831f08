"""Signing in by OpenID Connect: the whole way over HTTP, and each answer of a provider that does not hold."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people
from openid_house import CLIENT, SECRET, OpenIdHouse

from opq_cloud.view.accounts.links import make_ticket
from opq_cloud.view.accounts.openid_pages import OpenIdFlow
from opq_cloud.view.accounts.openid_provider import OpenIdError, OpenIdPerson, OpenIdProvider
from opq_cloud.view_settings import OpenIdSection
from opq_proto.errors import ConfigError

pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture
def house() -> Iterator[OpenIdHouse]:
    with OpenIdHouse() as running:
        yield running


@pytest.fixture
def scene(tmp_path: Path, house: OpenIdHouse) -> Iterator[demo.Scene]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    running = demo.Scene(tmp_path / "view", poll_s=30.0)
    running.view._config = replace(
        running.config,
        openid=OpenIdSection(issuer=house.issuer, client_id=CLIENT, client_secret_file=secret, name="Campus"),
    )
    with running:
        add_people(running, boss="admin")
        yield running


def provider_of(scene: demo.Scene) -> OpenIdSection:
    found = scene.view._config.openid
    assert found is not None
    return found


def through(browser: FormBrowser, start: str = "/sign-in/openid") -> int:
    """From a link to the provider and back, as a browser follows it."""
    browser.get(start)
    return back_from(browser, browser.headers.get("location", ""))


def back_from(browser: FormBrowser, address: str) -> int:
    back = urlsplit(location_of(address))
    return browser.get(f"{back.path}?{back.query}")


def location_of(address: str) -> str:
    """Where the provider sends a browser back to."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return str(answer.headers["Location"])


def test_an_invited_person_comes_in_by_the_provider_and_comes_in_again(
    scene: demo.Scene, house: OpenIdHouse
) -> None:
    people = scene.store.people
    code = make_ticket(people, "invitation", 600, email="other@example.org", role="researcher")
    browser = FormBrowser(scene.url)
    browser.get(f"/register?code={code}")
    assert "Accept with Campus" in browser.text
    assert through(browser, f"/sign-in/openid?invitation={code}") == 303
    account = people.account_of("ada@example.org")
    assert account is not None and (account.role, account.password_hash) == ("researcher", "")
    assert account.openid == f"{house.issuer} ada"
    assert browser.get("/account") == 200 and "Connected" in browser.text
    again = FormBrowser(scene.url)
    house.claims["email"] = "ada@elsewhere.example"  # it is known by its subject
    assert again.get("/sign-in?next=/incidents") == 200 and "Sign in with Campus" in again.text
    assert through(again, "/sign-in/openid?next=/incidents") == 303
    assert again.headers["location"] == "/incidents" and again.get("/account") == 200
    assert "accepted an invitation by Campus" in [entry.what for entry in people.changes.entries()]
    assert through(FormBrowser(scene.url), f"/sign-in/openid?invitation={code}") == 303  # known by now
    house.claims["sub"] = "eve"
    assert through(FormBrowser(scene.url), f"/sign-in/openid?invitation={code}") == 404  # used up


def test_an_e_mail_alone_opens_no_account_and_an_owner_connects_theirs(
    scene: demo.Scene, house: OpenIdHouse
) -> None:
    people = scene.store.people
    ids = add_people(scene, ada="owner")
    browser = FormBrowser(scene.url)
    assert through(browser) == 403 and "connect it" in browser.text
    browser.sign_in("ada@example.org")
    assert browser.post("/account/openid", "/account", present_password="wrong") == 403
    assert browser.post("/account/openid", "/account", present_password=PASSWORD) == 200
    address = browser.text.partition('class="button" href="')[2].partition('"')[0]
    assert address.startswith(house.issuer)
    assert back_from(browser, address) == 303
    account = people.account(ids["ada"])
    assert account is not None and account.openid == f"{house.issuer} ada"
    other = FormBrowser(scene.url)
    assert through(other) == 303 and other.get("/account") == 200 and "ada@example.org" in other.text
    assert other.post("/account/openid/remove", "/account") == 303
    assert through(FormBrowser(scene.url)) == 403


def test_what_one_begins_another_browser_does_not_end(scene: demo.Scene, house: OpenIdHouse) -> None:
    """Login CSRF: an attacker's own answer, opened by somebody else, signs nobody in and connects nobody."""
    add_people(scene, ada="owner", eve="owner")
    attacker, victim = FormBrowser(scene.url), FormBrowser(scene.url)
    attacker.sign_in("eve@example.org")
    victim.sign_in("ada@example.org")
    attacker.post("/account/openid", "/account", present_password=PASSWORD)
    address = attacker.text.partition('class="button" href="')[2].partition('"')[0]
    assert back_from(victim, address) == 400 and "another browser" in victim.text
    victim.cookies["opq_openid"] = attacker.cookies["opq_openid"]  # even with the attacker's cookie
    assert back_from(victim, address) == 400
    assert [each.openid for each in scene.store.people.accounts()] == ["", "", ""]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"claims": {"nonce": "of another sign-in"}}, "another sign-in"),
        ({"claims": {"aud": "another program"}}, "does not hold"),
        ({"claims": {"iss": "https://evil.example"}}, "does not hold"),
        ({"claims": {"exp": 1_000_000_000}}, "does not hold"),
        ({"claims": {"azp": "another program"}}, "another program"),
        ({"claims": {"sub": ""}}, "names nobody"),
        ({"algorithm": "none"}, "does not hold"),
        ({"algorithm": "HS256"}, "does not hold"),
        ({"signer": None}, "does not hold"),
    ],
)
def test_an_id_token_that_does_not_hold_is_nobodys(
    house: OpenIdHouse, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    provider = OpenIdProvider(
        OpenIdSection(issuer=house.issuer, client_id=CLIENT, client_secret_file=tmp_path / "secret")
    )

    def person() -> OpenIdPerson:
        address = provider.address("http://view.example/back", "state", "nonce", "verifier")
        code = parse_qs(urlsplit(location_of(address)).query)["code"][0]
        return provider.person(code, "http://view.example/back", "nonce", "verifier")

    assert person() == OpenIdPerson(f"{house.issuer} ada", "ada@example.org", "")
    if "signer" in change:
        house.signer = OpenIdHouse.drawn_key()
    house.key_id = change.get("key_id", house.key_id)
    house.claims |= change.get("claims", {})
    house.algorithm = change.get("algorithm", house.algorithm)
    with pytest.raises(OpenIdError, match=says):
        person()


def test_a_refused_token_signs_nobody_in_and_is_in_the_log(scene: demo.Scene, house: OpenIdHouse) -> None:
    ids = add_people(scene, ada="owner")
    scene.store.people.change_account(ids["ada"], lambda was: replace(was, openid=f"{house.issuer} ada"))
    house.signer = OpenIdHouse.drawn_key()
    browser = FormBrowser(scene.url)
    assert through(browser) == 502 and "does not hold" in browser.text
    assert "opq_session" not in browser.cookies and "opq_openid" not in browser.cookies
    assert scene.store.people.changes.entries()[0].what == "was refused at sign-in"


def test_tries_of_strangers_do_not_close_the_way_to_others(
    scene: demo.Scene, house: OpenIdHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: str) -> OpenIdPerson:
        raise OpenIdError("the provider knows no such code")

    ids = add_people(scene, ada="owner")
    scene.store.people.change_account(ids["ada"], lambda was: replace(was, openid=f"{house.issuer} ada"))
    flow = OpenIdFlow.begun("enter", "/")
    back, answers = f"/sign-in/openid/back?code=made-up&state={flow.state}", []
    with monkeypatch.context() as quick:
        quick.setattr(OpenIdProvider, "person", unknown)
        for number in range(36):
            stranger = FormBrowser(scene.url, {"opq_openid": flow.cookie()})
            answers.append(stranger.get(back, x_forwarded_for=f"198.51.100.{min(number, 30)}"))
    assert answers == [502] * 35 + [429]
    assert through(FormBrowser(scene.url)) == 303


def test_new_keys_of_the_provider_are_read_and_a_flood_of_unknown_ones_is_not(house: OpenIdHouse) -> None:
    now_s = 0.0
    provider = OpenIdProvider(OpenIdSection(issuer=house.issuer, client_id=CLIENT), lambda: now_s)
    header = {"kid": "first"}
    assert provider._key(header).key_id == "first"
    house.new_key("second")
    now_s = 61.0
    assert provider._key({"kid": "second"}).key_id == "second"
    for _ in range(20):
        with pytest.raises(Exception, match="does not publish"):
            provider._key({"kid": "third"})
    assert house.asked["/keys"] == 2


def test_who_registers_there_gets_the_role_that_is_set_and_only_with_a_verified_e_mail(
    scene: demo.Scene, house: OpenIdHouse
) -> None:
    object.__setattr__(provider_of(scene), "registers", True)
    house.claims["email_verified"] = False
    browser = FormBrowser(scene.url)
    assert through(browser) == 403 and "verified e-mail" in browser.text
    house.claims["email_verified"] = True
    assert through(browser) == 303
    account = scene.store.people.account_of("ada@example.org")
    assert account is not None and account.role == "viewer"
    browser.get("/account/data.json")
    assert json.loads(browser.text)["account"]["openid"] == f"{house.issuer} ada"
    house.claims |= {"sub": "eve", "email": "boss@example.org"}
    stranger = FormBrowser(scene.url)
    assert through(stranger) == 409 and "already" in stranger.text
    assert browser.post("/account/delete", "/account") == 200  # just signed in, without a password
    assert scene.store.people.account_of("ada@example.org") is None


def test_without_a_password_a_session_that_is_old_proves_nothing(
    scene: demo.Scene, house: OpenIdHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(provider_of(scene), "registers", True)
    browser = FormBrowser(scene.url)
    assert through(browser) == 303
    later_s = time.time() + 601
    monkeypatch.setattr("opq_cloud.view.accounts.account_pages.time.time", lambda: later_s)
    assert browser.post("/account/delete", "/account") == 403 and "sign in with Campus again" in browser.text


def test_a_provider_that_is_away_is_said(tmp_path: Path) -> None:
    with OpenIdHouse() as gone:
        issuer = gone.issuer
    running = demo.Scene(tmp_path, poll_s=30.0)
    running.view._config = replace(running.config, openid=OpenIdSection(issuer=issuer, client_id=CLIENT))
    with running:
        browser = FormBrowser(running.url)
        assert browser.get("/sign-in/openid") == 502 and "does not answer" in browser.text
        assert browser.get("/sign-in") == 200


def test_a_configuration_that_cannot_be_safe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="want https"):
        OpenIdProvider(OpenIdSection(issuer="http://idp.example", client_id=CLIENT))
    with pytest.raises(ConfigError, match="client_secret_file"):
        OpenIdProvider(
            OpenIdSection(
                issuer="https://idp.example", client_id=CLIENT, client_secret_file=tmp_path / "none"
            )
        )
