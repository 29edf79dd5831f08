"""The processes of one run and the page's live feed, in one queue of lines."""

import queue
from collections.abc import Mapping
from typing import Any

from opq_tools.up.children import Child, ChildLine, end_all
from opq_tools.up.live import LiveFeed, SilenceWatch
from opq_tools.up.plan import UpPlan
from opq_tools.up.stages import IncidentTrace, Newest, SeenIncident

LINES_LIMIT = 10_000
PAGE = "page"
"""Stands as the child's name on what the page's live feed delivered."""
SETTLE_NS = 1_000_000_000
"""An incident on the page waits so long for the log lines of its way."""
OPEN_NS = 10_000_000_000
"""And so long for its end, when it reached the page before."""


class UpSession:
    """Starts what a plan says; `next_line` gives what happens; `stop` ends all of it."""

    def __init__(self, plan: UpPlan, view_url: str, token: str = "") -> None:
        self.trace = IncidentTrace()
        self.lines: queue.Queue[ChildLine] = queue.Queue(LINES_LIMIT)
        self._dropped_pages = 0
        self.children = [
            Child(name, command, plan.data_dir / "log" / f"{name}.log", self.lines)
            for name, command in plan.commands().items()
        ]
        self.silence = SilenceWatch()
        self.feed = LiveFeed(view_url, self._from_page, token)
        self._pages: Newest[int, tuple[Mapping[str, Any], int]] = Newest()

    def start(self) -> None:
        for child in self.children:
            child.start()
        self.feed.start()

    def stop(self) -> None:
        self.feed.stop()
        end_all(self.children)

    def next_line(self, timeout_s: float) -> ChildLine | None:
        """The next line of a process or the page, followed by the trace; None when there is none."""
        try:
            line = self.lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if line.child == PAGE:
            incident = line.facts["incident"]  # its newest version, and when the first was there
            _, first_ns = self._pages.get(incident["id"], (None, line.facts["monotonic_ns"]))
            self._pages.put(incident["id"], (incident, first_ns))
        else:
            self.trace.read_line(line)
        return line

    def seen(self, incident_id: int, now_ns: int) -> SeenIncident | None:
        """The way of an incident that is on the page, once both are whole or have had their time."""
        if incident_id not in self._pages:
            return None
        incident, page_ns = self._pages[incident_id]
        seen = self.trace.seen(incident, page_ns)
        known = seen is not None and (seen.complete or now_ns - page_ns > SETTLE_NS)
        ended = incident.get("end_ms") is not None or now_ns - page_ns > OPEN_NS
        return seen if known and ended else None

    @property
    def lost_lines(self) -> int:
        """Lines that were not reported or not written: a queue, or the disk, was full."""
        return self._dropped_pages + sum(child.lost_lines for child in self.children)

    @property
    def incident_ids(self) -> list[int]:
        """Those that reached the page, in order of their coming."""
        return list(self._pages)

    def _from_page(self, name: str, data: dict[str, Any], moment_ns: int) -> None:
        if name == "measurement":
            self.silence.accept_measurement(data, moment_ns)
        if name != "incident" or not isinstance(data.get("id"), int):
            return
        try:
            self.lines.put_nowait(ChildLine(PAGE, {"incident": data, "monotonic_ns": moment_ns}))
        except queue.Full:
            self._dropped_pages += 1
