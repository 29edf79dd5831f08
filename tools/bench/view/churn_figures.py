"""View's memory while people come and go: sessions begin and end, live pages open and close.

A process of its own runs `opq-cloud view`, another one sends a Measurement a second of each of ten Boxes.
Each turn fifty people get a session, open `/live` for some Boxes and one page, stay for a second and close
both; then their sessions end. Every fifth disconnects without reading. Memory is compared between a third of
the time and the end, so that bounded caches are full by then. The baseline is View's memory after its start.

View keeps the last five minutes of each Box, so a run of less than 15 minutes shows a growth that ends later.
The readers of SQLite fill up more slowly, and grow a little after a third of the time: eight stay open for
each of the two databases, with the pages that they have read.

    OPQ_BENCH_CHURN_SECONDS=900     with --quick 24; 3600 is the hour of the issue
"""

import asyncio
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.result import Baseline, BenchCase, BenchResult, case
from bench.view.filled import fill_boxes, fill_incidents
from bench.view.live_boxes import feeding_boxes
from bench.view.timed_requests import Server, view_server
from opq_cloud.store import CloudStore, open_store
from opq_cloud.view.web.passwords import secret_hash
from opq_cloud.view.web.sign_in import SignIn
from opq_proto.kit.ports import PORTS

BOXES, PEOPLE, INCIDENTS = 10, 50, 200
STAY_S = 1.0
QUICK_SECONDS = 24.0
GROWTH_LIMIT = 1.05
"""Memory at the end over memory at the end of the first third, at most."""
PAGES = ("/", "/incidents", "/map/state", "/boxes/{box}", "/incidents/{incident}")


def run(quick: bool) -> BenchResult:
    seconds = float(os.environ.get("OPQ_BENCH_CHURN_SECONDS") or (QUICK_SECONDS if quick else 900))
    with tempfile.TemporaryDirectory() as folder, closing(open_store(None, Path(folder))) as store:
        fill_boxes(store, BOXES)
        fill_incidents(store, BOXES, INCIDENTS, time.time_ns() // 1_000_000)
        with view_server(Path(folder)) as server:
            endpoint = f"tcp://127.0.0.1:{PORTS['triggering_backend'] + server.port - PORTS['view']}"
            started = server.resident_bytes()
            with feeding_boxes(endpoint, BOXES):
                rows, third, last = asyncio.run(_churn(store, server, seconds))
    rows.append(case("memory at the end, of that at a third", "ratio", [last / third], limit=GROWTH_LIMIT))
    baseline = Baseline("memory of View when it has started", started / 1e6, "MB")
    return BenchResult(tuple(rows), baseline, last / started)


async def _churn(store: CloudStore, server: Server, seconds: float) -> tuple[list[BenchCase], int, int]:
    """Returns rows, and bytes of memory after a third of the time and at the end."""
    account = store.people.add_account("ada@example.org", "Ada", "admin", "no-hash")
    assert account is not None
    sign_in, began_s, cpu_s = SignIn(store.people), time.monotonic(), server.cpu_s()
    third, turn, answered = 0, 0, 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        if not third and passed_s > seconds / 3:
            third = server.resident_bytes()
        secrets = [sign_in.begin_session(account, "127.0.0.1", "bench") for _ in range(PEOPLE)]
        answers = await asyncio.gather(
            *(_person(server.port, each, turn, number) for number, each in enumerate(secrets))
        )
        answered += sum(answers)
        for secret in secrets:
            store.people.end_session(secret_hash(secret))
        turn += 1
    last = server.resident_bytes()
    rows = [
        case("sessions, each with a live page", "people", [turn * PEOPLE]),
        case("pages answered", "pages", [answered]),
        case("CPU of View", "cores", [(server.cpu_s() - cpu_s) / (time.monotonic() - began_s)]),
        case("memory after a third", "MB", [third / 1e6]),
        case("memory at the end", "MB", [last / 1e6]),
    ]
    return rows, third or last, last


async def _person(port: int, secret: str, turn: int, number: int) -> bool:
    """As `_visit`; where View ends the connection, as it may on a machine that is starved, no page came."""
    try:
        return await _visit(port, secret, turn, number)
    except ConnectionError:
        return False


async def _visit(port: int, secret: str, turn: int, number: int) -> bool:
    """Opens a live feed of some Boxes and a page, then closes both; returns whether the page came."""
    first = (turn * 7 + number) % BOXES
    boxes = ",".join(str(1 + (first + each) % BOXES) for each in range(1 + number % 20))
    page = PAGES[(turn + number) % len(PAGES)].format(box=first + 1, incident=1 + first)
    live, feed = await _ask(port, f"/live?values={boxes}", secret)
    reader, writer = await _ask(port, page, secret)
    head = b""
    if number % 5:  # the others disconnect without reading
        head = await reader.readline()
        await reader.read(100_000)
    await asyncio.sleep(STAY_S)
    if number % 5:
        await live.read(100_000)
    for each in (writer, feed):
        each.transport.abort()
    return b" 200 " in head


async def _ask(port: int, path: str, secret: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: opq_session={secret}", "", "")
    writer.write("\r\n".join(lines).encode())
    return reader, writer
