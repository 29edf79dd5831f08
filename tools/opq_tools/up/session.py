"""The processes of one run and the page's live feed, in one queue of lines."""

import queue
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opq_cloud.view.pages.machine_notice import SHOWN_S, MachineNotice, write_notice
from opq_proto.kit.ports import GATEWAY_HEALTH
from opq_tools.up.children import Child, ChildLine, end_all
from opq_tools.up.live_lines import LiveFeed, SilenceWatch
from opq_tools.up.machine_speed import SpeedWatch
from opq_tools.up.plan import UpPlan
from opq_tools.up.stages import STOOD_STILL_S, IncidentTrace, Newest, SeenIncident

LINES_LIMIT = 10_000
FIRST = ("cloud", "gateway")
"""Children that bind ports."""
PAGE = "page"
"""Child name of lines that come from the page's live feed."""
MACHINE = "machine"
"""Child name of the one line about a machine that is too slow."""
SETTLE_NS = 1_000_000_000
"""Time that an incident on the page waits for the log lines of its stages."""
OPEN_NS = 10_000_000_000
"""Time that it waits for its end, when it reached the page before it ended."""


class UpSession:
    """Starts the processes of a plan; `next_line` returns their lines; `stop` ends all."""

    def __init__(self, plan: UpPlan, view_url: str, token: str = "") -> None:
        self.trace = IncidentTrace()
        self.lines: queue.Queue[ChildLine] = queue.Queue(LINES_LIMIT)
        self._dropped_pages = 0
        self._slow = False
        self._stood_until_s = 0.0
        self.children = [
            Child(name, command, plan.data_dir / "log" / f"{name}.log", self.lines, plan.links(name))
            for name, command in plan.commands().items()
        ]
        self.silence = SilenceWatch((box.box_id for box in plan.boxes), time.monotonic_ns())
        self._folder = plan.data_dir
        gateway = GATEWAY_HEALTH + plan.port_offset
        self.speed = SpeedWatch(f"http://127.0.0.1:{gateway}/metrics", self._from_speed)
        self.feed = LiveFeed(view_url, self._from_page, token)
        self._pages: Newest[int, tuple[Mapping[str, Any], int]] = Newest()

    def start(self) -> None:
        """Starts cloud, gateway and feed; the Boxes follow when all ports are bound (`next_line` sees it)."""
        write_notice(self._folder, None)
        for child in self.children:
            child.remove_links()  # of a run that was killed: before the gateway opens them
        for child in self.children:
            if child.name in FIRST:
                child.start()
        self.feed.start()
        self.speed.start()

    def _start_boxes(self) -> None:
        """Starts simulated and emulated Boxes; a second call does nothing."""
        for child in self.children:
            if child.pid is None:
                child.start()

    def stop(self) -> None:
        self.speed.close()
        write_notice(self._folder, None)
        self.feed.close()
        end_all(self.children)

    def next_line(self, timeout_s: float) -> ChildLine | None:
        """The next line of a process or the page, which the trace also reads; None if no line came."""
        try:
            line = self.lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if line.child == MACHINE:
            return line
        if line.child == PAGE and "gone" in line.facts:
            self._pages.pop(line.facts["gone"], None)
        elif line.child == PAGE:
            incident = line.facts["incident"]  # its newest version, and the time of the first one
            _, first_ns = self._pages.get(incident["id"], (None, line.facts["monotonic_ns"]))
            self._pages.put(incident["id"], (incident, first_ns))
        else:
            if line.facts.get("event") == "cloud.ready":
                self._start_boxes()
            if line.facts.get("event") == "gateway.stalled":
                self._note_standstill(line.facts.get("seconds"))
            self.trace.read_line(line)
        return line

    def seen(self, incident_id: int, now_ns: int) -> SeenIncident | None:
        """An incident on the page with its stages, once both are complete or their time is over."""
        if incident_id not in self._pages:
            return None
        incident, page_ns = self._pages[incident_id]
        seen = self.trace.seen(incident, page_ns)
        known = seen is not None and (seen.complete or now_ns - page_ns > SETTLE_NS)
        ended = incident.get("end_ms") is not None or now_ns - page_ns > OPEN_NS
        return seen if known and ended else None

    @property
    def lost_lines(self) -> int:
        """Lines that were not reported or not written because a queue or the disk was full."""
        return self._dropped_pages + sum(child.lost_lines for child in self.children)

    @property
    def incident_ids(self) -> list[int]:
        """Ids of the incidents that reached the page, in order of arrival."""
        return list(self._pages)

    def _from_speed(self, notice: MachineNotice | None) -> None:
        """Puts it onto the page, and once into the lines."""
        if notice is None and time.monotonic() < self._stood_until_s:
            return  # the page shows the standstill a while
        write_notice(self._folder, notice)
        if notice is None or self._slow:
            return
        self._slow = True
        with suppress(queue.Full):
            self.lines.put_nowait(ChildLine(MACHINE, {"slow": notice.text}))

    def _note_standstill(self, seconds: object) -> None:
        """Puts a standstill of the gateway onto the page; its line in the log is the one on the terminal."""
        if isinstance(seconds, int | float) and seconds >= STOOD_STILL_S and not self._slow:
            write_notice(self._folder, MachineNotice(0, 0.0, 0, stood_still_s=float(seconds)))
            self._stood_until_s = time.monotonic() + SHOWN_S

    def _from_page(self, name: str, data: dict[str, Any], moment_ns: int) -> None:
        if name == "measurement":
            self.silence.accept_measurement(data, moment_ns)
        if name not in ("incident", "incident_gone") or not isinstance(data.get("id"), int):
            return
        news = {"gone": data["id"]} if name == "incident_gone" else {"incident": data}
        try:
            self.lines.put_nowait(ChildLine(PAGE, {**news, "monotonic_ns": moment_ns}))
        except queue.Full:
            self._dropped_pages += 1
