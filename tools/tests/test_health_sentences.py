"""One fault after the other in each deployment: the sentence of `status` and `doctor`, and nothing else.

Health's readings, its judge, its answers and the verdict of the folder are the real ones; the documents are
as services and gateways send them. With processes, sockets and files it is `test_deployments.py` (slow).

A gateway alone says nothing of the cloud's store, nor of the keys between its services: it has the connection
to the broker, and holds what is not acknowledged. A MongoDB that is silent when services start ends them, as
any other reason does (proto/tests/test_system_verdict.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from service_words import read_only_words, revoked_key_words, silent_store_words

from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import HealthSection
from opq_cloud.health import collector as collector_module
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.neighbours import Neighbours
from opq_cloud.health.readings import Answer
from opq_cloud.health.stored_boxes import RETIRED, REVOKED, UNPLUGGED
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import health as gateway_health
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.system_record import MeantService, SystemIdentity, SystemRecord, identity_of
from opq_proto.kit.system_verdict import (
    VERDICT_NAMES,
    WHOLE_SYSTEM,
    ServiceAnswer,
    SystemVerdict,
    system_verdict,
)

START_S, PLAYED_S, STEP_S = 1_800_000_000.0, 200, 5
DEPLOYMENTS = ("up", "apart", "cloud", "gateway")
OWN = SystemIdentity("1", "/own")
Documents = dict[str, dict[str, Any]]


@dataclass
class Grid:
    """Two Boxes, as their gateway and the triggering service report them at `now_s`."""

    now_s: float
    statuses: tuple[BoxStatus, BoxStatus]
    heard: dict[str, dict[str, Any]]
    notes: list[dict[str, Any]]
    without: dict[str, str]
    problem: str = ""
    """What the triggering service says of itself."""


def status_of(box_id: str, now_s: float) -> BoxStatus:
    status = BoxStatus(box_id, "/dev/null")
    status.serial_open, status.connected, status.sample_monotonic_s = True, True, now_s
    return status


def grid(now_s: float) -> Grid:
    part = {"ok": True, "info": None, "subcomponents": None, "timestamp": int(now_s), "received": int(now_s)}
    heard = {name: {"name": name, **part} for name in ("1", "2")}
    return Grid(now_s, (status_of("1", now_s), status_of("2", now_s)), heard, [], {})


def retired(found: Grid) -> None:
    found.without["2"] = RETIRED
    found.statuses[1].connected, found.statuses[1].refused = False, True
    found.heard["2"].update(ok=False, received=int(START_S), timestamp=int(START_S), info="nothing heard")


def revoked(found: Grid) -> None:
    retired(found)
    found.without["2"] = REVOKED
    note = "Box 2 comes from 10.0.0.7 with its revoked key, and is not admitted: take it out of its gateway"
    report = HealthReport("key of Box 2", True, int(found.now_s), note=note)
    found.notes.append(report.as_json())


def not_back(found: Grid) -> None:
    """Box 2 measured before the cloud's last start, and has not come back since; its gateway is off."""
    ok, seen_s = found.now_s - START_S < 75, int(START_S - 5000)
    info = None if ok else "nothing heard since 2027-01-15 06:36:40 UTC, before the cloud's last start"
    found.heard["2"].update(ok=ok, info=info, timestamp=seen_s, received=seen_s)
    found.statuses[1].sample_monotonic_s = found.now_s - 900


def an_hour_old(found: Grid) -> None:
    found.heard["2"].update(timestamp=int(found.now_s - 3600), info="late by 3600 s, by its clock")


def another_key(found: Grid) -> None:
    """Its gateway has another key than the cloud, which hears nothing of it."""
    ok = found.now_s - START_S < 20
    found.statuses[1].connected, found.statuses[1].refused = False, True
    found.heard["2"].update(ok=ok, received=int(START_S), timestamp=int(START_S))
    found.heard["2"]["info"] = None if ok else "nothing heard for 30 s"


def full_gateway_disk(found: Grid) -> None:
    found.statuses[1].ledger_problem = "No space left on device"


def lost_intervals(found: Grid) -> None:
    """Its gateway's disk was full for long, and has room again."""
    found.statuses[1].ledger_lost = "40 values of 3 s from 2026-11-28 19:59:15 to 2026-11-28 20:01:15 UTC"


def another_number(found: Grid) -> None:
    found.statuses[1].number_refused = "its settings are sealed"


def unplugged(found: Grid) -> None:
    """It is not expected to send, and is off."""
    found.without["2"] = UNPLUGGED
    found.statuses[1].sample_monotonic_s = found.now_s - 900
    found.heard["2"].update(ok=False, received=int(START_S), timestamp=int(START_S), info="nothing heard")


def not_stored(found: Grid, words: str) -> None:
    """No Measurement is acknowledged, and gateways hold them."""
    found.problem = words
    for status in found.statuses:
        status.held_sequences = (1, 400)


def read_only_store(found: Grid) -> None:
    not_stored(found, read_only_words())


def silent_store(found: Grid) -> None:
    not_stored(found, silent_store_words())


def revoked_backend_key(found: Grid) -> None:
    """The triggering service hears no Box any more."""
    not_stored(found, revoked_key_words())
    for each in found.heard.values():
        each.update(ok=False, received=int(START_S), timestamp=int(START_S), info="nothing heard for 30 s")


BY_GATEWAY = ("Box 2 lost", "Box 2 does not take")
"""How the notes begin that a gateway makes itself."""
NOT_ADMITTED = "Box 2: the cloud does not admit this Box's key"
NOT_HEARD = "Box 2: nothing heard for 30 s"
FAULTS: Mapping[str, tuple[Callable[[Grid], None], Mapping[str, list[str]], list[str]]] = {
    "nothing": (lambda found: None, {}, []),
    "a retired Box whose gateway has it": (
        retired,
        {"gateway": [NOT_ADMITTED]},
        ["Box 2 is retired here, and its gateway still has it"],
    ),
    "a revoked key that comes": (
        revoked,
        {"gateway": [NOT_ADMITTED]},
        ["Box 2 comes from 10.0.0.7 with its revoked key", "Box 2 has no key here since it was revoked"],
    ),
    "a Box that is not back": (
        not_back,
        {
            "": ["Box 2: nothing heard since 2027-01-15 06:36:40 UTC, before the cloud's last start"],
            "gateway": ["Box 2: no samples for 900 s"],
        },
        [],
    ),
    "data an hour old": (
        an_hour_old,
        {"": ["time of Box 2: it sends, and what comes is 3,600 s old by its own clock"], "gateway": []},
        [],
    ),
    "another key at the gateway": (
        another_key,
        {
            "": [NOT_HEARD + "; gateway says: the cloud does not admit this Box's key"],
            "cloud": [NOT_HEARD],
            "gateway": [NOT_ADMITTED],
        },
        [],
    ),
    "values lost at the gateway": (
        lost_intervals,
        {},
        ["Box 2 lost 40 values of 3 s from 2026-11-28 19:59:15"],
    ),
    "a Box that takes no number": (
        another_number,
        {},
        ["Box 2 does not take the number of its port: its settings are sealed"],
    ),
    "an unplugged Box that is off": (unplugged, {"gateway": ["Box 2: no samples for 900 s"]}, []),
    "a full disk at the gateway": (
        full_gateway_disk,
        {
            "": ["Box 2 at gateway: measured values are not stored: No space left on device"],
            "gateway": ["Box 2: measured values are not stored: No space left on device"],
            "cloud": [],
        },
        [],
    ),
    "a store that is read-only": (
        read_only_store,
        {
            "": [
                "triggering-service: …opq.db: attempt to write a readonly database: its file system is "
                "read-only; mount it for writing"
            ],
            "gateway": [],
        },
        [],
    ),
    "a MongoDB that is silent": (
        silent_store,
        {"": ["triggering-service: the store has not answered for …"], "gateway": []},
        [],
    ),
    "a back-end key that was revoked": (
        revoked_backend_key,
        {
            "": [
                "triggering-service: triggering_service.measurement_endpoint tcp://10.0.0.9:9881 (SUB): it "
                "does not answer with this service's key: at the service there, opq-tools keys list"
            ],
            "gateway": [],
        },
        [],
    ),
}
"""Fault -> how it shows, what is not well by deployment (empty: the others), and the notes of a cloud. `…`
stands for a path."""


class Clock:
    """The time of the collector."""

    def __init__(self) -> None:
        self.now_s = START_S

    def time(self) -> float:
        return self.now_s

    monotonic = time

    def time_ns(self) -> int:
        return int(self.now_s * 1e9)


def whole_of(found: Documents) -> dict[str, Any]:
    """What one process with all services of the cloud answers."""
    parts = [part for name, each in found.items() if name != "gateway" for part in each["subcomponents"]]
    ok = all(each["ok"] for each in parts)
    stamp = found["triggering-service"]["timestamp"]
    return {"name": WHOLE_SYSTEM, "ok": ok, "timestamp": stamp, "info": None, "subcomponents": parts}


def documents(found: Grid) -> Documents:
    def whole(name: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
        ok = all(each["ok"] for each in parts)
        return {"name": name, "ok": ok, "timestamp": int(found.now_s), "info": None, "subcomponents": parts}

    own = HealthReport("triggering-service", not found.problem, int(found.now_s), found.problem or None)
    boxes = {status.box_id: status for status in found.statuses}
    gateway = gateway_health(boxes, found.now_s, found.now_s)
    return {
        "triggering-broker": whole("triggering-broker", found.notes),
        "triggering-service": whole("makai", [own.as_json(), *found.heard.values()]),
        "gateway": dict(gateway),
    }


class NoSlowReadings:
    """In place of the pool: the disk and the store of the test's machine are not judged."""

    def submit(self, *_: object) -> None:
        raise AssertionError


def played(deployment: str, fault: Callable[[Grid], None], monkeypatch: Any, folder: Path) -> SystemVerdict:
    """The verdict after the fault has lasted PLAYED_S."""
    clock = Clock()
    monkeypatch.setattr(collector_module, "time", clock)
    monkeypatch.setattr(HealthCollector, "_begin", lambda *_: None)
    neighbours = Neighbours("health", identity_of(folder), (), ServiceCounters())
    context = CloudContext(lambda: pytest.fail("no store"))
    collector = HealthCollector(HealthSection(), context, neighbours, folder, KeyFolder(folder), None)
    found: Documents = {}
    for second in range(0, PLAYED_S, STEP_S):
        clock.now_s = START_S + second
        now = grid(clock.now_s)
        fault(now)
        found = documents(now)
        collector._without = now.without
        asked = found if deployment == "apart" else {"cloud": whole_of(found), "gateway": found["gateway"]}
        answers = [
            Answer(VERDICT_NAMES.get(name, name), document, "", clock.now_s, clock.now_s, name == "gateway")
            for name, document in asked.items()
            if not (name == "gateway" and deployment == "cloud")
        ]
        collector._turn(answers, NoSlowReadings())  # type: ignore[arg-type]
    alerts = collector.alerts().as_json()
    given = {
        "cloud": ServiceAnswer(whole_of(found), ours=True, alerts=alerts),
        "health": ServiceAnswer({"name": "opq", "ok": True, "subcomponents": None}, ours=True, alerts=alerts),
        **{name: ServiceAnswer(document, ours=True) for name, document in found.items()},
    }
    meant = {
        "up": ("cloud", "gateway"),
        "apart": ("triggering-broker", "triggering-service", "health", "gateway"),
        "cloud": ("cloud",),
        "gateway": ("gateway",),
    }[deployment]
    services = tuple(MeantService(name, f"http://{name}/") for name in meant)
    return system_verdict(SystemRecord(OWN, services), {f"http://{name}/": given[name] for name in meant})


def begins(text: str, start: str) -> bool:
    head, _, more = start.partition("…")
    return text.startswith(head) and more in text


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_sentence(
    name: str, deployment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fault, by_deployment, notes = FAULTS[name]
    verdict = played(deployment, fault, monkeypatch, tmp_path)
    wanted = by_deployment.get(deployment, by_deployment.get("", []))
    sentences = [f"{each.thing}: {each.info}" for each in verdict.troubles]
    assert len(sentences) == len(wanted), sentences
    assert all(begins(text, start) for text, start in zip(sentences, wanted, strict=True)), sentences
    assert verdict.ok == (not wanted)
    if deployment != "gateway":
        assert all(each.helps for each in verdict.troubles), "a cause without what to do"
    shown = notes
    if deployment == "gateway":
        shown = [each for each in notes if each.startswith(BY_GATEWAY)]
    if deployment == "cloud":  # its gateway is not asked
        shown = [each for each in notes if "comes from" in each]
    assert [each.info.startswith(note) for each, note in zip(verdict.notes, shown, strict=True)] == [
        True for _ in shown
    ], verdict.notes
