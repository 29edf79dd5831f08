"""One run of `up`: reports each stage until it is stopped, done or out of time."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from opq_hil.backends.backend import WARNINGS
from opq_hil.backends.emulated import EVERY_S, LEAD_S
from opq_tools.up.access import NO_ACCESS, PageAccess
from opq_tools.up.children import ChildLine
from opq_tools.up.incident_lines import ANALYSED, OPENED, IncidentLines
from opq_tools.up.plan import UpPlan
from opq_tools.up.session import MACHINE, PAGE, UpSession
from opq_tools.up.stages import BoxStarts, SeenIncident, stage_line, trouble

START_S = 15.0
"""A process that ends this soon, or before the page is up, has reported why and is not restarted."""
TICK_S = 0.2
WITHOUT_FIRMWARE = (
    "these Boxes are simulated, no firmware runs; with --box qemu:1 the Box's real one does, "
    "for which compiler and emulator are needed: it says which, and builds them once"
)
STAGES = {
    "box.event_sent",
    "event.finished",
    "event.more_stored",
    "event.waveform_stored",
    "incident.stored",
    "trigger.completes",
    "trigger.decided",
}
"""Stages of one incident; they are shown only where one incident is awaited."""
COUNTED_EVENTS = {
    "box.sampling": "Boxes sampling",
    "trigger.decided": "triggers",
    "event.finished": "events",
    "incident.stored": "incidents stored",
}
"""Log lines that are counted, for the report when the time is over."""


@dataclass(frozen=True, slots=True)
class UpOutcome:
    """How a run ended: by request (both None), with a result, or with an error."""

    result: Mapping[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0


class UpRun:
    """The main loop of `up`; it receives all news as lines of the session."""

    def __init__(
        self,
        plan: UpPlan,
        view_url: str,
        timeout_s: float | None,
        chatter: TextIO,
        access: PageAccess = NO_ACCESS,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """`earlier`: newest incidents of earlier runs, which are not of this one.

        Samples that an earlier run did not finish are sent and analysed first, and change its incidents.
        """
        self.stop = threading.Event()
        self._plan = plan
        self._view_url = view_url
        self._timeout_s = timeout_s
        self._chatter = chatter
        self._after_incident = max((each["id"] for each in earlier), default=0)
        self._session = UpSession(plan, view_url, access.token)
        self._first_admin_link = access.first_admin_link
        self._began = time.monotonic()
        self._real_ports = {box.port for box in plan.hardware if not box.emulated}
        self._incidents = IncidentLines(view_url, time.time() * 1000, earlier)
        self._admitted: dict[str, str] = {}
        self._counted = dict.fromkeys(COUNTED_EVENTS, 0)
        self._starts = BoxStarts()
        self._page_up = False
        self._sampling: set[str] = set()
        self._boxes = len(plan.boxes)
        self._all_reported = False

    def run(self, on_page: Callable[[], object] | None = None) -> UpOutcome:
        """Runs until stopped, timed out or done; calls `on_page` once, when the page answers."""
        self._announce()
        try:
            self._session.start()
            return self._loop(on_page)
        finally:
            self._session.stop()
            if self._session.lost_lines:
                self._print(
                    "up", f"{self._session.lost_lines} log lines were lost: the disk or a queue was full"
                )
            self._print(
                "up",
                f"everything has ended; the data is in {self._plan.data_dir}; the page was {self._view_url}",
            )

    def _announce(self) -> None:
        fleet = self._plan.fleet
        parts = [fleet.announcement()] if fleet else []
        parts += [
            f"Box {box.box_id}: its firmware in an emulator, a dip after {LEAD_S} s, then every {EVERY_S} s, "
            "by the emulator's time, which is slower than real time on a busy machine"
            if box.emulated
            else f"Box {box.box_id} on {box.port}"
            for box in self._plan.real
        ]
        warnings = {WARNINGS[box.emulator]: None for box in self._plan.real if box.emulator in WARNINGS}
        sentences = ["; ".join(parts), f"Page: {self._view_url}", "Ctrl-C ends everything", *warnings]
        self._write(f"{'. '.join(sentences)}.\n")
        self._print("up", f"keys, data and logs in {self._plan.data_dir}")
        if self._first_admin_link:
            self._print("up", f"no account yet; make the first administrator's at {self._first_admin_link}")
        for path in self._plan.revoked:
            self._print("up", f"a Box stays revoked: {path} was taken out; put it back to admit it")
        for box_id in self._plan.deleted:
            again = self._plan.add_again(box_id)
            self._print("up", f"Box {box_id} was deleted and stays out; {again} takes it in again")

    def _loop(self, on_page: Callable[[], object] | None) -> UpOutcome:
        ticked_s = 0.0
        while not self.stop.is_set():
            if not self._page_up and self._session.feed.connected.is_set():
                self._page_up = True
                self._print("view", f"the page is up: {self._view_url}")
                if on_page:
                    on_page()
            line = self._session.next_line(TICK_S)
            if line:
                self._handle_line(line)
            if not line or time.monotonic() - ticked_s > TICK_S:
                ticked_s = time.monotonic()
                outcome = self._tick()
                if outcome:
                    return outcome
            if self._timeout_s is not None:
                seen = self._first_seen()
                if seen:
                    return self._done(seen)
                if self._elapsed_s() > self._timeout_s:
                    return UpOutcome(error=self._nothing_seen(), exit_code=1)
        return UpOutcome()

    def _handle_line(self, line: ChildLine) -> None:
        if line.child == PAGE:
            if "gone" in line.facts:
                self._incidents.accept_gone(line.facts["gone"])
            else:
                self._incidents.accept(line.facts["incident"], time.monotonic())
            return
        if line.child == MACHINE:
            self._print("up", line.facts["slow"])
            return
        name = line.facts.get("event")
        if name in self._counted:
            self._counted[name] += 1
        if name == ANALYSED or name in OPENED:
            self._incidents.note_event(name, line.facts.get("event_id"), time.monotonic())
        if name in STAGES and self._timeout_s is None:
            return  # one line for an incident, when it is on the page; the logs have the others
        if name == "box.hello":
            self._starts.accept_hello(line.facts)
        if name == "box.started" and "port" in line.facts:
            self._starts.forget(str(line.facts.get("box_id")))
        elif name == "box.started" and not self._starts.is_again(line.facts):
            return
        if name in ("peer.admitted", "peer.revoked"):
            box_id = str(line.facts.get("box_id"))
            if self._admitted.get(box_id) == name:
                return  # each broker reports it
            self._admitted[box_id] = name
        stage = stage_line(line)
        if stage:
            self._print(*stage)
            if name == "box.sampling":
                self._session.silence.watch(str(line.facts.get("box_id")))
                self._note_sampling(str(line.facts.get("box_id")))
        elif name == "serial.absent" and line.facts.get("port") in self._real_ports:
            self._print(
                "gateway", f"Box {line.facts.get('box_id')}: {line.facts.get('reason')}; it tries again"
            )
        elif line.facts.get("level") in ("error", "critical"):
            self._print(line.child, trouble(line.facts))

    def _note_sampling(self, box_id: str) -> None:
        """Says again where the page is, after the last Box's first samples, and how to run the firmware."""
        self._sampling.add(box_id)
        if len(self._sampling) == self._boxes and not self._all_reported:
            self._all_reported = True
            if not self._plan.real:
                self._print("up", WITHOUT_FIRMWARE)
            self._print("up", f"everything runs; the page: {self._view_url}")

    def _tick(self) -> UpOutcome | None:
        for child in self._session.children:
            code = child.ended()
            early = self._elapsed_s() < START_S or not self._page_up
            if code in (1, 2) and child.restarts == 0 and early:
                return UpOutcome(error=f"{child.name} did not start: {child.last_words()}", exit_code=code)
            news = child.tick()
            if news:
                self._print("up", news)
        self._print_incidents()
        if self._session.feed.connected.is_set():
            for line in self._session.silence.changes(time.monotonic_ns()):
                self._print("view", line)
        return None

    def _print_incidents(self, all_of_it: bool = False) -> None:
        for line in self._incidents.lines(time.monotonic(), all_of_it):
            self._print("view", line)

    def _first_seen(self) -> SeenIncident | None:
        now_ns = time.monotonic_ns()
        new = (each for each in self._session.incident_ids if each > self._after_incident)
        ways = (self._session.seen(incident_id, now_ns) for incident_id in new)
        return next((seen for seen in ways if seen), None)

    def _done(self, seen: SeenIncident) -> UpOutcome:
        self._print_incidents(all_of_it=True)
        incident = {key: value for key, value in seen.incident.items() if key != "show"}  # the page's wording
        return UpOutcome(
            {
                "incident": incident,
                "event_ids": list(seen.event_ids),
                "boxes": self._boxes,
                "latency_ms": seen.latency_ms(),
                "view_url": self._view_url,
            }
        )

    def _nothing_seen(self) -> str:
        seen = ", ".join(f"{self._counted[name]} {noun}" for name, noun in COUNTED_EVENTS.items())
        return f"no incident on the page within {self._timeout_s:g} s; seen: {seen}"

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _print(self, who: str, what: str) -> None:
        self._write(f"{self._elapsed_s():7.1f} s  {who:<8} {what}\n")

    def _write(self, text: str) -> None:
        try:
            self._chatter.write(text)
            self._chatter.flush()
        except (OSError, ValueError):
            self.stop.set()  # the reader has gone, e.g. a closed pipe
