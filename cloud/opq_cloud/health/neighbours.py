"""How services in other processes are, read from their health addresses.

All are asked at once, so that a slow one delays nobody; a component whose time stamp is old is
down. Both differ from the original (docs/reference/opq-interop.md H.38), which also waits for 2 s (A.11):
on a machine with much to do that is too short.
"""

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from opq_cloud.core.service import STALE_S, HealthReport, ServiceCounters
from opq_cloud.health.readings import Answer

TIMEOUT_S = 4.0
MAX_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A service in another process."""

    name: str
    url: str


class Neighbours:
    """Reads the health of services in other processes. Counters: `asked`, `not_answered`, by name."""

    def __init__(self, services: Sequence[Neighbour], counters: ServiceCounters) -> None:
        self.counters = counters
        self._services = services
        self._pool = ThreadPoolExecutor(max(1, len(services)), "neighbours")

    def read(self) -> list[Answer]:
        """Asks all at once; takes at most TIMEOUT_S or a little longer."""
        return list(self._pool.map(self._read, self._services))

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _read(self, service: Neighbour) -> Answer:
        self.counters.add("asked", label=service.name)
        asked_s = time.time()
        try:
            with urllib.request.urlopen(service.url, timeout=TIMEOUT_S) as answer:
                document = json.loads(answer.read(MAX_BYTES))
            health_from_json(document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.counters.add("not_answered", label=service.name)
            late = isinstance(getattr(error, "reason", error), TimeoutError)
            return Answer(service.name, None, f"{service.url}: {error}", is_late=late)
        is_gateway = document["name"] == "gateway"
        return Answer(service.name, document, "", asked_s, time.time(), is_gateway)


def report_of(answer: Answer) -> HealthReport:
    """The answer as a part of our own health."""
    if answer.document is None:
        return HealthReport(answer.name, False, info=answer.problem)
    return health_from_json(answer.document, answer.name)


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
