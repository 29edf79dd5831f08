"""An e-mail is proved before it has any effect: accounts, mails, invitations, shares, assignments."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people
from notification_scene import MailSink
from waiting import wait_for

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.mail import MAILS_WAITING, LinkLimits, Mailer

pytestmark = pytest.mark.usefixtures("cheap_argon2", "no_tries_return")
BOTH = {"password": PASSWORD, "password_again": PASSWORD}
VICTIM = "victim@example.org"


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink() as running:
        yield running


@pytest.fixture
def open_view(tmp_path: Path, sink: MailSink) -> Iterator[demo.Scene]:
    """A View where anybody may register."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
    running.view._config = replace(
        running.config, registration="open", mail=mail, public_url="http://pq.example"
    )
    with running:
        yield running


def mailed_link(sink: MailSink, page: str) -> str:
    """The path of the newest mail with a link to this page."""

    def found() -> str:
        texts = [each.get_content() for each in sink.mails]
        links = [re.search(rf"http://pq\.example({page}\S*)", text) for text in texts]
        return next((each[1] for each in reversed(links) if each), "")

    return str(wait_for(found))


def test_no_account_precedes_the_proof(open_view: demo.Scene, sink: MailSink) -> None:
    """Who registers with the e-mail of another person has nothing; its receiver makes the account."""
    people = open_view.store.people
    add_people(open_view, root="admin")
    thief, victim = FormBrowser(open_view.url), FormBrowser(open_view.url)
    assert thief.post("/register", "/register", email=VICTIM, name="BUY PILLS", **BOTH) == 200
    assert thief.sign_in(VICTIM) == 403 and people.account_of(VICTIM) is None
    link = mailed_link(sink, "/register")
    assert victim.get(link) == 200 and VICTIM in victim.text
    code, fresh = link.partition("code=")[2], {"password": "another horse", "password_again": "another horse"}
    assert victim.post("/register", link_code=code, email="thief@example.org", **fresh) == 303
    made = people.account_of(VICTIM)
    assert made is not None and (made.role, made.name) == ("owner", VICTIM)
    assert people.account_of("thief@example.org") is None, "the link is for its e-mail alone"
    assert thief.sign_in(VICTIM) == 403 and victim.get("/account") == 200
    assert FormBrowser(open_view.url).get(link) == 404
    assert "PILLS" not in "".join(each.as_string() for each in sink.mails)


def test_strangers_cause_few_mails(open_view: demo.Scene, sink: MailSink) -> None:
    """To one address three, from one sender ten; the same answer where none is sent, and no typed word."""
    add_people(open_view, root="admin")
    browser = FormBrowser(open_view.url)

    def ask(email: str, path: str, number: int) -> int:
        return browser.post(path, path, {"X-Forwarded-For": f"192.0.2.{number}"}, email=email)

    answers = [ask(VICTIM, "/register", number) for number in range(8)]
    answers += [
        ask("root@example.org", path, number) for number in range(4) for path in ("/reset", "/register")
    ]
    assert set(answers) == {200}
    assert [ask(f"{k}@example.org", "/register", 99) for k in range(11)] == [200] * 10 + [429]
    wait_for(lambda: len(sink.mails) >= 16)
    receivers = [each["To"] for each in sink.mails]
    assert receivers.count(VICTIM) == receivers.count("root@example.org") == 3 and len(receivers) == 16
    texts = {re.sub(r"http\S+", "", each.get_content()) for each in sink.mails}
    assert len(texts) <= 3, "registration, an e-mail that has an account, a new password"


def test_links_of_strangers_leave_places_for_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the mail server is slow, the mail that an account was changed is still accepted."""
    delivers = threading.Event()
    monkeypatch.setattr(MailServer, "deliver", lambda *_: delivers.wait(60))
    mailer = Mailer(MailSection(server="127.0.0.1:1"), ServiceCounters())
    links = [mailer.send(VICTIM, "a link", "text", of_stranger=True) for _ in range(3 * MAILS_WAITING)]
    assert links.count(True) == MAILS_WAITING
    assert mailer.send("ada@example.org", "Your account was changed", "text")
    mailer.close()
    delivers.set()


def test_limits_of_links_recover() -> None:
    now_s = [0.0]
    limits = LinkLimits(lambda: now_s[0])
    assert [limits.accepts_receiver("a@b.c") for _ in range(4)] == [True] * 3 + [False]
    assert sum(limits.accepts_sender(f"2001:db8:1:2::{k:x}") for k in range(20)) == 10
    now_s[0] = 3600.0
    assert limits.accepts_receiver("a@b.c") and not limits.accepts_receiver("a@b.c")
    assert sum(limits.accepts_sender("2001:db8:1:2::") for _ in range(20)) == 10


def test_an_invitation_answers_for_its_email_alone(scene: demo.Scene) -> None:
    """Its holder does not learn who else has an account."""
    people, ids = scene.store.people, add_people(scene, root="admin", ada="owner")
    code = make_ticket(people, "invitation", 60, email="pal@example.org", role="viewer", made_by=ids["root"])
    guest, page = FormBrowser(scene.url), f"/register?code={code}"
    short = {"link_code": code, "password": "short", "password_again": "short"}
    assert guest.post("/register", page, email="ada@example.org", **short) == 400
    assert "pal@example.org" in guest.text and "ada@example.org" not in guest.text
    assert guest.post("/register", page, link_code=code, email="ada@example.org", **BOTH) == 303
    assert people.account_of("pal@example.org") is not None and len(people.accounts()) == 3


def test_an_assignment_does_not_reveal_accounts(scene: demo.Scene) -> None:
    """An owner assigns only to himself; an editor's wrong e-mails have one answer, and a limit."""
    demo.fill(scene.store, time.time_ns(), minutes=1)
    people, ids = (
        scene.store.people,
        add_people(scene, eve="owner", ada="admin", vic="viewer", rita="researcher"),
    )
    for box_id in ("1", "2", "4"):
        people.claim_box(box_id, ids["eve"])
    number = scene.store.incidents()[0].incident_id

    def assigned(name: str, email: str) -> tuple[int, str]:
        secret = make_ticket(people, "token", 3600, account_id=ids[name], scopes=("read", "write"))
        program, bearer = FormBrowser(scene.url), {"Authorization": f"Bearer {secret}"}
        path = f"/api/v1/incidents/{number}/work"
        program.send("POST", path, json.dumps({"assigned_to": email}), bearer)
        return program.status, str(json.loads(program.text).get("detail"))

    assert assigned("eve", "me")[0] == assigned("eve", "eve@example.org")[0] == 200
    found = {assigned("eve", f"{name}@example.org") for name in ("ada", "vic", "unknown")}
    assert len(found) == 1 and {status for status, _ in found} == {400}
    assert assigned("rita", "eve@example.org")[0] == assigned("rita", "ada@example.org")[0] == 200
    tried = [assigned("rita", f"{name}@example.org") for name in ("vic", "unknown", "a", "b", "c", "ada")]
    assert [status for status, _ in tried] == [400] * 5 + [429] and len({*tried[:5]}) == 1
