"""The collector with real parts: a runner's services, HTTP, a store; its documents in both stores."""

import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opq_cloud.core import service_conditions
from opq_cloud.core.runner import ServiceBoard, ServiceRunner
from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import HealthSection
from opq_cloud.health import collector as collector_module
from opq_cloud.health import machine
from opq_cloud.health.collector import HealthCollector
from opq_cloud.health.health_service import HealthService
from opq_cloud.health.machine import disk_reading, slow_readings
from opq_cloud.health.neighbours import Neighbours
from opq_cloud.health.readings import Answer
from opq_cloud.store import open_store
from opq_cloud.store.records.accounts.account_records import HEALTH
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.http_server import HttpServer, ReplyHandler
from opq_proto.kit.system_record import MeantService, identity_of, note_meant
from opq_proto.messages import Measurement
from opq_tools.keep.archive import ArchiveWriter

LIMIT_S = 240.0


def collector_of(shared: CloudContext, folder: Path, **more: Any) -> HealthCollector:
    section = more.pop("section", HealthSection(interval_s=0.1))
    neighbours = Neighbours("health", identity_of(folder), (), ServiceCounters())
    return HealthCollector(section, shared, neighbours, folder, KeyFolder(folder), None, **more)


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


class Breakable:
    """A service that fails at every start while it is broken."""

    name = "breakable"

    def __init__(self) -> None:
        self.counters = ServiceCounters()
        self.broken = threading.Event()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        if ready is not None:
            ready.set()
        while not stop.wait(0.02):
            if self.broken.is_set():
                raise ValueError("broken")


@pytest.mark.parametrize(("turn_s", "pause_s"), [(0.5, 1.5), (4.0, collector_module.LEAST_PAUSE_S)])
def test_a_hanging_service_does_not_lengthen_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn_s: float, pause_s: float
) -> None:
    now_s, pauses = [100.0], list[float | None]()

    class Slow(Neighbours):
        def read(self) -> list[Answer]:
            now_s[0] += turn_s
            return []

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            self.set()
            return True

    clock = SimpleNamespace(monotonic=lambda: now_s[0], time=time.time, time_ns=time.time_ns)
    monkeypatch.setattr(collector_module, "time", clock)
    neighbours = Slow("health", identity_of(tmp_path), (), ServiceCounters())
    with closing(open_store(None, tmp_path / "store")) as store:
        shared = CloudContext(lambda: store)
        section = HealthSection(interval_s=2.0)
        HealthCollector(section, shared, neighbours, tmp_path, KeyFolder(tmp_path), None).run(Once())
    assert pauses == [pytest.approx(pause_s)]


def test_a_failing_service_gives_one_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of the compact cloud that fails again and again gives one alert and one recovery."""
    # at each start it is up for 20 ms
    quick = replace(service_conditions.CONDITIONS["service"], for_s=0.5, well_s=5.0)
    monkeypatch.setattr(service_conditions, "CONDITIONS", {**service_conditions.CONDITIONS, "service": quick})
    pings = threading.Event()

    class Outside(ReplyHandler):
        def do_GET(self) -> None:
            pings.set()
            self.send_reply((204, "text/plain", b""))

    outside = HttpServer("outside", "127.0.0.1:0", Outside)
    outside.start()
    board = ServiceBoard()
    section = HealthSection(interval_s=0.1, ping_url=f"http://127.0.0.1:{outside.port}/ping")
    service = Breakable()
    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared:
        own: Callable[[], HealthReport] = lambda: board.health("opq")  # noqa: E731
        collector = collector_of(shared, tmp_path, own=own, section=section)
        runner = ServiceRunner(board)
        assert runner.start([service, collector])

        def ok() -> bool | None:
            return {each.name: each.ok for each in collector.alerts().subcomponents}.get("breakable")

        until(lambda: ok() and pings.is_set(), "it is well, and says so outside")
        service.broken.set()
        until(lambda: ok() is False, "an alert")
        assert not collector.alerts().ok
        service.broken.clear()
        until(ok, "a recovery")
        assert collector.counters.of("alerts", "service") == 1
        assert collector.counters.of("recoveries", "service") == 1
        until(lambda: shared.store.people.documents.find(HEALTH), "documents")
        runner.stop.set()
        assert runner.wait()
    outside.end()


def test_a_report_that_fails_ends_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def health(_: str) -> HealthReport:
        raise KeyError("a rule that was deleted meanwhile")

    board = ServiceBoard()
    monkeypatch.setattr(board, "health", health)
    assert ServiceRunner(board)._in_words().startswith("health cannot be read: KeyError(")


def test_a_wavering_box_has_one_silence_time(tmp_path: Path) -> None:
    """A Box that is heard now and then while it is ill is silent since one time."""

    def heard(ok: bool, received_s: int) -> int | None:
        box = {"name": "7", "ok": ok, "timestamp": received_s, "received": received_s}
        document = {"name": "makai", "ok": True, "timestamp": received_s, "subcomponents": [box]}
        collector._turn([Answer("makai", document)], slow)
        found = next(each for each in collector.alerts().subcomponents if each.name == "7")
        assert found.ok is ok
        return found.received_s

    with (
        closing(CloudContext(lambda: open_store(None, tmp_path))) as shared,
        ThreadPoolExecutor(1) as slow,
    ):
        collector = collector_of(shared, tmp_path)
        assert [heard(True, 100), heard(False, 101), heard(False, 130)] == [100, 101, 101]


def test_a_step_back_is_one_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that went back is one alert by the store unless a clock of a Box is why."""
    quick = replace(service_conditions.CONDITIONS["clock"], for_s=0.0, well_s=0.0)
    monkeypatch.setattr(service_conditions, "CONDITIONS", {**service_conditions.CONDITIONS, "clock": quick})
    monkeypatch.setattr(service_conditions, "FIRST_S", 0.0)
    monkeypatch.setattr(collector_module, "NEWEST_S", 0.0)
    now_ms = time.time_ns() // 1_000_000

    def ill(box_ahead_s: int) -> set[str]:
        box = {"name": "7", "ok": True, "timestamp": now_ms // 1000 + box_ahead_s, "received": now_ms // 1000}
        still = {"name": "8", "ok": True, "timestamp": now_ms // 1000, "received": now_ms // 1000}
        document = {"name": "makai", "ok": True, "timestamp": now_ms // 1000, "subcomponents": [box, still]}
        for _ in range(2):
            collector._turn([Answer("makai", document)], slow)
            wait(collector._busy.values())
        collector._turn([Answer("makai", document)], slow)
        clocks = (each for each in collector.alerts().subcomponents if not each.ok)
        return {each.name for each in clocks if each.name.startswith("clock")}

    with (
        closing(CloudContext(lambda: open_store(None, tmp_path))) as shared,
        ThreadPoolExecutor(1) as slow,
    ):
        collector = collector_of(shared, tmp_path)
        shared.store.append_measurements([Measurement("7", now_ms, {}, sequence=1)])
        assert ill(0) == set()
        shared.store.append_measurements([Measurement("7", now_ms + 3_600_000, {}, sequence=2)])
        assert ill(3600) == {"clock of Box 7"}
        assert ill(0) == {"clock of the cloud, by the store"}


def test_failing_notifications_stop_the_outside_ping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outside service is not pinged while notifications cannot be sent."""
    monkeypatch.setattr(collector_module, "SLOW_S", 0.0)

    class Outside(ReplyHandler):
        def do_GET(self) -> None:
            self.send_reply((204, "text/plain", b""))

    outside = HttpServer("outside", "127.0.0.1:0", Outside)
    outside.start()
    section = HealthSection(ping_url=f"http://127.0.0.1:{outside.port}/")

    def turn(ok: bool) -> None:
        document = {
            "name": "notifications",
            "ok": ok,
            "timestamp": int(time.time()),
            "info": "the disk is full",
        }
        collector._turn([Answer("notifications", document)], slow)

    with (
        closing(CloudContext(lambda: open_store(None, tmp_path))) as shared,
        ThreadPoolExecutor(4) as slow,
    ):
        collector = collector_of(shared, tmp_path, section=section)
        turn(ok=True)
        until(lambda: collector.counters.total("pings") == 1, "a ping")
        until(collector._busy["ping"].done, "the end of its job: another one begins after that")
        for _ in range(3):
            turn(ok=False)
        turn(ok=True)
        until(lambda: collector.counters.total("pings") >= 2, "a ping again")
    assert collector.counters.total("pings") == 2
    outside.end()


def test_a_ping_follows_no_redirect(tmp_path: Path) -> None:
    """The outside service cannot have health request another address of this machine."""
    visited: list[str] = []

    class Outside(ReplyHandler):
        def do_GET(self) -> None:
            visited.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/inside")
            self.send_header("Content-Length", "0")
            self.end_headers()

    outside = HttpServer("outside", "127.0.0.1:0", Outside)
    outside.start()
    section = HealthSection(ping_url=f"http://127.0.0.1:{outside.port}/ping")
    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared:
        collector = collector_of(shared, tmp_path, section=section)
        collector._ping()
    outside.end()
    assert (visited, collector.counters.total("pings_failed")) == (["/ping"], 1)


def test_backups_are_read_from_the_configured_folder(tmp_path: Path) -> None:
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "D"
    elsewhere.mkdir()
    data.mkdir()
    with closing(CloudContext(lambda: open_store(None, data))) as shared:
        for section, found in ((HealthSection(backups=elsewhere), [elsewhere]), (HealthSection(), [])):
            collector = collector_of(shared, data, section=section)
            collector._read_machine()
            infos = [each.info for each in collector._slow if each.condition == "backup"]
            assert infos == [f"{folder}: there is no archive" for folder in found]


def test_disk_key_and_back_ups_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = disk_reading(tmp_path).value
    assert share is not None and 0 < share < 1
    assert disk_reading(tmp_path / "nowhere").value is None
    (tmp_path / "key").write_text("")
    backups = tmp_path / "backups"

    def read() -> dict[str, float | None]:
        found = slow_readings(tmp_path / "key", backups, None)
        return {each.condition: each.value for each in found}

    backups.mkdir()
    assert read()["backup"] == pytest.approx(0, abs=0.01), "a new system is not ill"
    os.utime(tmp_path / "key", (time.time() - 9 * 86_400,) * 2)
    assert read()["backup"] == pytest.approx(9, abs=0.01)
    (tmp_path / "key").unlink()
    assert read()["backup"] == float("inf")
    (tmp_path / "key").write_text("")
    (backups / "opq.tar").write_bytes(b"")
    assert read()["backup"] == float("inf"), "it is not an archive"
    for name, days in (("opq.tar", 30), ("newer.tar.gz", 9)):
        made_at = datetime.now(UTC) - timedelta(days=days)
        with (backups / name).open("wb") as out:
            ArchiveWriter(out, made_at.isoformat(), "0.1.0", name.endswith("gz")).close()
    backup, key = read()["backup"], read()["keys"]
    assert backup == pytest.approx(9, abs=0.01), "its own time, not that of its file, which is new"
    assert key is not None and 0 <= key < 1


def test_an_untrusted_certificate_is_ill(tmp_path: Path) -> None:
    """A page that cannot be reached is unknown."""
    away = machine._certificate("https://127.0.0.1:1/")
    assert away.value is None
    words = "req -x509 -newkey ed25519 -nodes -subj /CN=localhost -days 1 -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    server = HttpServer("page", "127.0.0.1:0", ReplyHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.start()
    found = machine._certificate(f"https://localhost:{server.port}/")
    server.end()
    assert found.value == 0.0 and "self" in found.info


def test_the_record_names_the_services_of_this_system(tmp_path: Path) -> None:
    """The record names the services asked; another system does not count."""
    own, other = identity_of(tmp_path / "own"), identity_of(tmp_path / "other")
    boards = {"mauka": own, "view": other, "gateway": other}
    servers = []
    for name, system in boards.items():
        health = HealthService("127.0.0.1:0", ServiceBoard(), name, system=system)
        servers.append(HttpServer(name, "127.0.0.1:0", health._handler()))
        servers[-1].start()
    mauka, view, gateway = (f"http://127.0.0.1:{each.port}/" for each in servers)
    counters = ServiceCounters()
    elsewhere = [MeantService("gateway", gateway, here=False)]
    neighbours = Neighbours("health", own, elsewhere, counters)
    assert [each.name for each in neighbours.read()] == ["gateway"], "nothing else is meant yet"
    meant = [MeantService("mauka", mauka), MeantService("view", view), MeantService("health", "http://x/")]
    note_meant(tmp_path / "own", meant)
    found = {each.name: each for each in neighbours.read()}
    for server in servers:
        server.end()
    assert found.keys() == {"gateway", "mauka", "view"}
    assert found["mauka"].document is not None and found["gateway"].document is not None
    assert found["view"].document is None and str(tmp_path / "other") in found["view"].problem
    assert [counters.of("not_answered", name) for name in ("mauka", "view")] == [0, 1]
