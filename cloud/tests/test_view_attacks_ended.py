"""Attacks with what has ended or is held open: forms sent slowly, older links, a provider that hangs."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people

from opq_cloud.core.settings.view import MailSection
from opq_cloud.store import BoxRecord
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.passwords import secret_hash

pytestmark = pytest.mark.usefixtures("cheap_argon2")


class HeldRequest:
    """A POST whose head View has accepted, and whose body has not been sent yet."""

    def __init__(self, connection: socket.socket, body: bytes) -> None:
        self._connection, self._body = connection, body

    def finish(self) -> int:
        """Sends the body; returns the status of the answer."""
        self._connection.sendall(self._body)
        return int(self._connection.makefile("rb").readline().split()[1])


@contextmanager
def held_post(scene: demo.Scene, path: str, body: bytes, *headers: str) -> Iterator[HeldRequest]:
    parts = urlsplit(scene.url)
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
        *headers,
        "",
        "",
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=240) as connection:
        connection.sendall("\r\n".join(lines).encode())
        wanted = b"HTTP/1.1 100 Continue\r\n\r\n"  # sent when the route begins to read
        got = b""
        while len(got) < len(wanted):
            got += connection.recv(len(wanted) - len(got))
        assert got == wanted
        yield HeldRequest(connection, body)


@contextmanager
def held_form(
    scene: demo.Scene, browser: FormBrowser, path: str, page: str, **fields: str
) -> Iterator[HeldRequest]:
    assert browser.get(page) == 200
    token = browser.text.split('name="form_token" value="')[1].partition('"')[0]
    body = urlencode({"form_token": token, **fields}).encode()
    cookie = f"Cookie: opq_session={browser.cookies['opq_session']}"
    kind = "Content-Type: application/x-www-form-urlencoded"
    with held_post(scene, path, body, cookie, kind) as held:
        yield held


def signed_in(scene: demo.Scene, email: str) -> FormBrowser:
    browser = FormBrowser(scene.url)
    assert browser.sign_in(email) == 303
    return browser


def test_a_slow_form_has_its_ends_rights(scene: demo.Scene) -> None:
    """A form that is sent slowly has only the rights of its end."""
    ids = add_people(scene, ada="admin", bob="admin", eve="owner")
    people = scene.store.people
    profile = {"name": "owned", "theme": "dark", "time_zone": "UTC"}
    with held_form(
        scene, signed_in(scene, "ada@example.org"), "/account/profile", "/account", **profile
    ) as ended:
        people.end_access(ids["ada"])
        assert ended.finish() == 401
    invitation = {"email": "friend@example.org", "role": "admin"}
    with held_form(
        scene, signed_in(scene, "bob@example.org"), "/admin/invitations", "/admin/accounts", **invitation
    ) as demoted:
        people.change_account(ids["bob"], lambda was: replace(was, role="viewer"))
        assert demoted.finish() == 404
    token = {"label": "mine", "days": "365"}
    with held_form(
        scene, signed_in(scene, "eve@example.org"), "/account/tokens", "/account", **token
    ) as deleted:
        people.delete_account(ids["eve"])
        assert deleted.finish() == 401
    ada = people.account(ids["ada"])
    assert ada is not None and ada.name == "Ada" and not people.tickets()


def test_a_slow_request_ends_with_its_token(scene: demo.Scene) -> None:
    """A request with a token that is sent slowly ends with the token."""
    ids = add_people(scene, ada="admin")
    scene.store.put_box(BoxRecord("1", "Kitchen"))
    people = scene.store.people
    secret = make_ticket(people, "token", 3600, account_id=ids["ada"], scopes=("read", "write"))
    with held_post(
        scene, "/api/v1/boxes/1/waveforms", b'{"seconds": 2}', f"Authorization: Bearer {secret}"
    ) as held:
        people.remove_ticket(secret_hash(secret))
        assert held.finish() == 403


@pytest.mark.parametrize("way", ["by mail", "on the account's page"])
def test_a_new_password_ends_other_links(scene: demo.Scene, way: str) -> None:
    ids = add_people(scene, ada="admin", eve="owner")
    people = scene.store.people
    used, older = (make_ticket(people, "reset", 3600, account_id=ids["ada"]) for _ in range(2))
    eves = make_ticket(people, "reset", 3600, account_id=ids["eve"])
    fresh = {"password": "another horse", "password_again": "another horse"}
    if way == "by mail":
        stranger = FormBrowser(scene.url)
        path = f"/reset/new?code={used}"
        assert stranger.post("/reset/new", path, link_code=used, **fresh) == 303
    else:
        ada = signed_in(scene, "ada@example.org")
        assert ada.post("/account/password", "/account", present_password=PASSWORD, **fresh) == 303
    browser = FormBrowser(scene.url)
    assert browser.get(f"/reset/new?code={older}") == 404
    assert browser.get(f"/reset/new?code={eves}") == 200


@pytest.mark.parametrize("public_url", [None, "https://pq.example"])
def test_the_sender_cannot_choose_a_links_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_url: str | None
) -> None:
    """A View that answers to any name would mail a secret with the name of the request in front of it."""
    sent: list[str] = []
    monkeypatch.setattr(Mailer, "send", lambda _, to, subject, text, **__: sent.append(text))
    running = demo.Scene(tmp_path, poll_s=30.0)
    mail = MailSection(server="127.0.0.1:9", security="none")
    running.view._config = replace(running.config, mail=mail, allowed_hosts=("*",), public_url=public_url)
    with running:
        add_people(running, ada="admin")
        thief, host = FormBrowser(running.url), {"Host": "evil.example"}
        assert thief.get("/reset", **host) == 200 and ("public_url" in thief.text) is (public_url is None)
        assert thief.get("/register", **host) == 404 and thief.get("/sign-in", **host) == 200
        assert thief.post("/reset", "", host, email="ada@example.org") == 200
    assert [f"{public_url}/reset/new?code=" in text for text in sent] == [True] * (public_url is not None)
