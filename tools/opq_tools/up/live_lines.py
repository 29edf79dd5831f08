"""Reads a page's live feed (server-sent events) as a browser does, and detects Boxes that fell silent."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opq_cloud.view.web.words import THIN, age
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.port_owner import check_port_owner
from opq_tools.up.incident_lines import boxes_named

READ_S = 20.0
"""The page sends a comment every 15 s; a longer silence than this is a broken connection."""
RETRY_S = 0.2
"""Seconds before it connects again, where View does not ask for more."""
RETRY_MOST_S = 600.0
"""Most seconds that it waits, whatever the answer asks for."""


class LiveFeed(OwnThread):
    """A thread that reads `/live` and passes on every event with its monotonic arrival time.

    `on_event(name, data, monotonic_ns)` is called in that thread. `token`: for a View with accounts.
    """

    _join_s = 2.0

    def __init__(
        self, view_url: str, on_event: Callable[[str, dict[str, Any], int], None], token: str = ""
    ) -> None:
        super().__init__("live-feed")
        parts = urlsplit(view_url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._on_event = on_event
        self._headers = {"Accept": "text/event-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None
        self.retry_s = RETRY_S
        """Seconds before it connects again, as View asks in its last answer."""
        self.connected = threading.Event()
        self.malformed = 0

    def close(self) -> None:
        self._stop.set()
        connection = self._connection
        if connection and connection.sock:
            connection.sock.close()
        super().close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (OSError, http.client.HTTPException, AttributeError):
                # AttributeError: http.client reads on after `close` closed its socket
                self.connected.clear()
            self._stop.wait(self.retry_s)

    def _read(self) -> None:
        if "Authorization" in self._headers:
            check_port_owner(self._host, self._port)
        self.retry_s = RETRY_S
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=READ_S)
        try:
            self._connection.request("GET", "/live", headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status != 200:
                self._wait_longer(answer.getheader("Retry-After", ""), 1)
                return
            self.connected.set()
            name, data = "message", ""
            while not self._stop.is_set():
                raw = answer.readline()
                if not raw:
                    return
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif line.startswith("retry:"):
                    self._wait_longer(line[6:].strip(), 1000)
                elif not line:
                    if data:
                        self._hand_on(name, data)
                    name, data = "message", ""
        finally:
            self.connected.clear()
            self._connection.close()

    def _wait_longer(self, text: str, in_a_second: int) -> None:
        """`text`: how long View wants its readers to wait, of which `in_a_second` are one second."""
        if text.isascii() and text.isdigit():
            self.retry_s = min(max(int(text[:9]) / in_a_second, RETRY_S), RETRY_MOST_S)

    def _hand_on(self, name: str, data: str) -> None:
        now = time.monotonic_ns()
        try:
            facts = json.loads(data)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            self.malformed += 1
            return
        self._on_event(name, facts, now)


MAX_BOXES = 1000
"""Most Boxes watched: a flood of unknown ids must not fill the memory."""


LATENESS_EVERY_NS = 60 * 10**9
TOGETHER_NS = 2 * 10**9
LESS_LATE_FACTOR = 4
"""A lateness that is so many times less than the one reported is reported, too."""
MINUTES_MS = 600_000
"""A lateness of this or more is not given in seconds."""


@dataclass(slots=True)
class _BoxSilence:
    """Last news and time limit of one Box; monotonic nanoseconds."""

    last_ns: int
    silent_after_ns: int
    late_ms: int = 0
    """How late its last Measurement came; 0 where it was not late."""
    clock_known: bool = True
    """Whether the error of its clock is known; otherwise that clock may be behind instead."""
    silent: bool = False
    said_silent: bool = False


class SilenceWatch:
    """Detects silent and late Boxes.

    The feed's thread calls `accept_measurement`, the main loop the rest. The feed begins with the newest
    Measurement of each Box, however old: a Box is watched from its first one that is not.
    """

    def __init__(self, awaited: Iterable[str] = (), since_ns: int = 0) -> None:
        """`awaited`: Boxes that this run starts; nothing is said of them before `watch`.

        `since_ns`: when the run began, by the monotonic clock; a Box heard only before it does not count.
        """
        self._since_ns = since_ns
        self._lock = threading.Lock()
        self._boxes: dict[str, _BoxSilence] = {}
        self._awaited = set(awaited)
        self._late_reported_ms = {True: 0, False: 0}
        """By `clock_known`: the largest lateness that was reported."""
        self._lateness_reported_ns = -LATENESS_EVERY_NS
        self._turned_ns: int | None = None
        """Since when a Box is silent, or reports again, and no line says so."""

    def watch(self, box_id: str) -> None:
        """A Box that was awaited is sampling."""
        with self._lock:
            self._awaited.discard(box_id)

    def accept_measurement(self, facts: Mapping[str, Any], moment_ns: int) -> None:
        """Notes a `measurement` of the live feed; ignores one without the required keys."""
        box_id, age_ms = facts.get("box_id"), facts.get("age_ms")
        silent_after_ms, late_ms = facts.get("silent_after_ms"), facts.get("late_ms", 0)
        if not (isinstance(box_id, str) and isinstance(age_ms, int) and isinstance(silent_after_ms, int)):
            return
        if not isinstance(late_ms, int):
            return
        with self._lock:
            box, heard_ns = self._boxes.get(box_id), moment_ns - age_ms * 10**6
            if box is None:
                if box_id in self._awaited or age_ms > silent_after_ms or heard_ns < self._since_ns:
                    return
                if len(self._boxes) >= MAX_BOXES:
                    return
                box = self._boxes[box_id] = _BoxSilence(heard_ns, 0)
            box.last_ns = max(box.last_ns, heard_ns)
            box.silent_after_ns, box.late_ms = silent_after_ms * 10**6, late_ms
            box.clock_known = facts.get("uncertainty_ns", 0) is not None

    def changes(self, now_ns: int) -> list[str]:
        """A line for the Boxes that fell silent or report again, and one if they are later than before."""
        with self._lock:
            lines = self._silences(now_ns)
            lateness = self._lateness(now_ns)
        return [*lines, lateness] if lateness else lines

    def _silences(self, now_ns: int) -> list[str]:
        """Boxes that fall silent, or report again, within TOGETHER_NS are one line."""
        for box in self._boxes.values():
            box.silent = now_ns - box.last_ns > box.silent_after_ns
        turned = {box_id: box for box_id, box in self._boxes.items() if box.silent != box.said_silent}
        self._turned_ns = (now_ns if self._turned_ns is None else self._turned_ns) if turned else None
        if self._turned_ns is None or now_ns - self._turned_ns < TOGETHER_NS:
            return []
        self._turned_ns = None
        silent = sorted((box_id for box_id, box in turned.items() if box.silent), key=_by_number)
        back = sorted((box_id for box_id, box in turned.items() if not box.silent), key=_by_number)
        for box in turned.values():
            box.said_silent = box.silent
        lines = (
            [f"{boxes_named(silent)} {'has' if len(silent) == 1 else 'have'} fallen silent"] if silent else []
        )
        return (
            [*lines, f"{boxes_named(back)} {'reports' if len(back) == 1 else 'report'} again"]
            if back
            else lines
        )

    def _lateness(self, now_ns: int) -> str:
        """One line for all late Boxes, once a minute at most: a slow machine delays them together.

        A clock whose error is not known may be behind by hours: such a lateness does not hide one by a known
        clock. A silent Box is as late as it was to the last.
        """
        if now_ns - self._lateness_reported_ns < LATENESS_EVERY_NS:
            return ""
        late = {box_id: box for box_id, box in self._boxes.items() if box.late_ms}
        if any(self._late_reported_ms.values()) and not late:
            self._late_reported_ms, self._lateness_reported_ns = {True: 0, False: 0}, now_ns
            return "no Box is late any more"
        for known, reported_ms in self._late_reported_ms.items():
            alike = {box_id: box.late_ms for box_id, box in late.items() if box.clock_known is known}
            reporting = {box_id: late_ms for box_id, late_ms in alike.items() if not late[box_id].silent}
            most_ms = max(reporting.values(), default=0)
            if most_ms > 2 * reported_ms or 0 < LESS_LATE_FACTOR * most_ms < reported_ms:
                self._late_reported_ms[known], self._lateness_reported_ns = most_ms, now_ns
                return _lateness_words(list(reporting), len(self._boxes), most_ms, known)
        return ""


def _lateness_words(late: Sequence[str], count: int, most_ms: int, known: bool) -> str:
    one = len(late) == 1
    who = f"Box {late[0]} is" if one else f"{len(late)} of {count} Boxes are"
    much = f"{most_ms / 1000:.0f} s" if most_ms < MINUTES_MS else age(most_ms // 1000).replace(THIN, " ")
    said = f"{who} late by {'' if one else 'up to '}{much}"
    if known:
        return f"{said}: the data arrive so long after their time"
    clock = "its clock" if one else "their clocks"
    return f"{said}, by {clock}: the data arrive so late, or {clock} {'is' if one else 'are'} behind"


def _by_number(box_id: str) -> tuple[int, str]:
    return len(box_id), box_id
