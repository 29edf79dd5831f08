"""Reads what health addresses answer, all at once; the verdict of the answers is `system_verdict.py`."""

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opq_proto.kit.http_client import fetch
from opq_proto.kit.ports import PORTS
from opq_proto.kit.system_record import ID_HEADER, SystemIdentity, SystemRecord, is_of
from opq_proto.kit.system_verdict import WHOLE_SYSTEM, ServiceAnswer, SystemVerdict, system_verdict

TIMEOUT_S = 2.0
MAX_BYTES = 10_000_000
HEALTH_PORTS: Mapping[str, str] = {
    "mauka_health": "/",
    "health": "/",
    "gateway_health": "/",
    "triggering_broker_health": "/",
    "acquisition_broker_health": "/",
    "event_service_health": "/",
    "triggering_service_health": "/",
    "notifications_health": "/",
    "view": "/health",
    "update": "/",
    "rules": "/health",
}
"""Port -> path of its health."""


def read_system(record: SystemRecord, port_offset: int, timeout_s: float = TIMEOUT_S) -> SystemVerdict:
    """Judges a data folder now, by its record, its services' addresses and the usual ones at an offset."""
    usual = (f"http://127.0.0.1:{PORTS[name] + port_offset}{path}" for name, path in HEALTH_PORTS.items())
    urls = dict.fromkeys([*(each.health for each in record.services), *usual])
    return system_verdict(record, read_answers(urls, record.identity, timeout_s))


def read_answers(
    urls: Iterable[str], own: SystemIdentity, timeout_s: float = TIMEOUT_S
) -> dict[str, ServiceAnswer]:
    """Asks all at once: URL -> its answer. `own`: the data folder for which they are asked."""
    urls = list(urls)
    with ThreadPoolExecutor(max(1, len(urls)), "health") as pool:
        return dict(zip(urls, pool.map(lambda url: read_answer(url, own, timeout_s), urls), strict=True))


def read_answer(url: str, own: SystemIdentity, timeout_s: float = TIMEOUT_S) -> ServiceAnswer:
    """The answer of a health address; with the verdicts, where it is Health's."""
    asked_s = time.time()
    document, problem, is_late = _read(url, own, timeout_s)
    alerts = None
    if document is not None and document["name"] == WHOLE_SYSTEM:
        alerts = _read(f"{url.rstrip('/')}/alerts", own, timeout_s)[0]
    ours = document is not None and is_of(document, own)
    return ServiceAnswer(document, problem, is_late, ours, alerts, asked_s, time.time())


def _read(url: str, own: SystemIdentity, timeout_s: float) -> tuple[Mapping[str, Any] | None, str, bool]:
    try:
        document = json.loads(fetch(url, timeout_s, MAX_BYTES, {ID_HEADER: own.digest} if own.id else None))
        if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
            raise ValueError("it is not an answer about health")
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{url}: {error}", isinstance(error, TimeoutError)
    return document, "", False
