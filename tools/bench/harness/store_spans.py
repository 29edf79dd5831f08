"""The cost of any span of a Box's trends in the embedded store, as the page reads it."""

import time
from collections.abc import Callable

from anyio.from_thread import BlockingPortal
from fastapi import Request

from bench.harness.result import BenchCase, case
from bench.harness.store_filling import DAY_MS, NOW_MS
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.trends.pyramid import MAX_ROWS, level_for
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.drawing.box_history import read_history
from opq_cloud.view.pages.past.past_page import PastPages
from opq_cloud.view.pages.past.verdict_calendar import VerdictCalendar
from opq_cloud.view.pages.routes import page_parts
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.time_span import read_span
from opq_cloud.view.web.visitors import OPEN, VISITOR, Visitors

CPU_LIMIT_MS = 100.0
"""Limit of CPU for any span, by the page's own call."""


def span_cost(store: CloudStore, loop: BlockingPortal, name: str, days: float) -> list[BenchCase]:
    start_ms = NOW_MS - round(days * DAY_MS)
    length_ms = level_for(start_ms, NOW_MS)
    read_ms, rows = cost_ms(lambda: len(store.trend_rows("1", start_ms, NOW_MS, length_ms)))
    span = read_span(str(start_ms), str(NOW_MS), NOW_MS)
    chart_ms, _ = cost_ms(lambda: len(read_history(store, "1", span, NOW_MS).rows))
    page = past_page(store, loop, NOW_MS)
    page_ms, _ = cost_ms(lambda: page(f"box=1&from={span.from_words}&to={span.to_words}"))
    return [
        case(f"{name}: rows of {length_ms // 60_000} min", "rows", [rows], limit=MAX_ROWS),
        case(f"{name}: CPU of reading them", "ms", read_ms),
        case(f"{name}: CPU of the chart's rows", "ms", chart_ms, limit=CPU_LIMIT_MS),
        case(f"{name}: CPU of its drawing", "ms", page_ms, limit=CPU_LIMIT_MS),
    ]


def past_page(store: CloudStore, loop: BlockingPortal, now_ms: int) -> Callable[[str], int]:
    """Makes the page `/past` of an address's query, as View does; returns its length.

    `loop` runs as long as View's: an event loop of each page's own would start and end its threads as well.
    """
    counters = ServiceCounters()
    visitors, mailer = Visitors(store.people, ViewSection()), Mailer(MailSection(), counters)
    services = ViewServices(
        store, LiveHub(counters), counters, visitors, mailer, now_ns=lambda: now_ms * 10**6
    )
    VISITOR.set(OPEN)
    store.put_box(BoxRecord("1", "bench"))
    parts = page_parts(services)
    verdicts = VerdictCalendar(parts.context, parts.jobs)
    page = PastPages(parts.context, services, verdicts, parts.renderer.render)

    def made(query: str) -> int:
        request = Request({"type": "http", "query_string": query.encode()})
        return len(loop.call(page.past, request).body)

    return made


def cost_ms(call: Callable[[], int], runs: int = 5) -> tuple[list[float], int]:
    costs = []
    found = 0
    for _ in range(runs):
        began_s = time.process_time()
        found = call()
        costs.append((time.process_time() - began_s) * 1e3)
    return costs, found
