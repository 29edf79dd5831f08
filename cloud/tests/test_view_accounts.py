"""Accounts over HTTP: first administrator, sign-in, sessions, second factor, invitations, own Boxes."""

import json
import re
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import demo
import pyotp
import pytest
from account_scene import PASSWORD, FormBrowser, add_people
from notification_scene import MailSink
from waiting import wait_for

from opq_cloud.core.settings.view import MailSection
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.records.accounts.account_records import AccountTicket, BoxAccess
from opq_cloud.view.web.gate import ENDED
from opq_cloud.view.web.links import first_admin_link, local_token, make_ticket
from opq_cloud.view.web.passwords import password_problem, secret_hash, totp_step_of
from opq_proto.errors import StoreError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import key_fingerprint

pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture
def browser(scene: demo.Scene) -> FormBrowser:
    return FormBrowser(scene.url)


def test_the_first_administrator_closes_the_open_page(scene: demo.Scene, browser: FormBrowser) -> None:
    """From then on the page asks for a sign-in."""
    assert browser.get("/") == 200 and "Sign in" not in browser.text
    link = first_admin_link(scene.store.people, "")
    assert link is not None
    assert browser.get(link) == 200
    code = link.partition("code=")[2]
    wanted = {"link_code": code, "email": "Ada@Example.org", "name": "Ada", "password": PASSWORD}
    assert browser.post("/first-admin", **wanted, password_again="another password") == 400
    assert "differ" in browser.text and not scene.store.people.any_account()
    assert browser.post("/first-admin", **wanted, password_again=PASSWORD) == 303
    assert browser.get("/") == 200 and "Ada" in browser.text
    stranger = FormBrowser(scene.url)
    assert stranger.get("/incidents?box=1") == 303
    assert stranger.headers["location"] == "/sign-in?next=%2Fincidents%3Fbox%3D1"
    assert stranger.get("/api/v1/boxes") == 401 and stranger.get("/live") == 401
    assert stranger.get("/health") == 200 and stranger.get("/static/view.css") == 200
    assert stranger.get(link) == 404  # it works once
    assert first_admin_link(scene.store.people, "") is None
    assert [each.role for each in scene.store.people.accounts()] == ["admin"]


@pytest.mark.parametrize("headers", [{"Host": "pq.example"}, {"X_Forwarded_For": "192.0.2.7"}])
def test_beyond_loopback_it_asks_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    running = demo.Scene(tmp_path, poll_s=30.0)
    running.view._config = replace(running.config, allowed_hosts=("pq.example",))
    with running:
        browser = FormBrowser(running.url)
        assert browser.get("/") == 200  # the machine itself
        assert browser.get("/", **headers) == 303
        assert browser.get("/sign-in", **headers) == 200
        assert "another machine" in browser.text and "--first-admin" in browser.text


def test_never_and_always_are_settings(tmp_path: Path) -> None:
    for setting, status in (("never", 200), ("always", 303)):
        running = demo.Scene(tmp_path / setting, poll_s=30.0)
        running.view._config = replace(running.config, sign_in=setting)
        with running:
            assert FormBrowser(running.url).get("/") == status


def test_voltages_default_to_the_accounts_unit(scene: demo.Scene, browser: FormBrowser) -> None:
    """If an address names no unit."""
    demo.fill(scene.store, time.time_ns(), minutes=2)
    add_people(scene, ada="admin")
    browser.sign_in("ada@example.org")
    profile = {"name": "Ada", "theme": "system", "time_zone": "UTC"}
    assert browser.post("/account/profile", "/account", **profile, voltage_unit="furlongs") == 400
    assert browser.post("/account/profile", "/account", **profile, voltage_unit="percent") == 303
    assert browser.post("/account/profile", "/account", **profile) == 303, "a form of before keeps it"
    browser.get("/account")
    assert '<option value="percent" selected>' in browser.text
    for path in ("/past?box=1", "/incidents/1/examine?show=1"):
        for asked, shown in (("", "y=percent"), ("&y=V", "y=V"), ("&y=percent", "y=percent")):
            assert browser.get(path + asked) == 200
            link = re.search(r'href="([^"]+)"[^>]*>Link to (exactly )?this view<', browser.text)
            assert link is not None and shown in link[1], "a link shows everybody the same"
    assert browser.get("/boxes/1") == 200
    charts = re.findall(r'data-metric="rms_v"[^>]*data-unit="%" data-factor="([^"]*)"', browser.text)
    assert [float(each) for each in charts] == [100.0 / 120.0]
    assert browser.get("/past?box=1&q=rms_v&from=now-10m&to=now") == 200
    said = re.search(r"([0-9.]+) to ([0-9.]+)\u202f%, half of the time", browser.text)
    assert said is not None and 84 < float(said[1]) < float(said[2]) < 110


def test_session_lasts_from_sign_in_to_sign_out(scene: demo.Scene, browser: FormBrowser) -> None:
    """A session starts again at sign in and ends at sign out."""
    add_people(scene, ada="admin")
    browser.cookies["opq_session"] = "chosen-by-an-attacker"
    assert browser.sign_in("ADA@example.org", wanted="/account") == 303
    assert browser.headers["location"] == "/account"
    first = browser.cookies["opq_session"]
    assert first != "chosen-by-an-attacker"
    stored = scene.store.people.session(secret_hash(first))
    assert stored is not None and first not in repr(stored)
    assert browser.get("/account") == 200
    assert browser.post("/sign-out") == 303 and browser.headers["clear-site-data"] == '"cache"'
    assert browser.get("/account") == 303
    browser.cookies["opq_session"] = first
    assert browser.get("/account") == 303
    assert browser.get("/live?values=") == 401
    with urllib.request.urlopen(f"{scene.url}/live?values=&feed={secret_hash(first)[:12]}-all") as feed:
        assert feed.read() == ENDED  # a page of that session comes back, and learns of it


def test_sessions_can_be_listed_and_ended(scene: demo.Scene) -> None:
    """Sessions are listed and ended one by one and by a new password."""
    add_people(scene, ada="owner")
    browsers = [FormBrowser(scene.url) for _ in range(3)]
    for each in browsers:
        assert each.sign_in("ada@example.org") == 303
    first, second, third = browsers
    first.get("/account")
    wanted = re.findall(r'name="session" value="([0-9a-f]{64})"', first.text)
    assert len(wanted) == 2
    assert first.post("/account/sessions/end", session=wanted[0]) == 303
    assert sorted((second.get("/account"), third.get("/account"))) == [200, 303]
    assert first.post("/account/password", "/account", present_password="wrong", password="x" * 12) == 403
    fresh = "another horse, another battery"
    wrong = {"password": fresh, "password_again": fresh}
    assert first.post("/account/password", "/account", present_password=PASSWORD, **wrong) == 303
    assert first.get("/account") == 200
    assert {second.get("/account"), third.get("/account")} == {303}
    assert FormBrowser(scene.url).sign_in("ada@example.org") == 403
    assert FormBrowser(scene.url).sign_in("ada@example.org", fresh) == 303


def test_a_password_by_mail_ends_every_session(tmp_path: Path) -> None:
    """It can be set once, within an hour."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    with MailSink() as sink:
        mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
        running.view._config = replace(running.config, mail=mail, public_url="http://pq.example")
        with running:
            ids, inside, asking = (
                add_people(running, ada="owner"),
                FormBrowser(running.url),
                FormBrowser(running.url),
            )
            assert inside.sign_in("ada@example.org") == 303
            assert asking.post("/reset", "/reset", email="ada@example.org") == 200
            text = wait_for(lambda: list(sink.mails))[0].get_content()
            link = re.search(r"http://pq\.example(/reset/new\?code=([\w-]{43,}))", text)  # 256 bits or more
            assert link is not None and PASSWORD not in text
            people = running.store.people
            (ticket,) = people.tickets("reset")
            assert (
                ticket.ticket_hash == secret_hash(link[2]) and 3500 < ticket.expires_s - time.time() <= 3600
            )
            fresh = {"password": "another horse", "password_again": "another horse", "link_code": link[2]}
            assert asking.post("/reset/new", link[1], **fresh) == 303
            assert inside.get("/account") == 303 and asking.get(link[1]) == 404
            assert asking.sign_in("ada@example.org") == 403
            assert asking.sign_in("ada@example.org", "another horse") == 303
            people.add_ticket(AccountTicket(secret_hash("late"), "reset", 1, 10, account_id=ids["ada"]))
            assert asking.get("/reset/new?code=late") == 404


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("elevenchars", "want 12"),
        ("x" * 257, "256 or fewer"),
        ("abababababab", "repeats"),
        ("ada@example.org", "is the e-mail"),
        ("correct horse", None),
        ("Übermäßig lang", None),
    ],
)
def test_a_weak_password_is_refused(password: str, says: str | None) -> None:
    problem = password_problem(password, "ada@example.org")
    assert problem is None if says is None else says in (problem or "")


def test_a_new_password_is_reported_by_mail(tmp_path: Path) -> None:
    """To the address of the account."""
    running = demo.Scene(tmp_path, poll_s=30.0)
    with MailSink() as sink:
        mail = MailSection(server=f"127.0.0.1:{sink.port}", security="none")
        running.view._config = replace(running.config, mail=mail)
        with running:
            add_people(running, ada="owner")
            browser = FormBrowser(running.url)
            browser.sign_in("ada@example.org")
            fresh = {"password": "another horse", "password_again": "another horse"}
            assert browser.post("/account/password", "/account", present_password=PASSWORD, **fresh) == 303
            mail_of = wait_for(lambda: list(sink.mails))[0]
    assert mail_of["To"] == "ada@example.org" and "password was changed" in mail_of.get_content()


def test_each_second_factor_code_counts_once(scene: demo.Scene, browser: FormBrowser) -> None:
    add_people(scene, ada="owner")
    browser.sign_in("ada@example.org")
    browser.get("/account/second-factor")
    found = re.search(r'name="secret" value="([A-Z2-7]+)"', browser.text)
    assert found and "<svg" in browser.text
    totp = pyotp.TOTP(found[1])
    proof = {"present_password": PASSWORD}
    assert browser.post("/account/second-factor", secret=found[1], code=totp.now()) == 403
    assert "present password is wrong" in browser.text and found[1] in browser.text
    assert browser.post("/account/second-factor", secret=found[1], code="000000", **proof) == 400
    for secret, code in (
        (found[1], "１２３４５６"),
        ("A" * 17, "000000"),
    ):  # digits, but not ASCII's; no base32
        assert browser.post("/account/second-factor", secret=secret, code=code, **proof) == 400
    used = totp.now()
    assert browser.post("/account/second-factor", secret=found[1], code=used, **proof) == 200
    codes = re.findall(r"<code>([0-9a-f]{6}-[0-9a-f]{6})</code>", browser.text)
    assert len(codes) == 8
    another = FormBrowser(scene.url)
    assert another.sign_in("ada@example.org") == 403
    assert another.sign_in("ada@example.org", code=used) == 403  # when it was set up
    assert another.sign_in("ada@example.org", code=codes[0]) == 303
    assert FormBrowser(scene.url).sign_in("ada@example.org", code=codes[0]) == 403
    assert FormBrowser(scene.url).sign_in("ada@example.org", code=totp.at(time.time() + 30)) == 303
    both = {"present_password": PASSWORD, "present_code": codes[1]}
    assert browser.post("/account/second-factor/remove", "/account", **both) == 303
    assert FormBrowser(scene.url).sign_in("ada@example.org") == 303


def test_codes_are_those_of_rfc_6238() -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # appendix B: "12345678901234567890", SHA-1
    for moment, code in ((59, "287082"), (1111111109, "081804"), (2000000000, "279037")):
        assert totp_step_of(secret, code, 0, moment) == moment // 30
        assert totp_step_of(secret, code, 0, moment + 30) == moment // 30
        assert totp_step_of(secret, code, 0, moment + 90) is None
        assert totp_step_of(secret, code, moment // 30, moment) is None
        assert totp_step_of(secret, "２８７０８２", 0, moment) is None


def test_an_invitation_makes_one_account_with_its_role(scene: demo.Scene, browser: FormBrowser) -> None:
    add_people(scene, ada="admin")
    browser.sign_in("ada@example.org")
    browser.post("/admin/invitations", "/admin/accounts", email="eve@example.org", role="researcher")
    found = re.search(r"/register\?code=([\w-]+)", browser.text)
    assert browser.status == 200 and found
    guest = FormBrowser(scene.url)
    assert guest.get(f"/register?code={found[1]}") == 200 and "eve@example.org" in guest.text
    fields = {"link_code": found[1], "email": "eve@example.org", "name": "Eve", "password": PASSWORD}
    assert guest.post("/register", **fields, password_again=PASSWORD) == 303
    assert guest.get("/account") == 200 and "researcher" in guest.text
    assert FormBrowser(scene.url).get(f"/register?code={found[1]}") == 404
    assert guest.get("/register") == 404  # open registration is a setting
    assert guest.get("/admin/accounts") == 404


def _named_as_a_hidden_box(store: CloudStore, eve: FormBrowser) -> tuple[int, int]:
    """The answers to `kitchen` for Box 2: with the original's index, where names are unique, and without."""
    settings = "/boxes/2/settings"
    with pytest.MonkeyPatch.context() as patch:

        def refused(_: BoxRecord, since_ms: int | None) -> None:
            raise StoreError("E11000 duplicate key: kitchen")

        patch.setattr(store, "put_box", refused)
        twice = eve.post(settings, settings, name="kitchen", privacy="nothing")
        assert "cannot be used" in eve.text and "Another Box" not in eve.text
    return twice, eve.post(settings, settings, name="kitchen", privacy="nothing")


def test_a_box_is_claimed_by_fingerprint_or_code(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "curve")
    keys.ensure(["1", "2", "4"])
    running = demo.Scene(tmp_path, poll_s=30.0)
    running.view._keys = keys
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        people = add_people(running, ada="owner", eve="owner", vic="viewer", root="admin")
        ada, eve, vic = (FormBrowser(running.url) for _ in range(3))
        for browser, name in ((ada, "ada"), (eve, "eve"), (vic, "vic")):
            assert browser.sign_in(f"{name}@example.org") == 303
        assert ada.get("/boxes/1") == 404
        public = keys.box_public("1").read_text().split('public-key = "')[1][:40]
        proof = key_fingerprint(public)
        assert ada.post("/account/boxes", "/account/boxes", box_id="1", proof="0000 1111") == 403
        assert vic.post("/account/boxes", "/account/boxes", box_id="1", proof=proof) == 403
        assert ada.post("/account/boxes", "/account/boxes", box_id="1", proof=proof.upper()) == 303
        assert eve.post("/account/boxes", "/account/boxes", box_id="1", proof=proof) == 403
        assert ada.get("/boxes/1") == 200
        assert eve.get("/boxes/1") == 404 and eve.get("/boxes/1/settings") == 404
        code = make_ticket(running.store.people, "claim", 60, box_id="2", made_by=people["root"])
        assert eve.post("/account/boxes", "/account/boxes", proof=code) == 303
        fields = {"name": "kitchen", "region": "Oahu", "latitude": "21.3", "longitude": "-157.8"}
        settings = "/boxes/1/settings"
        assert ada.post(settings, settings, **fields, privacy="nothing") == 400
        assert "There is no region Oahu" in ada.text, "an owner names no region"
        running.store.put_region("Oahu", "town hall")
        assert ada.post(settings, settings, **fields, privacy="nothing") == 303
        box = running.store.box("1")
        assert box is not None and (box.name, box.region, box.location) == ("kitchen", "Oahu", "box-1")
        assert running.store.locations()["box-1"].latitude == 21.3
        assert _named_as_a_hidden_box(running.store, eve) == (400, 303)
        assert ada.post(settings, settings, **fields, privacy="nothing") == 303, "its own name, unchanged"
        assert eve.post("/boxes/2/share", "/boxes/2/settings", email="ada@example.org") == 303
        running.store.put_box(BoxRecord("2", "cellar"))
        assert ada.post(settings, settings, **{**fields, "name": "cellar"}, privacy="nothing") == 400
        assert "Another Box has this name" in ada.text
        assert ada.post(settings, settings, **{**fields, "latitude": "91"}, privacy="all") == 400
        assert ada.post(settings, settings, **fields, nominal_v="120", privacy="nothing") == 303
        assert (box := running.store.box("1")) is not None and box.nominal_v == 120.0
        assert ada.post(settings, settings, **fields, nominal_v="-1", privacy="nothing") == 400
        assert ada.post("/boxes/1/share", settings, email="vic@example.org") == 303
        assert vic.get("/boxes/1") == 200 and vic.get(settings) == 404
        assert ada.post("/boxes/1/share", settings, remove=people["vic"]) == 303
        assert vic.get("/boxes/1") == 404
        running.store.people.add_owner("1", people["eve"])
        wait_for(lambda: eve.get(settings) == 200)
        assert ada.get(settings) == 200
        assert "It belongs to Ada and Eve." in ada.text and "It stays with its other owners." in eve.text
        assert eve.post("/boxes/1/release", settings) == 303 and eve.get(settings) == 404
        assert ada.get("/account/data.json") == 200
        facts = json.loads(ada.text)
        assert facts["account"]["email"] == "ada@example.org" and "password_hash" not in ada.text
        assert facts["boxes"][0]["box"]["latitude"] == 21.3
        assert ada.post("/account/delete", "/account", present_password="wrong") == 403
        assert ada.post("/account/delete", "/account", present_password=PASSWORD) == 200
        assert "Nothing of it is left" in ada.text and "Sign out" not in ada.text
        assert "session.js" not in ada.text, "the page stays, though the session has ended"
        assert ada.get("/account") == 303
        box = running.store.box("1")
        assert box is not None and (box.name, box.region, box.location) == ("Box 1", None, None)
        assert "box-1" not in running.store.locations()
        left = b"".join(path.read_bytes() for path in tmp_path.glob("accounts.db*"))
        assert b"ada@example.org" not in left and people["ada"].encode() not in left


def test_changes_are_logged_for_administrators(scene: demo.Scene, browser: FormBrowser) -> None:
    ids = add_people(scene, ada="admin", eve="owner")
    browser.sign_in("ada@example.org")
    path = f"/admin/accounts/{ids['eve']}"
    assert browser.post(path, "/admin/accounts", role="viewer", disabled="on") == 303
    assert FormBrowser(scene.url).sign_in("eve@example.org") == 403
    own = f"/admin/accounts/{ids['ada']}"
    assert browser.post(own, "/admin/accounts", role="viewer") == 409  # no administrator would be left
    assert browser.get("/admin/changes") == 200
    assert "set an account to viewer, disabled" in browser.text and "127.0.0.1" in browser.text
    assert browser.post(f"{path}/delete", "/admin/accounts") == 303
    assert [each.name for each in scene.store.people.accounts()] == ["Ada"]
    logged = repr(scene.store.people.changes.entries())
    assert "was refused at sign-in" in logged and "signed in" in logged
    secrets = (PASSWORD, browser.cookies["opq_session"], secret_hash(browser.cookies["opq_session"]))
    assert not any(each in logged for each in secrets)


def test_an_unknown_token_is_always_refused(scene: demo.Scene) -> None:
    """Also where visitors without an account see something."""
    demo.fill(scene.store, time.time_ns(), minutes=1)
    program = FormBrowser(scene.url)

    def refuses_the_unknown() -> None:
        assert program.get("/api/v1/boxes") == 200
        assert program.get("/api/v1/boxes", Authorization="Bearer opq_wrong") == 401
        assert program.get("/api/v1/boxes", Authorization="Bearer nonsense") == 401
        assert program.get("/api/v1/boxes", Authorization="Basic YTpi") == 200, "a proxy's own"
        assert program.get("/api/v1/boxes", Authorization=f"Bearer {known}") == 200

    known = local_token(scene.store.people, "up")
    refuses_the_unknown()  # no account yet, on this machine
    ids = add_people(scene, ada="owner")
    scene.store.people.change_access("1", lambda _: BoxAccess("1", ids["ada"], privacy="all"))
    refuses_the_unknown()


def test_a_token_reads_and_changes_nothing(scene: demo.Scene, browser: FormBrowser) -> None:
    """A token reads what its account may see and changes nothing."""
    demo.fill(scene.store, time.time_ns(), minutes=1)
    ids = add_people(scene, ada="owner")
    scene.store.people.claim_box("1", ids["ada"])
    browser.sign_in("ada@example.org")
    wanted = {"label": "notebook", "days": "30", "present_password": PASSWORD}
    assert browser.post("/account/tokens", "/account", **wanted) == 200
    found = re.search(r"opq_[\w-]{40,}", browser.text)
    assert found
    program = FormBrowser(scene.url)
    bearer = {"Authorization": f"Bearer {found[0]}"}
    assert program.get("/api/v1/boxes", **bearer) == 200
    assert [box["box_id"] for box in json.loads(program.text)["items"]] == ["1"]
    assert program.send("POST", "/account/profile", "form_token=x", bearer) == 401
    assert program.get("/api/v1/boxes", Authorization="Bearer opq_wrong") == 401
    assert "is not complete" in program.text
    everything = {"Authorization": f"Bearer {local_token(scene.store.people, 'up')}"}
    assert program.get("/api/v1/boxes", **everything) == 200 and len(json.loads(program.text)["items"]) == 3
    scene.store.people.add_ticket(AccountTicket(secret_hash("opq_old"), "token", 1, 10))
    assert program.get("/api/v1/boxes", Authorization="Bearer opq_old") == 401
