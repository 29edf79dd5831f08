"""One visitor takes no more than a share: places for dear work, threads, CPU time, spans of strangers."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import anyio.to_thread
import demo
import psutil
import pytest
from fastapi import HTTPException, Response
from waiting import wait_for

from opq_cloud.core.page_parts import made_part
from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.pages.reports.report_jobs import report_page
from opq_cloud.view.pages.visible import seen_jobs
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web import dear_work, shares
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.dear_work import HELD_PER_S, HELD_S, DearPlaces, MadeTogether
from opq_cloud.view.web.forms import FORMS_OF_ADDRESS, FormPlaces
from opq_cloud.view.web.shares import (
    CPU_BURST_S,
    CPU_PER_S,
    PAGES_AT_ONCE,
    REQUEST_SHARE,
    FairShares,
    RequestShare,
    in_thread,
)
from opq_cloud.view.web.visitors import NOBODY

HONEST = "198.51.100.7"
SOON_S = 240.0


@pytest.fixture
def public(scene: demo.Scene) -> demo.Scene:
    """Three Boxes with an hour of Measurements, which everybody sees."""
    demo.fill(scene.store, time.time_ns())
    scene.store.people.add_account("ada@example.org", "Ada", "admin", "no-hash")
    for outlet in demo.OUTLETS:
        scene.store.people.change_access(outlet.box_id, lambda was: replace(was, privacy="all"))
    wait_for(lambda: answer(scene, "/boxes/1", HONEST)[0] == 200, SOON_S)
    return scene


def answer(scene: demo.Scene, path: str, address: str) -> tuple[int, str | None, bytes]:
    """Status, Retry-After and body of a request that a proxy of this machine hands on."""
    with closing(http.client.HTTPConnection(urlsplit(scene.url).netloc, timeout=SOON_S)) as connection:
        connection.request("GET", path, headers={"X-Forwarded-For": address})
        found = connection.getresponse()
        return found.status, found.getheader("Retry-After"), found.read()


@contextmanager
def unread(scene: demo.Scene, path: str, address: str) -> Iterator[socket.socket]:
    """A request whose answer has begun and is read no further."""
    parts = urlsplit(scene.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(SOON_S)
        connection.connect((parts.hostname, parts.port))
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {address}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield connection


def jobs() -> list[psutil.Process]:
    """Processes of jobs: children of the program that forks them."""
    return [job for server in psutil.Process().children() for job in server.children()]


def test_two_exports_run_and_the_next_is_refused(public: demo.Scene) -> None:
    """One of an address; the third address gets 503. A client that leaves ends its process."""
    export = "/api/v1/exports/measurements?box=1&box=2&box=4"
    with ExitStack() as opened:
        first = opened.enter_context(unread(public, export, "192.0.2.1"))
        assert answer(public, export, "192.0.2.1")[:2] == (429, "10")
        opened.enter_context(unread(public, export, "192.0.2.2"))
        status, again, body = answer(public, export, "192.0.2.3")
        assert (status, again, json.loads(body)["status"]) == (503, "10", 503)
        assert answer(public, "/incidents", HONEST)[0] == 200
        assert len(jobs()) == 2
        first.close()
        wait_for(lambda: len(jobs()) == 1, SOON_S)
        wait_for(lambda: answer(public, export, "192.0.2.3")[0] == 200, SOON_S)
    wait_for(lambda: not jobs(), SOON_S)
    assert public.view.counters.of("work_refused", "export") >= 1
    assert public.view.counters.of("work_refused", "export, of one address") == 1


def test_sixty_reports_leave_pages_served(public: demo.Scene) -> None:
    """Ten addresses request six reports each; what finds no place is refused and says when to come again."""

    def report(number: int) -> tuple[int, str | None, bytes]:
        path = f"/api/v1/reports/week?format=html&place=all&week=2025-W{1 + number % 50:02d}"
        return answer(public, path, f"192.0.2.{number % 10}")

    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(report, number) for number in range(60)]
        assert answer(public, "/incidents", HONEST)[0] == 200
        found = [each.result() for each in asked]
    assert {status for status, *_ in found} <= {200, 429, 503}
    refused = [again for status, again, _ in found if status != 200]
    assert refused and set(refused) == {"10"}


def test_a_visitor_without_cpu_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, API and outlines of that address; another address and this machine go on."""
    monkeypatch.setattr(shares, "CPU_BURST_S", 0.05)
    monkeypatch.setattr(shares, "CPU_PER_S", 0.001)
    with demo.Scene(tmp_path, poll_s=30.0) as scene:
        assert b"opq_view_requests_beyond_share_total 0.0" in answer(scene, "/metrics", "127.0.0.1")[2]
        wait_for(lambda: answer(scene, "/map/outlines.json?at=21,-157&km=900", "192.0.2.1")[0] == 429, SOON_S)
        for path in ("/feeds/incidents.atom", "/map/outlines.json", "/sign-in"):
            status, again, body = answer(scene, path, "192.0.2.1")
            assert status == 429 and int(again or 0) > 1 and b"has used its share" in body
        assert answer(scene, "/sign-in", HONEST)[0] == 200
        assert answer(scene, "/", "127.0.0.1")[0] == 303  # handed on, so it has to sign in
        assert scene.view.counters.total("requests_beyond_share") > 3


def test_cpu_time_comes_back() -> None:
    now_s = [0.0]
    fair = FairShares(ServiceCounters(), lambda: now_s[0])
    fair.charge("192.0.2.1", CPU_BURST_S + 1)
    fair.charge("", 1000.0)
    assert fair.wait_s("192.0.2.1") == round(1 / CPU_PER_S)
    assert fair.wait_s("192.0.2.2") == fair.wait_s("") == 0
    now_s[0] = 1 / CPU_PER_S + 1
    assert fair.wait_s("192.0.2.1") == 0


async def stays() -> bool:
    return False


def shared(fair: FairShares, key: str, work: Callable[[], object]) -> "asyncio.Task[object]":
    """Runs `work` as a request of this visitor."""

    async def request() -> object:
        REQUEST_SHARE.set(RequestShare(fair, key, stays, reads=True))
        return await in_thread(work)

    return asyncio.create_task(request())


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not fact():
            await asyncio.sleep(0.002)


def test_one_visitor_holds_one_thread() -> None:
    """Its other pages wait without a thread, and another visitor's page is made meanwhile."""

    async def run() -> None:
        fair, go = FairShares(ServiceCounters()), threading.Event()
        threads = anyio.to_thread.current_default_thread_limiter()
        waiting = [shared(fair, "192.0.2.1", go.wait) for _ in range(20)]
        await until(lambda: threads.borrowed_tokens == PAGES_AT_ONCE)
        assert await shared(fair, "192.0.2.2", lambda: "page") == "page"
        assert threads.borrowed_tokens == PAGES_AT_ONCE
        go.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(run())


def test_one_address_leaves_places_to_sign_in() -> None:
    """It has FORMS_OF_ADDRESS of them; its further forms are refused, and another address gets its turn."""

    async def run() -> None:
        fair, go = FairShares(ServiceCounters()), threading.Event()
        places = FormPlaces(ServiceCounters())

        async def form(key: str, answered: Callable[[], object]) -> Response:
            REQUEST_SHARE.set(RequestShare(fair, key, stays))
            return await places.run(lambda: Response(str(answered())))

        waiting = [asyncio.create_task(form("192.0.2.1", go.wait)) for _ in range(FORMS_OF_ADDRESS)]
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await form("192.0.2.1", go.wait)
        assert refused.value.status_code == 503
        assert (await form("192.0.2.2", lambda: "signed in")).body == b"signed in"
        go.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())


def test_a_wait_for_an_answer_holds_no_thread() -> None:
    """Thirty visitors request an answer that one of them makes: it is made once, in one thread."""

    async def run() -> None:
        fair, go, made = FairShares(ServiceCounters()), threading.Event(), list[str]()
        threads = anyio.to_thread.current_default_thread_limiter()
        cache: AnswerCache[str] = AnswerCache(SOON_S)

        def make() -> str:
            made.append("once")
            go.wait(SOON_S)
            return "answer"

        first = shared(fair, "first", lambda: cache.of("key", make))
        await until(lambda: bool(made))
        others = [shared(fair, f"other {k}", lambda: cache.of("key", make)) for k in range(30)]
        await asyncio.sleep(0)
        await until(lambda: threads.borrowed_tokens == 1)
        go.set()
        assert set(await asyncio.gather(first, *others)) == {"answer"} and made == ["once"]

    asyncio.run(run())


def test_what_all_have_left_is_not_made_further() -> None:
    """One of two who wait leaves, then the other: only then the work ends. A failure is not kept."""

    async def run() -> None:
        made, begun, ended = MadeTogether(60.0, 4), list[str](), list[str]()

        async def endless() -> None:
            begun.append("begun")
            try:
                await asyncio.sleep(SOON_S)
            finally:
                ended.append("ended")

        async def failing() -> str:
            raise ValueError("once")

        async def answered() -> str:
            return "answer"

        waiting = [asyncio.create_task(made.of("key", endless)) for _ in range(2)]
        await until(lambda: bool(begun))
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])
        assert await made.of("other", answered) == "answer" and not ended
        waiting[0].cancel()
        await until(lambda: ended == ["ended"])
        with pytest.raises(ValueError, match="once"):
            await made.of("failed", failing)
        assert [await made.of("failed", answered) for _ in range(2)] == ["answer"] * 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "path", ["/past?box=1&box=2&box=4&from=now-3y", "/api/v1/exports/measurements?box=1&box=2&from=now-4y"]
)
def test_a_stranger_requests_no_decades(public: demo.Scene, path: str) -> None:
    status, _, body = answer(public, path, HONEST)
    assert status == 400 and b"2,000 days of Boxes or fewer" in body


def test_a_part_that_others_make_is_awaited() -> None:
    """A part of a page that another page makes at this moment is not a failed part."""

    async def run() -> None:
        fair, go, began = FairShares(ServiceCounters()), threading.Event(), threading.Event()
        cache: AnswerCache[str] = AnswerCache(SOON_S)

        def make() -> str:
            began.set()
            go.wait(SOON_S)
            return "answer"

        def page() -> object:
            return made_part("The week", lambda: cache.of("key", make))

        first = shared(fair, "first", page)
        await until(began.is_set)
        second = shared(fair, "second", page)
        await until(lambda: anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 1)
        go.set()
        assert await asyncio.gather(first, second) == ["answer", "answer"]

    asyncio.run(run())


def test_the_last_place_is_kept_for_others() -> None:
    """Two who have held places for long get one of a kind between them; later one gets the last again."""

    async def run() -> None:
        now_s = [0.0]
        places = DearPlaces(ServiceCounters(), lambda: now_s[0])

        @asynccontextmanager
        async def held_by(key: str) -> AsyncIterator[None]:
            token = REQUEST_SHARE.set(RequestShare(FairShares(ServiceCounters()), key, stays))
            try:
                async with places.taken("report"):
                    yield
            finally:
                REQUEST_SHARE.reset(token)

        for key in ("192.0.2.1", "192.0.2.2"):
            async with held_by(key):
                now_s[0] += HELD_S + 25.0
        async with held_by("192.0.2.1"):
            with pytest.raises(HTTPException) as refused:
                async with held_by("192.0.2.2"):
                    pass
            assert refused.value.status_code == 503
            async with held_by(HONEST):
                pass
        now_s[0] += 25.0 / HELD_PER_S + 1.0
        async with held_by("192.0.2.1"), held_by("192.0.2.2"):
            pass

    asyncio.run(run())


def test_a_refusal_is_its_visitors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor without a place requests what another one requests too, who gets it meanwhile."""

    async def run() -> None:
        refusing, go = asyncio.Event(), asyncio.Event()

        async def pause() -> None:
            refusing.set()
            await go.wait()

        async def part(*_: object) -> str:
            return "report"

        for module in (dear_work, seen_jobs):
            monkeypatch.setattr(module, "pause_refusal", pause, raising=False)
        monkeypatch.setattr(seen_jobs, "only_part", part)
        facts = {"counters": ServiceCounters(), "visitor": NOBODY, "nominal": None, "now_ns": lambda: 0}
        services = SimpleNamespace(**facts, store=SimpleNamespace(place=None))
        jobs, fair = SeenJobs(cast(ViewServices, services)), FairShares(ServiceCounters())

        async def report(key: str) -> object:
            REQUEST_SHARE.set(RequestShare(fair, key, stays, reads=True))
            return await jobs.only("report", "week", report_page)

        jobs.places._taken["report"].append("192.0.2.1")  # it holds one for another report
        refused = asyncio.create_task(report("192.0.2.1"))
        await until(refusing.is_set)
        other = asyncio.create_task(report(HONEST))
        await until(lambda: other.done() or any(each.waiting == 2 for each in jobs._made._made.values()))
        go.set()
        assert await other == "report"
        with pytest.raises(HTTPException) as refusal:
            await refused
        assert refusal.value.status_code == 429

    asyncio.run(run())
