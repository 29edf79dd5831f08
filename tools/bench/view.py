"""Requests to View: the first byte and the whole of each page, compared with a bare page of the same server.

A separate process runs `opq-cloud view` over a store with 10^7 Measurements, 10^5 incidents and 10,000
Boxes; this one sends requests. Bytes are those on the wire, gzip. CPU is the server's, the median of single
requests: one full collection of Python's garbage takes 0.1 to 0.2 s and comes once in hundreds of requests,
so that a mean of 20 depends on whether it is among them. The baseline is one empty page of Starlette under
the same uvicorn, requested the same way in the same run. Then who sees every tenth Box requests lists, and
an honest visitor opens pages while another address does its worst (`harness/hostile_requests.py`). Other
sizes by the environment:

    OPQ_BENCH_VIEW_BOXES=10000              with --quick 1,000
    OPQ_BENCH_VIEW_INCIDENTS=100000         with --quick 5,000
    OPQ_BENCH_VIEW_MEASUREMENTS=10000000    with --quick 40,000
    OPQ_BENCH_VIEW_DAYS=365                 of one Box's minutes; with --quick 7
    OPQ_BENCH_VIEW_MAPS=500                 maps that stay open for ten seconds and ask every other second
    OPQ_BENCH_VIEW_STORE=DIR                keep the store there, and use it where it is made already
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import click

from bench.harness.filled import fill_boxes, fill_days, fill_incidents, fill_measurements, filled_week
from bench.harness.hostile_requests import ATTACKS
from bench.harness.result import Baseline, BenchCase, BenchResult, case, percentile
from bench.harness.timed_requests import HEADERS, PageFigures, Server, bare_server, page_figures, view_server
from opq_cloud.reports.week import week_of
from opq_cloud.store import open_store
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE

FIRST_BYTE_LIMIT_MS = 50.0
"""Limit of each page's p99 until its first byte, at 10^7 Measurements."""
WHOLE_LIMIT_MS = 150.0
"""Limit of each page's p99 until its last byte."""
MAPS_S = 10.0
"""Time in which maps are requested."""
MAP_EVERY_S = 2.0
"""Pause between two requests of a map."""
ACCOUNTS_SEEN_S = 1.5
"""View reads at most once a second whether there is an account."""
FILTER = "/incidents?" + urlencode({"class": "sag", "from": "now-7d", "severity": "4"})
EXPORT_NAME = "a week's incidents exported"
EXPORTS = 3
"""Exports of a run: View answers one every two seconds."""
EXPORT_PAUSE_S = 2.5
"""Pause between two exports."""
FULL = {"BOXES": 10_000, "INCIDENTS": 100_000, "MEASUREMENTS": 10_000_000, "DAYS": 365, "MAPS": 0}
QUICK = {"BOXES": 1_000, "INCIDENTS": 5_000, "MEASUREMENTS": 40_000, "DAYS": 7, "MAPS": 0}


def run(quick: bool) -> BenchResult:
    sizes = {
        name: int(os.environ.get(f"OPQ_BENCH_VIEW_{name}") or number)
        for name, number in (QUICK if quick else FULL).items()
    }
    runs = 20 if quick else 200
    with store_folder() as folder:
        rows = fill(folder, sizes)
        with bare_server() as server:
            bare = page_figures(server, "/", runs)
        with view_server(folder) as server:
            rows.append(case("from the start of View to its first page", "s", [server.started_s]))
            for name, path in paths(sizes["INCIDENTS"], sizes["DAYS"]).items():
                if name != EXPORT_NAME:
                    rows += _rows(name, page_figures(server, path, runs))
                elif not quick:
                    rows += _rows(name, page_figures(server, path, EXPORTS, EXPORT_PAUSE_S))
            with viewer_of_a_tenth(folder, sizes["BOXES"]) as cookie:
                for name, path in paths_of_a_part().items():
                    rows += _rows(
                        f"a tenth of the Boxes, {name}", page_figures(server, path, runs, cookie=cookie)
                    )
            if sizes["MAPS"]:
                rows.append(open_maps(server, sizes["MAPS"]))
            rows.append(case("memory of View", "bytes", [server.memory_bytes()]))
    rows += attack_rows(quick)
    front = next(each for each in rows if each.case == "front page: whole, p99")
    baseline = Baseline("front page: whole, p99, of a bare page", percentile(bare.whole_ms, 0.99), "ms")
    rows.append(case("a bare page of Starlette: CPU of the server", "ms", bare.cpu_ms))
    return BenchResult(tuple(rows), baseline, front.value / baseline.value)


@contextmanager
def store_folder() -> Iterator[Path]:
    """Folder of the store: the one that the environment names, or else a temporary one."""
    if folder_name := os.environ.get("OPQ_BENCH_VIEW_STORE"):
        Path(folder_name).mkdir(parents=True, exist_ok=True)
        yield Path(folder_name)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def fill(folder: Path, sizes: Mapping[str, int]) -> list[BenchCase]:
    """Fills the store; rows with CPU and time of each part, none where it is filled already."""
    now_ms, boxes = time.time_ns() // 1_000_000, sizes["BOXES"]
    rows: list[BenchCase] = []
    with closing(open_store(None, folder)) as store:
        if store.incidents(limit=1):
            return []
        parts: dict[str, Callable[[], None]] = {
            "Boxes": lambda: fill_boxes(store, boxes),
            "Measurements": lambda: fill_measurements(store, boxes, sizes["MEASUREMENTS"], now_ms),
            "incidents": lambda: fill_incidents(store, boxes, sizes["INCIDENTS"], now_ms),
            "days of a Box": lambda: fill_days(store, sizes["DAYS"], now_ms),
        }
        for name, part in parts.items():
            cpu_s, began_s = time.process_time(), time.monotonic()
            part()
            rows.append(case(f"{name} stored: CPU", "s", [time.process_time() - cpu_s]))
            rows.append(case(f"{name} stored: time", "s", [time.monotonic() - began_s]))
    return rows


@contextmanager
def viewer_of_a_tenth(folder: Path, boxes: int) -> Iterator[str]:
    """The cookie of a viewer with whom every tenth Box is shared, whose account is deleted at the end."""
    with closing(open_store(None, folder)) as store:
        people = store.people
        account = people.add_account("bench@example.org", "Bench", "viewer", "no-hash")
        assert account is not None
        try:
            for number in range(1, boxes + 1, 10):
                people.share_box(str(number), account.account_id, True)
            time.sleep(ACCOUNTS_SEEN_S)
            yield f"{SESSION_COOKIE}={SignIn(people).begin_session(account, '127.0.0.1', 'bench')}"
        finally:
            people.delete_account(account.account_id)


def paths_of_a_part() -> Mapping[str, str]:
    """Name -> path of pages that cost more where a visitor does not see all Boxes."""
    return {"list": "/incidents", "most severe": "/incidents?order=severe", "filter": FILTER}


def paths(incidents: int, days: int) -> Mapping[str, str]:
    """Name -> path of every page that a visitor sees."""
    return {
        "front page": "/",
        "list": "/incidents",
        "filter": FILTER,
        "incident": f"/incidents/{incidents // 2}",
        "box": "/boxes/1",
        f"chart of {days} days": f"/past?box=1&q=rms_v&from=now-{days}d&to=now",
        "weeks compared": "/past?box=1&weeks=3",
        "a region's month": "/past?of=region:r1&together=1&q=rms_v&from=now-30d&to=now",
        "verdicts of five weeks": "/past?box=1&show=verdicts",
        "map": "/map",
        "map state": "/map/state",
        "incidents as JSON": "/api/v1/incidents?limit=100&class=sag",
        EXPORT_NAME: "/api/v1/exports/incidents?format=csv&from=now-7d",
    }


def open_maps(server: Server, maps: int) -> BenchCase:
    """CPU of the server while `maps` maps are open, each requesting changes."""
    stop_s, answers, lock = time.monotonic() + MAPS_S, [0], threading.Lock()

    def watch(number: int) -> None:
        etag = ""
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            time.sleep(MAP_EVERY_S * number / maps)
            while time.monotonic() < stop_s:
                headers = {**HEADERS, **({"If-None-Match": etag} if etag else {})}
                connection.request("GET", "/map/state", headers=headers)
                answer = connection.getresponse()
                answer.read()
                etag = answer.getheader("ETag") or etag
                with lock:
                    answers[0] += 1
                time.sleep(MAP_EVERY_S)

    cpu_s, began_s = server.cpu_s(), time.monotonic()
    threads = [threading.Thread(target=watch, args=(number,), daemon=True) for number in range(maps)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(MAPS_S + 60)
    used = (server.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    return case(f"{maps} maps open ({answers[0]} answers): CPU of the server", "cores", [used], limit=0.5)


def _rows(name: str, page: PageFigures) -> list[BenchCase]:
    whole, p99_first = page.whole_ms, percentile(page.first_ms, 0.99)
    return [
        case(f"{name}: first byte, p99", "ms", page.first_ms, p99_first, limit=FIRST_BYTE_LIMIT_MS),
        case(f"{name}: whole, p50", "ms", whole, percentile(whole, 0.5)),
        case(f"{name}: whole, p99", "ms", whole, percentile(whole, 0.99), limit=WHOLE_LIMIT_MS),
        case(f"{name}: CPU of the server", "ms", page.cpu_ms),
        case(f"{name}: on the wire", "bytes", [page.wire_bytes]),
    ]


TIMES_LIMIT = 2.0
"""Limit of the p99 while an attack lasts, in times of the idle p99."""
EVERY_S = 0.2
"""Pause between two pages of the honest visitor."""
ATTACK_S = 60.0
IDLE_S = 20.0
QUICK_S = 4.0
"""Both in a quick run."""
ANSWER_S = 60.0
"""Time after which a page counts as this late."""
ATTACKED_BOXES = 10
ATTACKED_INCIDENTS = 2_000
ATTACKED_MEASUREMENTS = 200_000
WEEKS = 4
"""Weeks of class A of each Box."""
HONEST = HEADERS | {"X-Forwarded-For": "198.51.100.7"}
PAGES = ("/incidents", "/incidents/7", "/boxes/1", "/past?box=1&q=rms_v", "/map")


def attack_rows(quick: bool) -> Iterator[BenchCase]:
    """The p99 before each attack, because other load changes, and that while it lasts in times of it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        fill_for_attacks(folder, quick)
        with view_server(folder) as server:
            open_pages(server, QUICK_S)  # what is made once is made
            for attack in ATTACKS:
                idle_ms = open_pages(server, QUICK_S if quick else IDLE_S)
                idle_p99_ms = percentile(idle_ms, 0.99)
                yield case(f"an honest visitor's page before {attack}, p99", "ms", idle_ms, idle_p99_ms)
                seconds = QUICK_S if quick else ATTACK_S
                click.echo(f"{attack} by one address for {seconds:g} s ...", err=True)
                with attacking(server, attack, seconds) as process:
                    beside_ms = open_pages(server, seconds)
                    answers = json.loads(process.communicate(timeout=ANSWER_S)[0] or "{}")
                times = [each / idle_p99_ms for each in beside_ms]
                yield case(
                    f"the same while one address requests {attack}, p99",
                    "times the idle p99",
                    times,
                    percentile(times, 0.99),
                    limit=TIMES_LIMIT,
                    because=f"the address got {counted(answers)}",
                )
                wait_quiet(server)


def fill_for_attacks(folder: Path, quick: bool) -> None:
    now_ms = time.time_ns() // 1_000_000
    newest = week_of("last", "UTC", now_ms * 10**6)
    with closing(open_store(None, folder)) as store:
        fill_boxes(store, ATTACKED_BOXES)
        fill_measurements(store, ATTACKED_BOXES, ATTACKED_MEASUREMENTS // (10 if quick else 1), now_ms)
        fill_incidents(store, ATTACKED_BOXES, ATTACKED_INCIDENTS, now_ms)
        for box in range(1, ATTACKED_BOXES + 1):
            for back in reversed(range(1 if quick else WEEKS)):
                store.intervals.append(filled_week(str(box), newest.before(back), back))
        while store.roll_up(now_ms):
            pass
        store.people.add_account("bench@example.org", "Bench", "owner", "no-hash")
        for box in range(1, ATTACKED_BOXES + 1):  # to be seen by strangers
            store.people.change_access(
                str(box), lambda was: replace(was, privacy="all", public_waveforms=True)
            )


def attacking(server: Server, attack: str, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench.harness.hostile_requests", attack, str(server.port), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def open_pages(server: Server, seconds: float) -> list[float]:
    """Milliseconds of each page; one that fails or does not come counts as ANSWER_S."""
    found, until_s, number = list[float](), time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_S)) as connection:
            began_s = time.perf_counter()
            try:
                connection.request("GET", PAGES[number % len(PAGES)], headers=HONEST)
                answer = connection.getresponse()
                answer.read()
                failed = answer.status != 200
            except (OSError, http.client.HTTPException):
                failed = True
            found.append((ANSWER_S if failed else time.perf_counter() - began_s) * 1e3)
        number += 1
        time.sleep(EVERY_S)
    return found


def wait_quiet(server: Server) -> None:
    """Until View uses less than a tenth of a core: the next attack begins alone."""
    until_s = time.monotonic() + ANSWER_S
    while time.monotonic() < until_s:
        used_s = server.cpu_s()
        time.sleep(1.0)
        if server.cpu_s() - used_s < 0.1:
            return


def counted(answers: dict[str, int]) -> str:
    """`12 answers 200, 300 answers 429`."""
    return ", ".join(f"{count} × {status}" for status, count in sorted(answers.items())) or "no answer"
