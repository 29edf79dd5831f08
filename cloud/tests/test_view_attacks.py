"""Attacks on accounts: foreign forms, guessing, other people's numbers, redirects, what a part says."""

import re
import socket
import statistics
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast
from urllib.parse import urlsplit

import demo
import pytest
from account_scene import (
    PASSWORD,
    FormBrowser,
    add_people,
    argon2_in_production,
    argon2_of,
    meteors_hash,
)
from fastapi import HTTPException
from waiting import wait_for

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.accounts.seen_incidents import seen_incident
from opq_cloud.store.records.keyed_documents import OriginalUser
from opq_cloud.store.sample_requests import StoredSampleRequest
from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.feed_messages import LiveMessage, incident_message
from opq_cloud.view.live.seen_live import SeenFeed
from opq_cloud.view.pages.account.account_context import checked_email
from opq_cloud.view.pages.visible.seen_store import SeenStore, seen_record
from opq_cloud.view.web.forms import own_path
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.mail import MAILS_WAITING, Mailer
from opq_cloud.view.web.passwords import hash_password, original_password_fits, password_fits
from opq_cloud.view.web.sign_in import GuessLimits, SignIn
from opq_cloud.view.web.visitors import NOBODY, Visitor
from opq_proto.messages import Finding, Incident, StoredFinding

pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture
def ada(scene: demo.Scene) -> FormBrowser:
    add_people(scene, ada="admin", eve="owner")
    browser = FormBrowser(scene.url)
    assert browser.sign_in("ada@example.org") == 303
    return browser


def _words(page: str) -> str:
    """The main part of a page without the token of its form."""
    return re.sub(r'value="[0-9a-f]{48}"', "", page.split("<main")[1].split("</main>")[0])


def _two_box_incident(scene: demo.Scene) -> Incident:
    """Box 1 to 85.2 %, Box 4 to 93 %, one disturbance."""
    first = demo.fill(scene.store, time.time_ns(), minutes=1)
    assert first is not None
    finding = first.findings[0].finding
    put_findings(scene.store, 1, [replace(finding, box_id="4", residual_percent=93.0, residual_v=111.6)])
    joined = scene.store.incident(1)
    assert joined is not None and set(joined.box_ids) == {"1", "4"}
    return joined


def _name(scene: demo.Scene, email: str = "ada@example.org") -> str:
    account = scene.store.people.account_of(email)
    assert account is not None
    return account.name


def test_a_foreign_form_changes_nothing(scene: demo.Scene, ada: FormBrowser) -> None:
    """A form of another site, of another browser, or without a token."""
    fields = {"name": "owned", "theme": "dark", "time_zone": "UTC"}
    eve = FormBrowser(scene.url)
    assert eve.sign_in("eve@example.org") == 303
    eve.get("/account")
    ada.text = eve.text  # a token that is good, but for another session
    assert ada.post("/account/profile", **fields) == 403
    ada.text = ""
    assert ada.post("/account/profile", **fields) == 403
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert ada.post("/account/profile", "/account", headers, **fields) == 403, headers
    plain = {"Content-Type": "text/plain"}
    assert ada.post("/account/profile", "/account", plain, **fields) == 415
    assert _name(scene) == "Ada"
    same = {"Origin": scene.url, "Sec-Fetch-Site": "same-origin"}
    assert ada.post("/account/profile", "/account", same, **fields) == 303
    assert _name(scene) == "owned"


def test_a_form_is_never_sent_by_an_address(scene: demo.Scene, ada: FormBrowser) -> None:
    pages = {"/sign-out": "/", "/account/delete": "/account", "/account/profile?name=owned": "/account"}
    pages |= {"/admin/invitations": "/admin/accounts", "/admin/plugins/mauka/x/rollback": "/admin/plugins"}
    for path, page in pages.items():  # a page that was loaded again after an error leads to its form
        assert (ada.get(path), ada.headers["location"]) == (303, page)
        assert ada.get(page) == 200 and _name(scene) != "owned"
    assert ada.get("/account/notifications/tokens") == 303
    for method in ("PUT", "DELETE", "PATCH"):
        assert ada.send(method, "/account/profile", "name=x", {}) == 405


def test_cookies_are_unreadable_for_scripts_and_sites(tmp_path: Path) -> None:
    running = demo.Scene(tmp_path, poll_s=30.0)
    running.view._config = replace(running.config, public_url="https://pq.example")
    with running:
        add_people(running, ada="admin")
        browser = FormBrowser(running.url)
        browser.get("/sign-in")
        cookies = [browser.headers["set-cookie"]]
        browser.post("/sign-in", email="ada@example.org", password=PASSWORD)
        cookies += [each for each in browser.set_cookies if each.startswith("opq_session=")]
        assert len(cookies) == 2
        for cookie in cookies:
            assert {"HttpOnly", "SameSite=lax", "Secure"} <= {part.strip() for part in cookie.split(";")}
        browser.get("/account")
        assert browser.headers["cache-control"] == "no-store"
        assert browser.headers["strict-transport-security"] == "max-age=31536000"
        assert "form-action 'self'" in browser.headers["content-security-policy"]


@pytest.mark.usefixtures("no_tries_return")
def test_five_wrong_passwords_delay_the_right_one(scene: demo.Scene) -> None:
    """The right password has to wait too."""
    add_people(scene, ada="admin", eve="owner")
    browser = FormBrowser(scene.url)
    assert [browser.sign_in("ada@example.org", f"wrong {k}") for k in range(6)] == [403] * 5 + [429]
    assert browser.headers["retry-after"] == "60"
    assert browser.sign_in("ada@example.org") == 429
    assert browser.sign_in("eve@example.org") == 303  # another account, from the same address
    what = [each.what for each in scene.store.people.changes.entries()]
    assert what.count("was refused at sign-in") == 5


def test_limits_per_account_and_address_recover() -> None:
    """Limits hold per account and per address and come back with time."""
    now_s = [0.0]
    limits = GuessLimits(lambda: now_s[0])
    assert [limits.spend("a@b.c", "host") for _ in range(6)] == [True] * 5 + [False]
    assert sum(limits.spend("a@b.c", f"host {k}") for k in range(100)) == 25  # 30 for an e-mail from anywhere
    assert sum(limits.spend(f"{k}@b.c", "host") for k in range(100)) == 25  # 30 from an address
    assert sum(limits.spend(f"{k}@d.e", f"2001:db8:1:{k:x}::1") for k in range(100)) == 30  # or from a /56
    now_s[0] = 60.0
    assert limits.spend("A@B.C ", "host")  # one a minute, whatever the case
    limits.give_back("a@b.c", "host")
    assert limits.spend("a@b.c", "host") and not limits.spend("a@b.c", "host")


def test_a_wrong_password_does_not_reveal_accounts(scene: demo.Scene) -> None:
    """A wrong password is answered alike with and without an account."""
    add_people(scene, ada="owner")
    browser = FormBrowser(scene.url)
    assert browser.sign_in("ada@example.org", "wrong password") == 403
    assert 'value="ada@example.org"' in browser.text and "wrong password" not in browser.text
    with_account = browser.text.replace("ada@", "bob@")
    assert browser.sign_in("bob@example.org", "wrong password") == 403
    forms = [_words(text) for text in (with_account, browser.text)]
    assert forms[0] == forms[1]


@pytest.mark.parametrize("originals", [False, True], ids=["", "beside users of the original"])
def test_an_answer_takes_as_long_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, originals: bool
) -> None:
    """With the parameters of production, which are OWASP's and Meteor's."""
    lee = OriginalUser("lee@example.org", meteors_hash(PASSWORD, 10), "Lee", False, ())
    with closing(open_store(None, tmp_path)) as store, argon2_of(argon2_in_production()):
        if originals:
            monkeypatch.setattr(type(store.people), "has_original_users", lambda _: True)
            monkeypatch.setattr(
                type(store.people), "original_user", lambda _, name: lee if name == lee.username else None
            )
        hashed = hash_password(PASSWORD)
        assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert store.people.add_account("ada@example.org", "Ada", "owner", hashed) is not None
        sign_in, took = SignIn(store.people), {"ada": [], "bob": [], "lee": []}
        for name in took:  # the password hash of an unknown account is made once
            assert sign_in.account_of(f"{name}@example.org", "wrong password", "") is None
        for _ in range(5):
            for name, times in took.items():
                began_s = time.process_time()  # passwords are compared by threads of their own
                assert sign_in.account_of(f"{name}@example.org", "wrong password", "") is None
                times.append(time.process_time() - began_s)
    medians = {name: statistics.median(times) for name, times in took.items()}
    assert min(medians.values()) > 0.01 and max(medians.values()) < 1.7 * min(medians.values()), took
    assert not password_fits(None, PASSWORD) and not original_password_fits(None, PASSWORD)


def test_registration_does_not_reveal_accounts(tmp_path: Path) -> None:
    """Nor does a request for a new password."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    mail = MailSection(server="127.0.0.1:1", security="none")
    running.view._config = replace(running.config, registration="open", mail=mail)
    with running:
        add_people(running, ada="admin")
        seen = []
        for email in ("ada@example.org", "new@example.org"):
            browser = FormBrowser(running.url)
            browser.post("/register", "/register", email=email)
            registered = browser.status, _words(browser.text)
            browser.post("/reset", "/reset", email=email)
            seen.append((registered, browser.status, _words(browser.text)))
        assert seen[0] == seen[1]
        assert [each.role for each in running.store.people.accounts()] == ["admin"]
        assert FormBrowser(running.url).sign_in("ada@example.org") == 303  # its password is as it was


def test_numbers_of_others_lead_nowhere(scene: demo.Scene, ada: FormBrowser) -> None:
    eve = FormBrowser(scene.url)
    eve.sign_in("eve@example.org")
    account = scene.store.people.account_of("ada@example.org")
    assert account is not None
    session = scene.store.people.sessions(account.account_id)[0].token_hash
    assert eve.post("/account/sessions/end", "/account", session=session) == 404
    secret = make_ticket(scene.store.people, "token", 60, account_id=account.account_id, label="hers")
    token = scene.store.people.tickets("token")[0].ticket_hash
    assert eve.post("/account/tokens/end", "/account", token=token) == 404
    assert eve.post(f"/admin/accounts/{account.account_id}", "/account", role="viewer") == 404
    assert eve.post("/boxes/1/settings", "/account", privacy="all") == 404
    assert ada.get("/api/v1/boxes", Authorization=f"Bearer {secret}") == 200
    assert ada.get("/account") == 200


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "/%0d%0aSet-Cookie:x=1\r\nx",
        "/\t/evil.example",
        "evil.example",
        "",
        "///evil.example",
        "/" + "x" * 2000,
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1",
        "/%2fevil.example",
        "/%2F/evil.example",
        "/%5cevil.example",
        "/%5C%5Cevil.example",
        "/%252fevil.example",
        "/%25255cevil.example",
        "/a/%2f%2fevil",
        "/%00",
        "/%1b[2J",
        "/incidents?box=1%0a",
        "/%7f",
        "/\x85/evil.example",
        "/\u2028/evil.example",
    ],
)
def test_signing_in_leads_to_our_own_pages_only(wanted: str) -> None:
    assert own_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/incidents?box=1&class=sag", "/search?q=a%2Fb%5Cc", "/boxes/1%20a"])
def test_a_path_of_our_own_is_kept(wanted: str) -> None:
    assert own_path(wanted) == wanted


def test_counters_are_local_or_need_a_right(scene: demo.Scene, ada: FormBrowser) -> None:
    """They name every Box, so an owner gets none, by session or by token."""
    eve, people = FormBrowser(scene.url), scene.store.people
    assert eve.sign_in("eve@example.org") == 303
    tokens = {}
    for name in ("ada", "eve"):
        account = people.account_of(f"{name}@example.org")
        assert account is not None
        secret = make_ticket(people, "token", 3600, account_id=account.account_id)
        tokens[name] = {"Authorization": f"Bearer {secret}"}
    for headers in (
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "127.0.0.1, 203.0.113.7"},
        {"X-Real-IP": "203.0.113.7"},
        {"Forwarded": 'for="[2001:db8::7]:4711"'},
        {"Forwarded": "proto=https"},
        {"Forwarded": "for=127.0.0.1, for=203.0.113.7"},
        {"X-Forwarded-For": "unknown"},
    ):
        assert FormBrowser(scene.url).get("/metrics", **headers) == 401, headers
        wrong = {"Authorization": "Bearer opq_wrong", **headers}
        assert FormBrowser(scene.url).get("/metrics", **wrong) == 401, headers
        assert ada.get("/metrics", **headers) == 200, headers
        assert FormBrowser(scene.url).get("/metrics", **tokens["ada"], **headers) == 200, headers
        assert eve.get("/metrics", **headers) == 403 and "opq_view" not in eve.text, headers
        assert FormBrowser(scene.url).get("/metrics", **tokens["eve"], **headers) == 403, headers
    assert FormBrowser(scene.url).get("/metrics") == 200
    assert FormBrowser(scene.url).get("/metrics", **{"X-Forwarded-For": "127.0.0.1"}) == 200


def test_a_request_with_two_lengths_ends_its_connection(scene: demo.Scene) -> None:
    """What follows its body for a proxy that believes the Content-Length is not a second request for us."""
    parts = urlsplit(scene.url)
    smuggled = b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), 60) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1


def test_the_redirect_itself_stays_here(scene: demo.Scene) -> None:
    add_people(scene, ada="admin")
    browser = FormBrowser(scene.url)
    assert browser.sign_in("ada@example.org", wanted="//evil.example/x") == 303
    assert browser.headers["location"] == "/"
    assert browser.get("/sign-in?next=https://evil.example") == 303
    assert browser.headers["location"] == "/"


def test_names_are_text_wherever_they_stand(scene: demo.Scene, ada: FormBrowser) -> None:
    bad = '"><script>alert(1)</script>'
    scene.store.put_box(BoxRecord("1", "Box 1"))
    assert ada.post("/account/profile", "/account", name=bad, theme="system", time_zone="UTC") == 303
    settings = "/boxes/1/settings"
    assert ada.post(settings, settings, name=bad, region=bad, privacy="nothing") == 303
    assert ada.post("/account/tokens", "/account", label=bad, days="7", present_password=PASSWORD) == 200
    for path in (
        "/",
        "/account",
        "/admin/accounts",
        "/admin/changes",
        settings,
        "/boxes/1",
        "/account/boxes",
    ):
        ada.get(path)
        raw = _raw(ada, path)
        assert "<script>alert" not in raw, path


def _raw(browser: FormBrowser, path: str) -> str:
    """The page as it is sent: FormBrowser reads it unescaped."""
    import urllib.request

    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    request = urllib.request.Request(browser.url + path, headers={"Cookie": cookie})
    with urllib.request.urlopen(request, timeout=240) as answer:
        return str(answer.read().decode())


def test_a_form_has_its_limits(scene: demo.Scene, ada: FormBrowser) -> None:
    assert ada.post("/account/profile", "/account", name="x" * 20_000) == 413
    assert ada.post("/account/profile", "/account", name="x" * 500) == 400
    many = {f"f{k}": "1" for k in range(100)}
    assert ada.post("/account/profile", "/account", **many) == 400
    wanted = {"theme": "dark", "time_zone": "../../etc/passwd"}
    assert ada.post("/account/profile", "/account", **wanted) == 400


def test_an_open_page_is_checked_when_changed() -> None:
    """Five hundred pages of ten thousand public Boxes ask every other second: 1 ms each, on the one loop."""

    class Untouched(frozenset[str]):
        def __or__(self, other: object) -> NoReturn:
            raise AssertionError("gone through")

        __sub__ = __or__

    many = Untouched(map(str, range(100)))
    assert Visitor(public=many, full=Untouched()).sees_all_of(Visitor(public=many, full=Untouched()))
    one, two = (Visitor(public=frozenset(boxes)) for boxes in ("1", "12"))
    assert (two.sees_all_of(one), one.sees_all_of(two)) == (True, False)
    assert Visitor(full=frozenset("12")).sees_all_of(two) and Visitor(everything=True).sees_all_of(two)
    assert not two.sees_all_of(Visitor(everything=True))


def test_a_part_of_an_incident_hides_the_rest(scene: demo.Scene) -> None:
    incident = _two_box_incident(scene)
    visitor = Visitor(public=frozenset({"4"}))
    part = seen_incident(incident, visitor)
    assert part is not None and part.box_ids == ("4",)
    assert part.residual_percent == 93.0  # not Box 1's 85.2
    assert part.start_ns == part.findings[0].finding.start_ns
    assert seen_incident(incident, NOBODY) is None
    feed = SeenFeed(visitor)
    shown = feed.shown(incident_message(incident, {"1": "secret kitchen", "4": "hall"}))
    assert shown is not None and "secret kitchen" not in shown.data
    assert re.search(r"(?<!\d)85\.2", shown.data) is None
    assert feed.shown(LiveMessage("measurement", "{}", box_id="1")) is None
    assert feed.shown(LiveMessage("measurement", "{}", box_id="4")) is not None


def test_an_events_record_hides_unseen_boxes() -> None:
    """Which Boxes it asked and why, which saw it first, how many were left out."""
    whole = EventRecord(
        *(7, "token", 1000, 9000, ("1", "4"), ("1", "4"), {}, True, True, "Box 1, rms 101 V"),
        opened_by="1",
        asked_as={"saw": ("1", "4"), "near": ("4",)},
        not_asked={"saw": 3},
        onset_ns=(2000, 3000),
        decided_ns=4000,
        more={
            1: StoredSampleRequest("mine", "Box 1 dips", {"1": (0, 9)}, boxes=("1",), refused={"bound": 3})
        },
        owed={"1": (0, 9)},
    )
    store = cast(CloudStore, SimpleNamespace(event_record=lambda _: whole))
    part = SeenStore(store, Visitor(public=frozenset({"4"}))).event_record(7)
    assert part is not None
    assert (part.boxes_triggered, part.asked_as) == (("4",), {"saw": ("4",), "near": ("4",)})
    assert (part.opened_by, part.because, part.not_asked) == ("", "", {})
    assert (part.onset_ns, part.decided_ns, part.more, part.owed) == (None, None, {}, {})
    seen = SeenStore(store, Visitor(public=frozenset({"1", "4"}))).event_record(7)
    assert seen is not None and (seen.because, seen.opened_by) == (whole.because, "1")
    assert (seen.asked_as, seen.not_asked) == (whole.asked_as, {})
    assert (seen.more[1].boxes, seen.more[1].refused) == (("1",), {}), "a refused Box may be hidden"


def test_a_witness_hides_when_another_dipped() -> None:
    """An event that a hidden Box opened is not there for who sees only a Box that was asked, too."""
    record = EventRecord(
        *(7, "token", 1000, 9000, ("1", "4", "5"), ("1", "4", "5"), {}, True, True, "Box 1, rms 101 V"),
        opened_by="1",
        asked_as={"saw": ("1",), "witness": ("4", "5")},
        decided_ns=8000,
        finished_ns=9500,
        completes=6,
    )
    found: list[KnownFinding] = []
    reads = {"event": lambda _: pytest.fail("read"), "half_cycles": lambda _: pytest.fail("read")}
    reads["findings_of_boxes"] = lambda boxes, *_: found if "4" in boxes else []
    store = cast(CloudStore, SimpleNamespace(event_record=lambda _: record, **reads))
    witness = SeenStore(store, Visitor(public=frozenset("45"), public_waveforms=frozenset("45")))
    assert witness.event_record(7) is witness.event(7) is None and witness.half_cycles(7) == {}
    found.append(KnownFinding(1, 9, (7,), Finding("sag", "4", 1000, 2000, 10)))
    part = witness.event_record(7)
    assert part is not None, "it dipped too"
    assert (part.start_ns, part.end_ns, part.boxes_triggered) == (1000, 2000, ("4",))
    assert (part.asked_as, part.decided_ns, part.finished_ns, part.completes) == ({}, None, None, None)
    asked = replace(record, opened_by="4", asked_as={"requested": ("4",)})
    for each, box_id in ((record, "1"), (asked, "4"), (replace(record, opened_by="", asked_as={}), "4")):
        assert seen_record(each, Visitor(public=frozenset(box_id)), lambda _: []) is not None


def test_a_part_follows_no_hidden_incident() -> None:
    findings = tuple(
        StoredFinding(number, 9, 3, Finding("sag", box_id, 1000, 2000, 10))
        for number, box_id in enumerate("14", 1)
    )
    incident = Incident(9, "sag", ("1", "4"), (3,), 1000, 2000, True, None, findings, follows=8)
    part = seen_incident(incident, Visitor(public=frozenset({"4"})))
    assert part is not None and part.box_ids == ("4",) and part.follows is None


@pytest.mark.parametrize(
    "text", ["'}_@[|^.b", "(*?=@).a", "a@b", "a@b..c", "a@.b", "a b@c.d", "a:@b.c", "a@b.c\n", "@b.c"]
)
def test_what_breaks_a_mails_header_is_no_email(text: str) -> None:
    with pytest.raises(HTTPException, match="not an e-mail address"):
        checked_email(text)


def test_an_email_is_kept_in_lower_case() -> None:
    for text in ("Ada@Example.org", "o'hara+opq@mail.example-1.org", "jörg@bücher.example"):
        assert checked_email(text) == text.lower()


def test_a_failed_mail_takes_no_place() -> None:
    mailer = Mailer(MailSection(server="127.0.0.1:1"), ServiceCounters())
    for _ in range(MAILS_WAITING + 1):
        with pytest.raises(ValueError):
            mailer.send("ada@example.org", "two\nlines", "text")
    assert mailer._slots.acquire(blocking=False)  # a hundred of them had stopped all mail
    mailer.close()


def test_the_public_pages_show_the_public_part(scene: demo.Scene) -> None:
    _two_box_incident(scene)
    add_people(scene, ada="admin")
    scene.store.people.change_access("4", lambda _: BoxAccess("4", privacy="all"))
    stranger = FormBrowser(scene.url)
    assert stranger.get("/incidents/1") == 200
    assert "Box 4" in stranger.text and "Box 1" not in stranger.text and "85.2" not in stranger.text
    assert "data-waveform" not in stranger.text  # raw waveforms are never public by themselves
    assert "are not shown to you" in stranger.text and "no longer in the store" not in stranger.text
    assert stranger.get("/api/v1/events/1/waveforms/4") == 404
    scene.store.people.change_access("4", lambda was: replace(was, public_waveforms=True))
    # another process's change is seen after a second
    wait_for(lambda: stranger.get("/api/v1/events/1/waveforms/4") == 200)
    assert stranger.get("/api/v1/events/1/waveforms/1") == 404


def test_meteors_password_is_bcrypt_of_its_sha256() -> None:
    stored = meteors_hash(PASSWORD)
    assert original_password_fits(stored, PASSWORD)
    assert not original_password_fits(stored, "wrong") and not original_password_fits("nonsense", PASSWORD)
    assert password_fits(hash_password(PASSWORD), PASSWORD)
