"""Limits are not weapons: strangers who use up the tries of an e-mail do not keep its owner out."""

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people

from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.sign_in import DEVICE_S, device_mark, marked_device

pytestmark = pytest.mark.usefixtures("cheap_argon2", "no_tries_return")
HOME, ELSEWHERE = "198.51.100.7", "203.0.113.9"
ADA = "ada@example.org"


def post(browser: FormBrowser, path: str, address: str, **fields: str) -> int:
    """Sends the form from this address, by a proxy on this machine."""
    return browser.post(path, "/sign-in", {"X-Forwarded-For": address}, **fields)


def sign_in(browser: FormBrowser, address: str, password: str = PASSWORD) -> int:
    return post(browser, "/sign-in", address, email=ADA, password=password)


def flood(scene: demo.Scene) -> None:
    """Ten addresses try passwords until the common tries of the e-mail are used up."""
    stranger = FormBrowser(scene.url)
    answers = {sign_in(stranger, f"192.0.2.{k % 10}", "wrong") for k in range(50)}
    assert 429 in answers and 303 not in answers


@pytest.fixture
def owner(scene: demo.Scene) -> FormBrowser:
    add_people(scene, ada="owner")
    browser = FormBrowser(scene.url)
    assert sign_in(browser, HOME) == 303
    return browser


def test_strangers_do_not_keep_an_owner_out(scene: demo.Scene, owner: FormBrowser) -> None:
    """The device and the address that signed in before have tries of their own; other places wait."""
    flood(scene)
    assert sign_in(FormBrowser(scene.url), ELSEWHERE) == 429
    assert sign_in(FormBrowser(scene.url), HOME) == 303
    del owner.cookies["opq_session"]
    assert sign_in(owner, ELSEWHERE) == 303


def test_a_known_device_guesses_no_faster(scene: demo.Scene, owner: FormBrowser) -> None:
    del owner.cookies["opq_session"]
    answers = [sign_in(owner, f"203.0.113.{k}", "wrong") for k in range(7)]
    assert answers == [403] * 5 + [429] * 2
    assert sign_in(owner, ELSEWHERE) == 429


def test_strangers_do_not_block_a_session_proof(scene: demo.Scene, owner: FormBrowser) -> None:
    """The signed-in owner proves the present password and sets another one while strangers guess."""
    flood(scene)
    new = "quite another long password"
    fields = {"present_password": PASSWORD, "password": new, "password_again": new}
    owner.get("/account")
    assert owner.post("/account/password", headers={"X-Forwarded-For": ELSEWHERE}, **fields) == 303


def test_strangers_do_not_block_a_reset(
    scene: demo.Scene, owner: FormBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They use up the mails of strangers; a device that signed in before has some of its own, and a place."""
    sent: list[tuple[str, bool]] = []
    monkeypatch.setattr(Mailer, "ready", True)
    monkeypatch.setattr(
        Mailer, "send", lambda _, to, subject, text, of_stranger: sent.append((to, of_stranger))
    )
    del owner.cookies["opq_session"]
    stranger = FormBrowser(scene.url)
    assert {post(stranger, "/reset", f"192.0.2.{k % 10}", email=ADA) for k in range(50)} == {200}
    assert sent == [(ADA, True)] * 3
    assert post(owner, "/reset", ELSEWHERE, email=ADA) == 200 and sent[3:] == [(ADA, False)]


def test_the_device_cookie_outlives_its_session(scene: demo.Scene, owner: FormBrowser) -> None:
    """It is unreadable for scripts, alone it opens nothing, and signing out leaves it."""
    cookie = next(each for each in owner.set_cookies if each.startswith("opq_device="))
    assert {"HttpOnly", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    owner.get("/account")
    assert owner.post("/sign-out") == 303
    assert set(owner.cookies) == {"opq_device"}
    assert owner.get("/account") == 303 and owner.headers["location"].startswith("/sign-in")


def test_a_device_mark_is_for_one_account() -> None:
    """A mark that was changed, is for another account, or is a year old counts as none."""
    mark = device_mark(b"key", "ada", issued_s=1000)
    device = marked_device(b"key", "ada", mark, 1001.0)
    assert len(device) == 16
    assert marked_device(b"key", "ada", device_mark(b"key", "ada", device, 2000), 2001.0) == device
    wrong = (("eve", mark, 1001.0), ("ada", mark[:-1] + "x", 1001.0), ("ada", "", 1001.0))
    for account_id, text, now_s in (*wrong, ("ada", mark, 1001.0 + DEVICE_S)):
        assert marked_device(b"key", account_id, text, now_s) == ""
    assert marked_device(b"another", "ada", mark, 1001.0) == ""
