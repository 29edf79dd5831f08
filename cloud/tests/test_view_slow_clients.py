"""Clients that are slow, too many or too large: bounded and counted, and the page answers others."""

import http.client
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

import demo
import pytest
from account_scene import FormBrowser, add_people
from waiting import wait_for

from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE
from opq_cloud.store.records.accounts.account_records import AccountSession
from opq_cloud.view.web import passwords
from opq_cloud.view.web.forms import FORMS_AT_ONCE, FORMS_WAITING
from opq_cloud.view.web.sign_in import MAX_SESSIONS, SignIn
from opq_cloud.view.web.visitors import RequestFacts, Visitors

pytestmark = pytest.mark.usefixtures("cheap_argon2")
SOON_S = 60.0


@contextmanager
def _sockets(scene: demo.Scene, *sent: bytes) -> Iterator[list[socket.socket]]:
    """One connection for each, on which that was sent and nothing is read."""
    parts = urlsplit(scene.url)
    with ExitStack() as opened:
        found = []
        for data in sent:
            each = opened.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(SOON_S)
            each.connect((parts.hostname, parts.port))
            each.sendall(data)
            found.append(each)
        yield found


def _read(each: socket.socket) -> bytes:
    """What View sends until it closes the connection."""
    found = b""
    while part := each.recv(65_536):
        found += part
    return found


def _page(scene: demo.Scene, path: str = "/incidents") -> int:
    parts = urlsplit(scene.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SOON_S)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _count(scene: demo.Scene, name: str) -> float:
    return scene.view.counters.total(name)


def test_a_broken_off_form_is_not_our_fault(scene: demo.Scene) -> None:
    """Its sender ends it; the log reports no fault of View."""
    form = (
        b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nemail=ada"
    )
    with _sockets(scene, *(form,) * 5):
        assert _page(scene) == 200
    assert _page(scene) == 200
    assert _count(scene, "requests_failed") == 0


def test_an_answered_connection_without_a_further_request_ends(scene: demo.Scene) -> None:
    with _sockets(scene, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as idle:
        assert _read(idle[0]).startswith(b"HTTP/1.1 200")  # to its end, after timeout_keep_alive


def test_too_many_connections_are_refused(
    tmp_path: Path,
) -> None:
    """Requests beyond the limit of connections are refused, and ended ones make room."""
    few = demo.Scene(tmp_path, poll_s=30.0)
    few.view.connections_beside_streams = 20 - few.config.live_streams
    with few as scene, _sockets(scene, *(b"",) * 20) as most:
        asked = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with _sockets(scene, asked) as beyond:
            answer = _read(beyond[0])
        assert answer.startswith(b"HTTP/1.1 503") and b"connection: close" in answer
        for each in most[:2]:
            each.close()
        wait_for(lambda: _answers(scene), SOON_S)


def _answers(scene: demo.Scene) -> bool:
    try:
        return _page(scene) == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("size", [17_000, 200_000])
def test_a_head_that_is_too_large_is_refused(scene: demo.Scene, size: int) -> None:
    cookie = b"; ".join(b"c%d=%s" % (each, b"x" * 90) for each in range(size // 100))
    with _sockets(scene, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: " + cookie + b"\r\n\r\n") as large:
        assert re.match(rb"HTTP/1.1 4(00|31) ", large[0].recv(17))
    assert FormBrowser(scene.url, cookies={f"c{each}": "x" * 90 for each in range(150)}).get("/") == 200


def test_an_address_has_a_quarter_of_feeds(tmp_path: Path) -> None:
    """One address has a quarter of the live feeds and all others the rest."""
    few = demo.Scene(tmp_path, poll_s=30.0)
    few.view._config = replace(few.config, live_streams=48, sign_in="never")
    with few as scene, ExitStack() as opened:
        parts, connections = urlsplit(scene.url), []

        def feed(of: str | None, path: str = "/live?values=") -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SOON_S)
            connections.append(opened.enter_context(closing(connection)))
            connection.request("GET", path, headers={} if of is None else {"X-Forwarded-For": of})
            return connection.getresponse()

        def streams(count: int) -> None:
            wait_for(lambda: scene.view.counters.of("clients_now", "") == count, SOON_S)

        school = [feed(f"2001:db8:0:{each}::1") for each in range(12)]  # a /56, behind a proxy here
        assert [each.status for each in school] == [200] * 12
        streams(12)
        beyond = feed("2001:db8::ffff:1")
        assert (beyond.status, beyond.getheader("Retry-After")) == (429, "10")
        assert b"Your address has 12 live feeds open" in beyond.read()
        program = feed("2001:db8::1", "/api/v1/live")
        assert program.getheader("Content-Type") == "application/problem+json"
        assert (program.status, json.loads(program.read())["status"]) == (429, 429)
        assert _count(scene, "clients_refused_of_address") == 2
        assert _count(scene, "clients_refused") == 0
        others = [feed("2001:db8:0:100::1"), feed("192.0.2.7"), *(feed(None) for _ in range(13))]
        assert [each.status for each in others] == [200] * 15  # none of this machine's own is counted
        streams(27)
        connections[0].close()
        school[0].close()
        streams(26)
        assert feed("2001:db8::ffff:1").status == 200


def test_a_flood_of_sign_ins_is_postponed(
    scene: demo.Scene,
) -> None:
    """They wait for few threads, and the rest is asked to come back."""
    add_people(scene, ada="admin")
    seen = FormBrowser(scene.url)
    seen.get("/sign-in")
    statuses: list[int] = []

    def try_it(number: int) -> None:
        one = FormBrowser(scene.url, dict(seen.cookies), text=seen.text)
        headers = {"X-Forwarded-For": f"192.0.2.{number}"}
        statuses.append(one.post("/sign-in", "", headers, email=f"{number}@b.c", password="guess " * 3))

    most = FORMS_AT_ONCE + FORMS_WAITING
    tries = [threading.Thread(target=try_it, args=(number,)) for number in range(most + 20)]
    go_on = threading.Event()
    for _ in range(2):  # no password is compared meanwhile
        passwords.HASHERS.submit(go_on.wait)
    try:
        for each in tries:
            each.start()
        wait_for(lambda: _count(scene, "sign_ins_refused") == 20, SOON_S)
        assert _page(scene, "/sign-in") == 200
    finally:
        go_on.set()
    for each in tries:
        each.join(SOON_S)
    assert sorted(statuses) == [403] * most + [503] * 20
    assert seen.sign_in("ada@example.org") == 303


def test_an_account_keeps_a_hundred_sessions(scene: demo.Scene, tmp_path: Path) -> None:
    """Its ten thousand sessions become a hundred at the next sign-in."""
    account_id = add_people(scene, ada="admin")["ada"]
    people, now_ms = scene.store.people, time.time_ns() // 1_000_000
    sessions = [
        AccountSession(f"{each:064}", account_id, now_ms, now_ms - each, 2**33, "", "a browser")
        for each in range(10_000)
    ]
    rows = [(each.token_hash, json.dumps(asdict(each))) for each in sessions]
    with closing(sqlite3.connect(tmp_path / ACCOUNTS_FILE, timeout=SOON_S)) as beside, beside:
        beside.executemany("INSERT INTO opq_sessions VALUES (?, ?)", rows)
    assert len(people.sessions(account_id)) == 10_000
    browser = FormBrowser(scene.url)
    assert browser.sign_in("ada@example.org") == 303
    assert len(people.sessions(account_id)) == MAX_SESSIONS
    assert browser.get("/account") == 200
    assert browser.text.count("a browser") == MAX_SESSIONS - 1 and len(browser.text) < 150_000
    assert people.expire(2**33) == MAX_SESSIONS
    assert browser.get("/account") == 303


def test_changed_box_ownership_is_read_again(tmp_path: Path) -> None:
    with demo.Scene(tmp_path, poll_s=30.0) as scene:
        people, now_s, reads = scene.store.people, [0.0], []
        read = people.accesses

        def counted() -> object:
            reads.append(now_s[0])
            return read()

        people.accesses = counted  # type: ignore[method-assign,assignment]
        visitors = Visitors(people, scene.config, lambda: now_s[0])

        def looked() -> int:
            now_s[0] += 2.0
            visitors.of(RequestFacts({"host": "pq.example"}, "192.0.2.1"))
            return len(reads)

        account_id = add_people(scene, ada="owner")["ada"]
        first = looked()
        secret = SignIn(people).begin_session(*people.accounts(), "", "")
        assert [looked(), looked(), looked()] == [first] * 3  # sessions are another table
        assert people.claim_box("1", account_id) and looked() == first + 1 == looked()
        asked = RequestFacts({"host": "pq.example", "cookie": f"opq_session={secret}"}, "192.0.2.1")
        assert visitors.of(asked).own == {"1"}
        with closing(demo.open_store(None, tmp_path)) as another:
            another.people.share_box("2", account_id, True)
        assert looked() == first + 2
        assert visitors.of(asked).full == {"1", "2"}
