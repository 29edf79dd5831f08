"""View with many pages open while many Boxes send: CPU, bytes, memory and delay, per viewer.

A process of its own runs `opq-cloud view`; another one sends what the triggering broker would, a Measurement
a second of each Box; this one has the pages open. Each page shows a hundred Boxes, as one of the list does;
there are as many different pages as the Boxes fill. Then as many maps are sent their state by the live feed,
and then as many ask for it each second, as those do that lost the feed, walls.
The baseline is a bare Starlette under the same uvicorn that sends as many streams as many bytes each second.
It takes some 130 s, with --quick 25; each wait has an end, so that a starved machine gives
figures too, and how much of what was wanted never came. Each figure is written to stderr as it comes.
Other sizes by the environment:

    OPQ_BENCH_LIVE_BOXES=10000        one number or several (1000,10000); with --quick 1000
    OPQ_BENCH_LIVE_VIEWERS=500        with --quick 50
    OPQ_BENCH_LIVE_SECONDS=15         each of the five parts; with --quick 2
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from bench.result import Baseline, BenchCase, BenchResult, case, percentile, row_text
from bench.view.filled import fill_boxes
from bench.view.live_boxes import feeding_boxes
from bench.view.timed_requests import Server, streaming_server, view_server
from bench.view.viewers import ViewCost, Watched, watch
from opq_cloud.store import open_store
from opq_proto.kit.ports import PORTS

CORES_LIMIT, KB_LIMIT, MAP_LATE_LIMIT_MS = 0.5, 100.0, 1000.0
"""Limits for 500 viewers and 10,000 Boxes (issue of View)."""
ON_A_PAGE = 100
SETTLE_S = 5.0
MAP_EVERY_S = 1.0
ROOM_LIMIT_S = 30.0
MAP = "/live?values=&map="
FULL = {"BOXES": "10000", "VIEWERS": "500", "SECONDS": "15"}
QUICK = {"BOXES": "1000", "VIEWERS": "50", "SECONDS": "2"}


def run(quick: bool) -> BenchResult:
    sizes = {name: os.environ.get(f"OPQ_BENCH_LIVE_{name}") or text
             for name, text in (QUICK if quick else FULL).items()}  # fmt: skip
    viewers, seconds = int(sizes["VIEWERS"]), float(sizes["SECONDS"])
    rows: list[BenchCase] = []
    for boxes in map(int, sizes["BOXES"].split(",")):
        found, wire_bytes, cores = _of_boxes(boxes, viewers, seconds)
        rows += found
    with streaming_server(round(wire_bytes)) as server:
        bare = _watch(server, ["/"] * viewers, seconds)
    baseline = Baseline(f"{viewers} streams of as many bytes, bare: CPU", bare.cores, "cores")
    return BenchResult(tuple(rows), baseline, cores / max(1e-9, bare.cores))


def _of_boxes(boxes: int, viewers: int, seconds: float) -> tuple[list[BenchCase], float, float]:
    """Rows; bytes a second of one page; cores that the pages cost in addition to the Boxes."""
    pages = -(-boxes // ON_A_PAGE)
    paths = [_page(number % pages, boxes) for number in range(viewers)]
    rows: list[BenchCase] = []
    with tempfile.TemporaryDirectory() as folder:
        with closing(open_store(None, Path(folder))) as store:
            fill_boxes(store, boxes)
        with view_server(Path(folder)) as server:
            endpoint = f"tcp://127.0.0.1:{PORTS['triggering_backend'] + server.port - PORTS['view']}"
            with feeding_boxes(endpoint, boxes):
                alone = _watch(server, [], seconds)
                rows += _printed(case(f"{boxes} Boxes, nobody looks: CPU", "cores", [alone.cores]))
                open_ = _watch(server, paths, seconds)
                rows += _printed(*_of_pages(boxes, paths, open_, alone))
                _wait_for_room(server)
                sent = _watch(server, [MAP] * viewers, seconds)
                rows += _printed(
                    *_of_maps(f"{boxes} Boxes, {viewers} maps", viewers, sent, alone, CORES_LIMIT)
                )
                _wait_for_room(server)
                polled = _watch(server, ["/map/state"] * viewers, seconds, MAP_EVERY_S)
                rows += _printed(
                    *_of_maps(f"{boxes} Boxes, {viewers} maps that ask", viewers, polled, alone),
                    *_late("  from a question to its answer", polled.late_ms, MAP_LATE_LIMIT_MS),
                    case("resident memory of View", "MB", [polled.resident_bytes / 1e6]),
                )
    return rows, open_.wire_bytes / open_.seconds / viewers, open_.cores - alone.cores


def _watch(server: Server, paths: Sequence[str], seconds: float, every_s: float = 0.0) -> Watched:
    settle_s = min(SETTLE_S, seconds) * (1 if paths else 2)
    return watch(server.port, paths, settle_s, seconds, lambda: _figures(server), every_s)


def _wait_for_room(server: Server) -> None:
    """Waits until View has released earlier pages, at most ROOM_LIMIT_S: more would exceed its limit."""
    until_s = time.monotonic() + ROOM_LIMIT_S
    while time.monotonic() < until_s:
        with (
            contextlib.suppress(OSError),
            closing(HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection,
        ):
            connection.request("GET", "/metrics")
            if b"\nopq_view_clients_now 0.0" in connection.getresponse().read():
                return
        time.sleep(0.5)


def _printed(*rows: BenchCase) -> tuple[BenchCase, ...]:
    """Prints rows at once, so that a run that is ended early has shown its figures."""
    for row in rows:
        print(row_text(row), file=sys.stderr, flush=True)
    return rows


def _of_pages(boxes: int, paths: Sequence[str], open_: Watched, alone: Watched) -> Iterator[BenchCase]:
    viewers, wanted = len(paths), _wanted(paths, open_.seconds)
    grown_bytes = (open_.grown_bytes_per_s - alone.grown_bytes_per_s) * open_.opened_s
    yield case(f"{boxes} Boxes, {viewers} pages: CPU", "cores", [open_.cores], limit=CORES_LIMIT)
    yield case("  of that each page", "ms/s", [(open_.cores - alone.cores) / viewers * 1e3])
    yield case("  each page, on the wire", "kB/s", [open_.wire_bytes / open_.seconds / viewers / 1e3])
    yield case("  each page, memory", "kB", [grown_bytes / viewers / 1e3], limit=KB_LIMIT)
    yield from _missed("pages", open_)
    yield case("  Measurements that came of those shown", "share", [open_.measurements / wanted])
    yield case("  Measurements that did not come", "rows", [max(0.0, wanted - open_.measurements)])
    yield from _late("  from a Measurement's time to its page", open_.late_ms)


def _of_maps(
    name: str, viewers: int, maps: Watched, alone: Watched, limit: float | None = None
) -> Iterator[BenchCase]:
    yield case(f"{name}: CPU", "cores", [maps.cores], limit=limit)
    yield case("  of that each map", "ms/s", [(maps.cores - alone.cores) / viewers * 1e3])
    yield case("  each map, states and changes", "1/s", [maps.answers / maps.seconds / viewers])
    yield case("  each map, on the wire", "kB/s", [maps.wire_bytes / maps.seconds / viewers / 1e3])
    yield from _missed("maps", maps)


def _missed(what: str, watched: Watched) -> Iterator[BenchCase]:
    yield case("  not opened, refused or ended", what, [watched.unopened + watched.refused + watched.ended])
    yield case("  to which nothing came", what, [watched.empty])


def _late(name: str, late_ms: Sequence[float], limit: float | None = None) -> list[BenchCase]:
    if not late_ms:
        return []
    return [case(f"{name}: p{round(share * 100)}", "ms", late_ms, percentile(late_ms, share), limit=limit)
            for share in (0.5, 0.99)]  # fmt: skip


def _page(page: int, boxes: int) -> str:
    first = 1 + page * ON_A_PAGE
    return f"/live?values={','.join(map(str, range(first, min(boxes, first + ON_A_PAGE - 1) + 1)))}"


def _wanted(paths: Sequence[str], seconds: float) -> float:
    return seconds * sum(path.count(",") + 1 for path in paths)


def _figures(server: Server) -> ViewCost:
    return ViewCost(time.monotonic(), server.cpu_s(), server.resident_bytes())
