"""How services in other processes are, read from their health addresses.

All are asked at once, so that a slow one delays nobody; a component whose time stamp is old is
down. Both differ from the original (docs/reference/opq-interop.md H.38); its other rules are kept: 2 s, 20 s
(A.11).
"""

import json
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opq_cloud.core.service import STALE_S, HealthReport, ServiceCounters
from opq_proto.kit import log

TIMEOUT_S = 2.0
MAX_BYTES = 1_000_000


class Neighbours:
    """Reads every (name, URL) each `interval_s`; its own health is not ok when one of theirs is not."""

    name = "neighbours"

    def __init__(self, services: Sequence[tuple[str, str]], interval_s: float) -> None:
        self.counters = ServiceCounters()
        self._services = services
        self._interval_s = interval_s
        self._found: tuple[HealthReport, ...] = ()
        self._log = log.get(service="health")

    def health(self) -> Iterable[HealthReport]:
        down = [found.name for found in self._found if not found.ok]
        info = f"down: {', '.join(down)}" if down else None
        return [HealthReport(self.name, not down, info=info, subcomponents=self._found)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        with ThreadPoolExecutor(max(1, len(self._services)), "neighbours") as pool:
            while not stop.is_set():
                before = {found.name: found.ok for found in self._found}
                self._found = tuple(pool.map(lambda service: self._read_health(*service), self._services))
                for found in self._found:
                    if found.ok != before.get(found.name, True):
                        self._log.info("neighbour.changed", name=found.name, ok=found.ok, info=found.info)
                if ready is not None:
                    ready.set()
                stop.wait(self._interval_s)

    def _read_health(self, name: str, url: str) -> HealthReport:
        self.counters.add("asked", label=name)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                document = json.loads(answer.read(MAX_BYTES))
            return health_from_json(document, name)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.counters.add("not_answered", label=name)
            return HealthReport(name, False, info=f"{url}: {error}")


def health_from_json(
    document: Mapping[str, Any], name: str | None = None, now_s: float | None = None
) -> HealthReport:
    """A HealthReport from the original's JSON; a time stamp of the future is not old.

    A Box is as old as its last arrival where its report has that: what comes late is not silent.

    Raises KeyError, TypeError or ValueError when it is no such document.
    """
    now_s = time.time() if now_s is None else now_s
    timestamp_s = int(document["timestamp"])
    received_s = None if document.get("received") is None else int(document["received"])
    age_s = int(now_s) - (timestamp_s if received_s is None else received_s)
    ok = document["ok"] is True and age_s < STALE_S
    info = document.get("info")
    if document["ok"] is True and not ok:
        info = f"last heard {age_s} s ago"
    parts = tuple(health_from_json(part, None, now_s) for part in document.get("subcomponents") or ())
    return HealthReport(name or str(document["name"]), ok, timestamp_s, info, parts, received_s)


def url_of(endpoint: str, path: str = "/") -> str:
    """Where a service that binds `host:port` answers; one that binds all addresses does on loopback."""
    host, _, port = endpoint.rpartition("://")[2].rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '*', '0.0.0.0') else host}:{port}{path}"
