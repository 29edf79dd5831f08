"""Rights follow from what a person is now: demoted and disabled people, ended tokens and codes."""

import asyncio
import gc
import http.client
import itertools
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import demo
import pyotp
import pytest
from account_scene import PASSWORD, FormBrowser, add_people
from notification_scene import MailSink
from waiting import wait_for

from opq_cloud.core.settings.view import MailSection
from opq_cloud.store.records.accounts.account_records import AccountRecords, BoxAccess
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_cloud.store.records.accounts.rights import (
    OPEN,
    RIGHTS,
    ROLES,
    STRANGER,
    Action,
    Relation,
    Standing,
    Way,
    may,
)
from opq_cloud.view.api.export_jobs import ExportHead
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
from opq_cloud.view.web import long_answers
from opq_cloud.view.web.links import TOKEN_SCOPES, make_ticket
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.passwords import secret_hash

pytestmark = pytest.mark.usefixtures("cheap_argon2")
FRESH = {"password": "another horse", "password_again": "another horse"}
EVERY_SCOPE = TOKEN_SCOPES


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def signed_in(scene: demo.Scene, name: str, **more: str) -> FormBrowser:
    browser = FormBrowser(scene.url)
    assert browser.sign_in(f"{name}@example.org", **more) == 303
    return browser


def change(people: AccountRecords, account_id: str, **values: object) -> None:
    assert people.change_account(account_id, lambda was: replace(was, **values))  # type: ignore[arg-type]


def test_a_higher_relation_takes_nothing_away() -> None:
    """Nor does a role in force; a person who is not in force has what a stranger has."""
    relations = sorted(Relation)
    for action, role, way in itertools.product(Action, (*ROLES, OPEN, STRANGER), Way):
        standing = Standing(role, way, EVERY_SCOPE)
        allowed = [may(standing, action, each) for each in relations]
        assert allowed == sorted(allowed), (action, role, way)
        ended = [may(replace(standing, in_force=False), action, each) for each in relations]
        stranger = Standing(STRANGER, way, EVERY_SCOPE)
        public = [each if each < Relation.SHARED else Relation.NONE for each in relations]
        assert ended == [may(stranger, action, each) for each in public], (action, role, way)
        for_token = way is Way.TOKEN and RIGHTS[action].scope
        assert not (for_token and any(may(Standing(role, way), action, each) for each in relations))


def test_a_scope_keeps_its_rights() -> None:
    """A token states what it may when it is made: a new right gets a new scope, and no row here grows."""
    rights: dict[str, set[Action]] = {}
    for action, right in RIGHTS.items():
        if Way.TOKEN in right.ways:
            rights.setdefault(right.scope, set()).add(action)
    assert rights == {
        "": {Action.SEE, Action.SEE_PLACE, Action.READ_COUNTERS},
        "waveforms": {Action.SEE_WAVEFORMS},
        "write": {Action.ORDER_SAMPLES, Action.EDIT_INCIDENT, Action.INJECT, Action.WRITE_BY_API},
        "sites": {Action.JOIN_SITE, Action.ADMIT_TO_SITE, Action.JOIN_BY_API},
    }
    assert {*rights, "read"} == {"", *TOKEN_SCOPES}


def test_a_demoted_owner_changes_nothing(scene: demo.Scene) -> None:
    """It reads its Box on; it publishes, shares, orders and edits no more, by session or by token."""
    demo.fill(scene.store, time.time_ns(), minutes=1)
    people, ids = scene.store.people, add_people(scene, ada="owner", eve="viewer")
    for box_id in ("1", "2", "4"):
        people.claim_box(box_id, ids["ada"])
    ada = signed_in(scene, "ada")
    secret = make_ticket(people, "token", 3600, account_id=ids["ada"], scopes=EVERY_SCOPE)
    number = scene.store.incidents()[0].incident_id
    assert ada.get("/boxes/1/settings") == 200
    settings = ada.text
    change(people, ids["ada"], role="viewer")
    for path, fields in (
        ("/boxes/1/settings", {"privacy": "all"}),
        ("/boxes/1/share", {"email": "eve@example.org"}),
        ("/boxes/1/waveforms", {"seconds": "2"}),
        ("/boxes/1/release", {}),
        (f"/incidents/{number}/note", {"text": "mine"}),
        (f"/incidents/{number}/work", {"acknowledge": "yes"}),
    ):
        ada.text = settings
        assert ada.post(path, **fields) == 404, path
    assert ada.get("/boxes/1/settings") == 404 and ada.get("/boxes/1/waveforms") == 404
    program = FormBrowser(scene.url)
    assert program.send("POST", "/api/v1/boxes/1/waveforms", '{"seconds": 2}', bearer(secret)) == 404
    done = json.dumps({"acknowledged": True})
    assert program.send("POST", f"/api/v1/incidents/{number}/work", done, bearer(secret)) == 404
    assert ada.get("/account/boxes") == 200 and "/boxes/1/settings" not in ada.text
    assert ada.get("/boxes/1") == 200 and program.get("/api/v1/boxes/1", **bearer(secret)) == 200
    assert people.access("1") == BoxAccess("1", ids["ada"]) and not scene.store.unfinished_events()
    change(people, ids["ada"], role="owner")
    assert ada.get("/boxes/1/settings") == 200


def by_new_password(scene: demo.Scene, ids: dict[str, str]) -> None:
    eve = signed_in(scene, "eve")
    assert eve.post("/account/password", "/account", present_password=PASSWORD, **FRESH) == 303


def by_mailed_password(scene: demo.Scene, ids: dict[str, str]) -> None:
    code = make_ticket(scene.store.people, "reset", 3600, account_id=ids["eve"])
    stranger = FormBrowser(scene.url)
    assert stranger.post("/reset/new", f"/reset/new?code={code}", link_code=code, **FRESH) == 303


def by_ending_others(scene: demo.Scene, ids: dict[str, str]) -> None:
    assert signed_in(scene, "eve").post("/account/sessions/end", "/account", session="others") == 303


def by_second_factor(scene: demo.Scene, ids: dict[str, str]) -> None:
    eve = signed_in(scene, "eve")
    eve.get("/account/second-factor")
    secret = eve.text.split('name="secret" value="')[1].partition('"')[0]
    wanted = {"secret": secret, "code": pyotp.TOTP(secret).now(), "present_password": PASSWORD}
    assert eve.post("/account/second-factor", **wanted) == 200


def by_an_administrator(scene: demo.Scene, ids: dict[str, str]) -> None:
    root = signed_in(scene, "root")
    assert root.post(f"/admin/accounts/{ids['eve']}/sessions/end", "/admin/accounts") == 303


def by_disabling(scene: demo.Scene, ids: dict[str, str]) -> None:
    root, path = signed_in(scene, "root"), f"/admin/accounts/{ids['eve']}"
    assert root.post(path, "/admin/accounts", role="owner", disabled="on") == 303
    assert root.post(path, "/admin/accounts", role="owner") == 303


@pytest.mark.parametrize(
    "end",
    [
        by_new_password,
        by_mailed_password,
        by_ending_others,
        by_second_factor,
        by_an_administrator,
        by_disabling,
    ],
)
def test_what_ends_sessions_ends_tokens(
    scene: demo.Scene, end: Callable[[demo.Scene, dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the tokens for rows of stream rules, and links for a new password; those of others stay.

    Rules that send to a URL are switched off, which a mail and the log of changes say.
    """
    mails: list[str] = []
    monkeypatch.setattr(Mailer, "send", lambda _, to, subject, text, **__: mails.append(f"{to} {text}"))
    people, ids = scene.store.people, add_people(scene, eve="owner", root="admin")
    other, program = signed_in(scene, "eve"), FormBrowser(scene.url)
    hers, roots = (make_ticket(people, "token", 3600, account_id=ids[name]) for name in ("eve", "root"))
    rows = make_ticket(people, "notify", 3600, account_id=ids["eve"])
    link = make_ticket(people, "reset", 3600, account_id=ids["eve"])
    assert program.get("/api/v1/boxes", **bearer(hers)) == 200 and other.get("/account") == 200
    records, url = NotificationRecords(people.documents), "https://a.example/x"
    for name in ("A", "B"):
        records.put_rule(NotificationRule(name, ids["eve"], name, "incident", "webhook", 0, url=url))
    end(scene, ids)
    assert [each for each in mails if each.startswith("eve@") and "2 notification rules that send" in each]
    noted = [each.after for name in ("eve", "root") for each in people.changes.of_account(ids[name])]
    assert [each for each in noted if each.get("notification_rules_switched_off") == "2"]
    assert program.get("/api/v1/boxes", **bearer(hers)) == 401 and other.get("/account") == 303
    assert program.get("/api/v1/boxes", **bearer(roots)) == 200
    assert people.ticket(secret_hash(rows), "notify") is None
    assert people.ticket(secret_hash(link), "reset") is None


@pytest.mark.parametrize(
    ("path", "page"),
    [("/account/tokens", "/account"), ("/account/notifications/tokens", "/account/notifications")],
)
def test_a_token_needs_each_factor_and_mails(tmp_path: Path, path: str, page: str) -> None:
    running = demo.Scene(tmp_path, poll_s=30.0)
    with MailSink() as sink:
        mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
        running.view._config = replace(running.config, mail=mail)
        with running:
            people, ids = running.store.people, add_people(running, eve="owner")
            eve, secret = signed_in(running, "eve"), pyotp.random_base32()
            wanted = {"label": "BUY PILLS", "days": "365"}
            assert eve.post(path, page, **wanted) == 403
            assert eve.post(path, page, **wanted, present_password="a wrong horse") == 403
            change(people, ids["eve"], totp_secret=secret)
            code = pyotp.TOTP(secret).now()
            assert eve.post(path, page, **wanted, present_password=PASSWORD) == 403
            both = {"present_password": PASSWORD, "present_code": code}
            assert not people.tickets() and eve.post(path, page, **wanted, **both) == 200
            assert len(people.tickets()) == 1
            assert eve.post(path, page, **wanted, **both) == 403, "a code counts once"
            (sent,) = wait_for(lambda: list(sink.mails))
    assert sent["To"] == "eve@example.org" and "365 days" in sent.get_content()
    assert "PILLS" not in sent.get_content()


def test_a_new_webhook_is_reported_by_mail(tmp_path: Path) -> None:
    """What a stolen session leaves behind; its name is not in the mail, and an unchanged rule gives none."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    with MailSink() as sink:
        mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
        running.view._config = replace(running.config, mail=mail)
        with running:
            add_people(running, eve="owner")
            eve, page = signed_in(running, "eve"), "/account/notifications"
            rule = {"about": "incident", "name": "BUY PILLS", "channel": "webhook", "enabled": "on"}
            by_password = {"present_password": PASSWORD}
            to_a, to_b = ({"url": f"https://{each}.example/x", **rule} for each in "ab")
            assert eve.post(f"{page}/new", f"{page}/new", **to_a, **by_password) == 303
            made = eve.headers["location"]
            assert eve.post(made, made, **to_a) == 303
            assert eve.post(made, made, **to_b, **by_password) == 303
            assert eve.post(f"{page}/new", f"{page}/new", **(rule | {"channel": "mail"})) == 303
            assert eve.post("/account/password", "/account", **by_password, **FRESH) == 303
            sent = [each.get_content() for each in wait_for(lambda: len(sink.mails) >= 3 and sink.mails)]
    assert ["address of the web" in each for each in sent] == [True, True, False]
    assert "1 notification rule that sends to a URL was switched off; switch it on with" in sent[2]
    assert not any("PILLS" in each or "example/x" in each for each in sent)


def test_a_rules_address_needs_the_password(scene: demo.Scene) -> None:
    """Where it is new and where its rule is switched on again, which what ends sessions switches off."""
    ids = add_people(scene, eve="owner")
    eve, page = signed_in(scene, "eve"), "/account/notifications"
    records, right = NotificationRecords(scene.store.people.documents), {"present_password": PASSWORD}
    rule = {"about": "incident", "name": "Hook", "channel": "webhook", "enabled": "on"}
    to_a, to_b = ({"url": f"https://{each}.example/x", **rule} for each in "ab")

    def stored() -> list[tuple[str, bool]]:
        return [(each.url, each.enabled) for each in records.rules(ids["eve"])]

    assert eve.post(f"{page}/new", f"{page}/new", **to_a) == 403 and "password is wrong" in eve.text
    assert stored() == [] and 'value="https://a.example/x"' in eve.text
    assert eve.post(f"{page}/new", f"{page}/new", **to_a, **right) == 303
    made = eve.headers["location"]
    assert eve.post(made, made, **to_b, present_password="guess") == 403
    assert eve.post(made, made, **(to_b | {"channel": "ntfy"})) == 403
    assert stored() == [("https://a.example/x", True)]
    assert eve.post(made, made, **(to_a | {"least_severity": "4"})) == 303
    assert eve.post("/account/sessions/end", "/account", session="others") == 303
    assert stored() == [("https://a.example/x", False)]
    assert eve.get("/account") == 200 and "rule that sends to a URL is switched off; switch it on" in eve.text
    assert eve.post(made, made, **to_a) == 403
    assert eve.post(made, made, **to_a, **right) == 303 and stored() == [("https://a.example/x", True)]


@pytest.mark.parametrize("values", [{"role": "researcher"}, {"disabled": True}, None])
def test_codes_end_with_their_administrator(scene: demo.Scene, values: dict[str, object] | None) -> None:
    """Invitations and claim codes are valid only while their maker may make them."""
    people, ids = scene.store.people, add_people(scene, bob="admin", root="admin", eve="owner")
    scene.store.put_box(demo.BoxRecord("7", "Box 7"))
    bob, eve, guest = signed_in(scene, "bob"), signed_in(scene, "eve"), FormBrowser(scene.url)
    bob.post("/admin/invitations", "/admin/accounts", email="pal@example.org", role="admin")
    invitation = bob.text.split("/register?code=")[1].partition("<")[0]
    bob.post("/boxes/7/claim-code", "/boxes/7/settings")
    claim = bob.text.split('<code class="secret">')[1].partition("<")[0]
    assert guest.get(f"/register?code={invitation}") == 200
    if values is None:
        people.delete_account(ids["bob"])
    else:
        change(people, ids["bob"], **values)
    assert guest.get(f"/register?code={invitation}") == 404
    made = {"link_code": invitation, "password": PASSWORD, "password_again": PASSWORD}
    assert guest.post("/register", "/sign-in", email="pal@example.org", **made) == 404
    assert eve.post("/account/boxes", "/account/boxes", proof=claim) == 403
    root = signed_in(scene, "root")
    assert root.get("/admin/accounts") == 200 and "pal@example.org" not in root.text
    if values is not None:  # on the page, the codes end for good
        page = {"role": str(values.get("role", "admin")), "disabled": "on" if "disabled" in values else ""}
        fields = {name: value for name, value in page.items() if value}
        assert root.post(f"/admin/accounts/{ids['bob']}", "/admin/accounts", **fields) == 303
        assert root.post(f"/admin/accounts/{ids['bob']}", "/admin/accounts", role="admin") == 303
        assert guest.get(f"/register?code={invitation}") == 404


@pytest.mark.parametrize("path", ["/live", "/live?values=*", "/api/v1/live"])
def test_an_open_feed_ends_with_its_token(scene: demo.Scene, path: str) -> None:
    """Also where its visitor would go on as a stranger who sees a public Box."""
    people, ids = scene.store.people, add_people(scene, eve="owner", bob="owner")
    demo.fill(scene.store, time.time_ns(), minutes=1)
    people.change_access("4", lambda _: BoxAccess("4", ids["bob"], privacy="all"))
    people.claim_box("1", ids["eve"])
    secret = make_ticket(people, "token", 3600, account_id=ids["eve"])
    request = urllib.request.Request(scene.url + path, headers=bearer(secret))
    with urllib.request.urlopen(request, timeout=240) as feed:
        assert feed.readline().startswith(b"retry")
        people.end_access(ids["eve"])
        while feed.readline():
            """Until View ends it."""


@pytest.fixture
def endless_export(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Exports go on until the client or View ends them; the list has "ended" after that."""
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"1,2\n" * 100
                await asyncio.sleep(0.02)
        finally:
            ended.append("ended")

    async def parts(*_: object) -> tuple[ExportHead, AsyncIterator[bytes]]:
        return ExportHead("measurements.csv", "text/csv"), pieces()

    monkeypatch.setattr(SeenJobs, "parts", parts)
    monkeypatch.setattr(long_answers, "CHECKED_EVERY_S", 0.1)
    yield ended


@pytest.mark.parametrize("lost", ["the token", "the role", "the share"])
def test_a_long_export_ends_with_its_rights(scene: demo.Scene, endless_export: list[str], lost: str) -> None:
    """The client learns that the file is not whole, and the work for it ends."""
    demo.fill(scene.store, time.time_ns(), minutes=1)
    people, ids = scene.store.people, add_people(scene, rita="researcher", ada="admin", eve="viewer")
    people.change_access("1", lambda _: BoxAccess("1", ids["ada"], (ids["eve"],)))
    who = ids["eve"] if lost == "the share" else ids["rita"]
    secret = make_ticket(people, "token", 3600, account_id=who)
    parts = urlsplit(scene.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)) as connection:
        connection.request("GET", "/api/v1/exports/measurements?box=1&from=now-1h", headers=bearer(secret))
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read(400)
        if lost == "the token":
            people.end_access(who)
        elif lost == "the role":
            change(people, who, role="viewer")
        else:
            people.share_box("1", who, False)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    wait_for(lambda: gc.collect() >= 0 and endless_export)
