"""Each rule of deploy/prometheus/alerts.yml fires by what /metrics prints under its fault, and names it.

promtool's own unit tests evaluate the rules. The faults are made in a running system (two simulated Boxes,
their gateway, the cloud), or where that takes too long in the service that counts them.
"""

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml
from free_ports import free_offset
from house_under_test import ROOT, until
from in_thread import in_thread
from prometheus_client.parser import text_string_to_metric_families
from scraped_alerts import RULES, Alert, Scrapes, fired, scrape, scraped_under
from store_cases import numbered

from opq_cloud.core.runner import ServiceBoard, ServiceRunner
from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.health.health_service import HealthService
from opq_cloud.makai.measurements import measurement_writer
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.store import open_store
from opq_cloud.store.records.accounts.notifications import NotificationEntry, NotificationRecords
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.metrics import GatewayMetrics
from opq_proto.kit import log
from opq_proto.kit.ports import PORTS
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.plan import UpPlan

pytestmark = pytest.mark.timeout(900)
DEPLOY = ROOT / "deploy"
WHOLE, VIEW, GATEWAY = ("opq", "whole"), ("opq", "view"), ("gateways", "gateway")
METRIC = re.compile(r"\b(?:opq|process)_[a-z0-9_]+\b")
ONLY_UNDER_A_FAULT = {"opq_documents_unreadable_total"}
"""test_unreadable_documents_are_named_by_collection makes it."""
OF_PROMETHEUS = {"instance", "job"}
"""Labels that it adds."""
QUEUE_RATE = 0.6
"""Measurements a second; a Box makes one, and OpqQueueGrows fires above half of that."""
BY_CLOCK = "OpqTimeUncertain"
"""Fires where this machine's own clock is not synchronised, with or without a fault."""


class System:
    """The processes of `opq-tools up`, each of which a test may stop, limit or kill."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.offset = folder, free_offset()
        self.plan = UpPlan(folder, self.offset, plan_fleet(sim=2), (), {}, trace=False)
        self.plan.prepare()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in self.plan.commands():
            self.start(name)
        self.wait_until_well()

    def start(self, name: str) -> None:
        self.processes[name] = subprocess.Popen(
            self.plan.commands()[name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def scrape(self) -> dict[tuple[str, str], str | None]:
        def url(port: str) -> str:
            return f"http://127.0.0.1:{PORTS[port] + self.offset}/metrics"

        return scrape({WHOLE: url("mauka_health"), VIEW: url("view"), GATEWAY: url("gateway_health")})

    def wait_until_well(self) -> None:
        """Measurements of both Boxes are stored and acknowledged."""

        def well() -> bool:
            texts = self.scrape()
            gateway = texts[GATEWAY] or ""
            whole = texts[WHOLE] or ""
            return (
                None not in texts.values()
                and 'opq_gateway_box_acknowledging{box_id="1"} 1.0' in gateway
                and 'opq_gateway_box_acknowledging{box_id="2"} 1.0' in gateway
                and 'opq_measurements_lost_total{of="2"' in whole
            )

        until(well, 60, "a well system")

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(240)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("alerts") / "D")
    yield running
    running.end()


@contextmanager
def limited(process: subprocess.Popen[bytes], what: int, most: int) -> Iterator[None]:
    before = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, what, before)


def found_in(scrapes: Scrapes, minutes: float, folder: Path, *rising: str) -> list[Alert]:
    """What fires, without what the state of this machine's clock adds."""
    return [each for each in fired(scrapes, minutes, folder, rising) if each.name != BY_CLOCK]


def board_text(board: ServiceBoard) -> Callable[[], Mapping[tuple[str, str], str | None]]:
    health = HealthService("127.0.0.1:0", board, "opq")
    return lambda: {WHOLE: health.reply("/metrics")[2].decode()}


def test_a_system_that_is_well_fires_nothing(system: System, tmp_path: Path) -> None:
    scrapes = scraped_under(system.scrape)
    while len(set(scrapes.under("opq_measurements_stored_total"))) == 1 and len(scrapes.times_s) < 40:
        scrapes.add(system.scrape())  # the rate is that of the scrapes, so they have to see a store
        time.sleep(1.5)
    assert found_in(scrapes, 6, tmp_path) == []


def labels_without_a_value(metric: str) -> set[str]:
    """Labels of a metric that has no value yet: of the gateway's about Boxes, and of the cloud's."""
    return {"box_id"} if metric.startswith("opq_gateway_box_") else {"service", "of", "stage"}


def named_metrics() -> dict[str, str]:
    """Metric -> what names it."""
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    found = {name: rule["alert"] for rule in rules for name in METRIC.findall(rule["expr"])}
    panels = json.loads((DEPLOY / "grafana/dashboards/opq.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            found |= dict.fromkeys(METRIC.findall(target["expr"]), panel["title"])
    return found


def printed_metrics(system: System) -> str:
    return "".join(text or "" for text in system.scrape().values())


def test_alerts_and_dashboards_name_existing_metrics(system: System) -> None:
    text = printed_metrics(system)
    there = {
        name + end
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
        for end in ("", *(("_bucket", "_count", "_sum") if kind == "histogram" else ()))
    }
    assert {name for name in named_metrics() if name not in there} == ONLY_UNDER_A_FAULT
    assert len(named_metrics()) > 20


def test_alerts_and_dashboards_name_existing_labels(system: System) -> None:
    """A label that is not there is an empty word in a message: `the gateway of Box  does not reach`."""
    labels: dict[str, set[str]] = {}
    for name, found in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", printed_metrics(system), re.M):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    named = [
        (rule["alert"], rule["expr"], re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        for rule in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    ]
    for panel in json.loads((DEPLOY / "grafana/dashboards/opq.json").read_text())["panels"]:
        for target in panel["targets"]:
            legend = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            named.append((panel["title"], target["expr"], legend))
    for title, expression, words in named:
        metrics = METRIC.findall(expression)
        there = set.union(
            OF_PROMETHEUS, *(labels.get(name) or labels_without_a_value(name) for name in metrics)
        )
        assert set(words) <= there, title
    assert sum(bool(words) for _, _, words in named) > 15


def test_a_containers_health_check_answers_0_or_1(system: System) -> None:
    def healthy(port: int) -> int:
        environment = {**os.environ, "OPQ_HEALTH": f"http://127.0.0.1:{port}/"}
        return subprocess.run(
            ["sh", str(DEPLOY / "start"), "--healthy"],
            env=environment,
            check=False,
            stderr=subprocess.DEVNULL,
        ).returncode

    assert healthy(PORTS["mauka_health"] + system.offset) == 0
    assert healthy(1) == 1


def test_silent_boxes_are_named(system: System, tmp_path: Path) -> None:
    scrapes = Scrapes()
    scrapes.add(system.scrape())
    system.processes["boxes"].send_signal(signal.SIGSTOP)
    try:
        until(
            lambda: 'opq_gateway_box_ok{box_id="2"} 0.0' in (system.scrape()[GATEWAY] or ""), 30, "not well"
        )
        for _ in range(3):
            scrapes.add(system.scrape())
            time.sleep(1)
    finally:
        system.processes["boxes"].send_signal(signal.SIGCONT)
    alerts = found_in(scrapes, 3, tmp_path, "opq_gateway_box_sample_age_seconds")
    alerts = [each for each in alerts if each.name != "OpqNoMeasurements"]  # no Box sends any
    assert [(each.name, each.labels) for each in alerts] == [
        ("OpqBoxSilent", {"box_id": "1"}),
        ("OpqBoxSilent", {"box_id": "2"}),
    ]
    assert alerts[0].summary.startswith("Box 1 has not sampled for ") and "Box 2 " in alerts[1].summary
    system.wait_until_well()


def test_a_locked_store_stores_nothing(system: System, tmp_path: Path) -> None:
    lock = sqlite3.connect(system.folder / "opq.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        until(lambda: nothing_is_stored(system), 60, "Measurements come, and none is stored")
        scrapes = scraped_under(system.scrape)
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    names = {each.name for each in found_in(scrapes, 6, tmp_path)}
    late = {"OpqQueueGrows", "OpqIll"}  # where the scrapes took long
    assert "OpqNoMeasurements" in names and names <= {"OpqNoMeasurements"} | late


def nothing_is_stored(system: System) -> bool:
    """What was on its way is stored: some come to the broker, and the number of the stored ones stays."""
    before = system.scrape()[WHOLE]
    received = total_of("opq_measurements_total", before) + 6
    until(lambda: total_of("opq_measurements_total", system.scrape()[WHOLE]) >= received, 30, "Measurements")
    stored = "opq_measurements_stored_total"
    return total_of(stored, system.scrape()[WHOLE]) == total_of(stored, before)


def total_of(name: str, text: str | None) -> float:
    found = text_string_to_metric_families(text or "")
    return sum(sample.value for family in found for sample in family.samples if sample.name == name)


def test_unreadable_documents_are_named_by_collection(tmp_path: Path) -> None:
    with closing(open_store(None, tmp_path / "store")) as store:
        context = CloudContext(lambda: store)
        read = board_text(ServiceBoard(context.unreadable))
        assert context.store.boxes() == []
        with closing(sqlite3.connect(tmp_path / "store/opq.db")) as other, other:
            other.execute("INSERT INTO opq_boxes VALUES ('7', '{\"name\": \"no id\"}')")
        scrapes = Scrapes()
        scrapes.add(read())
        for _ in range(2):
            store.boxes()
            scrapes.add(read())
    (alert,) = found_in(scrapes, 1, tmp_path)
    assert alert.name == "OpqUnreadable" and alert.labels == {"of": "opq_boxes", "service": "store"}
    assert alert.summary.startswith("documents of opq_boxes in the store")


def test_a_missing_list_of_plug_ins_is_reported(system: System, tmp_path: Path) -> None:
    book = system.folder / "rules/plugins/installed.sqlite"
    scrapes = Scrapes()
    scrapes.add(system.scrape())
    book.rename(book.with_name("kept"))
    try:
        never = 'opq_unreadable_now{of="",service="mauka.plugins"} 0.0'
        until(lambda: never not in (system.scrape()[WHOLE] or never), 30, "a list that cannot be read")
        for _ in range(3):
            scrapes.add(system.scrape())
            time.sleep(1.5)
    finally:
        book.with_name("kept").rename(book)
    alerts = found_in(scrapes, 1, tmp_path, "opq_unreadable_now")
    assert [(each.name, each.labels["service"]) for each in alerts] == [
        ("OpqPluginsUnreadable", "mauka.plugins")
    ]


def test_a_process_short_of_descriptors_is_named(system: System, tmp_path: Path) -> None:
    gateway = system.processes["gateway"]
    open_now = len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))
    with limited(gateway, resource.RLIMIT_NOFILE, open_now + 5):
        scrapes = scraped_under(system.scrape)
    (alert,) = found_in(scrapes, 3, tmp_path)
    assert alert.name == "OpqDescriptorsShort" and alert.summary.startswith("gateway has 9")


def test_messages_that_nobody_takes_wait(system: System, tmp_path: Path) -> None:
    """They are due in an hour, so that nothing is sent meanwhile."""
    with closing(open_store(None, system.folder)) as store:
        account = store.people.add_account("root@example.org", "root", "admin", "no-hash")
        assert account is not None
        records, now_ms = NotificationRecords(store.people.documents), time.time_ns() // 1_000_000
        for number in range(25):
            records.add_entry(
                NotificationEntry(
                    f"{number:032d}",
                    account.account_id,
                    "incident",
                    "incident",
                    "mail",
                    "test",
                    "text",
                    now_ms,
                    now_ms + 3_600_000,
                )
            )
    all_wait = 'opq_notifications_waiting_now{of="",service="notifications"} 25.0'
    until(lambda: all_wait in (system.scrape()[WHOLE] or ""), 60, "waiting messages")
    found = found_in(scraped_under(system.scrape), 8, tmp_path)
    (alert,) = found
    assert alert.name == "OpqNotificationsWait" and alert.summary.startswith("25 notifications wait")


def test_a_ring_that_cannot_be_written_is_named(system: System, tmp_path: Path) -> None:
    with limited(system.processes["gateway"], resource.RLIMIT_FSIZE, 1):
        scrapes = scraped_under(system.scrape)
    # A ring that the disk refused tries again a second later; until then all counts as failed.
    before = ring_blocks(system)

    def are_written_again() -> bool:
        now = ring_blocks(system)
        return all(now.get(box, 0) > count for box, count in before.items())

    until(are_written_again, 60, "rings that are written again")
    alerts = {(each.name, each.labels.get("box_id")): each for each in found_in(scrapes, 2, tmp_path)}
    assert {("OpqRingFails", "1"), ("OpqRingFails", "2")} <= alerts.keys()
    assert alerts["OpqRingFails", "1"].summary.startswith("the gateway of Box 1 cannot write its ring")


def ring_blocks(system: System) -> dict[str, float]:
    """Box -> blocks that its ring took."""
    found = text_string_to_metric_families(system.scrape()[GATEWAY] or "")
    return {
        sample.labels["box_id"]: sample.value
        for family in found
        for sample in family.samples
        if sample.name == "opq_gateway_ring_blocks_total"
    }


def test_a_dead_cloud_fires_alerts(system: System, tmp_path: Path) -> None:
    scrapes = Scrapes()
    scrapes.add(system.scrape())
    system.processes["cloud"].kill()
    system.processes["cloud"].wait()
    none_connected = [f'opq_gateway_box_uplink_connected{{box_id="{box}"}} 0.0' for box in (1, 2)]
    until(lambda: all(each in (system.scrape()[GATEWAY] or "") for each in none_connected), 60, "no uplink")

    def both_queues_grow() -> bool:
        scrapes.add(system.scrape())
        time.sleep(1.5)
        held = [scrapes.under("opq_gateway_box_measurements_held", box_id=box) for box in ("1", "2")]
        spent_s = scrapes.times_s[-1] - scrapes.times_s[1]
        return len(scrapes.times_s) > 5 and all(each[-1] - each[0] > QUEUE_RATE * spent_s for each in held)

    until(both_queues_grow, 60, "both queues grow as their Boxes measure")
    alerts = found_in(scrapes, 6, tmp_path, "opq_gateway_box_measurements_held")
    found = {(each.name, each.labels.get("box_id", "")): each for each in alerts}
    both = ("1", "2")
    assert {("OpqServiceSilent", "")} | {("OpqBoxUplinkLost", box) for box in both} | {
        ("OpqQueueGrows", box) for box in both
    } == found.keys()
    assert found["OpqBoxUplinkLost", "2"].summary == "the gateway of Box 2 does not reach the cloud"
    assert found["OpqQueueGrows", "1"].summary.startswith("Box 1: ")
    assert found["OpqServiceSilent", ""].summary in ("whole does not answer", "view does not answer")


def test_a_box_that_never_sampled_is_named(tmp_path: Path) -> None:
    status = BoxStatus("3", 60)
    metrics = GatewayMetrics({"3": status}, {})
    found = found_in(scraped_under(lambda: {GATEWAY: metrics.text().decode()}, 2, 0), 3, tmp_path)
    assert {each.name: each.summary for each in found} == {
        "OpqBoxNeverSampled": "Box 3 has not sampled since its gateway started",
        "OpqBoxUplinkLost": "the gateway of Box 3 does not reach the cloud",
    }


@pytest.mark.parametrize(
    ("uncertainty_ns", "source", "said"),
    [
        (
            UNKNOWN_UNCERTAINTY_NS,
            TimeSource.FREE,
            "nothing says how far off its time is",
        ),  # a Box without GPS
        (30_000_000, TimeSource.NTP, "uncertain by 30ms"),
        (5_000_000, TimeSource.NTP, None),
        (2_000_000, TimeSource.HOLDOVER, "uncertain by 2ms"),  # its GPS lost the sky
        (200, TimeSource.GPS, None),
    ],
)
def test_uncertain_time_is_reported_by_its_source(
    tmp_path: Path, uncertainty_ns: int, source: TimeSource, said: str | None
) -> None:
    status = BoxStatus("2", 60)
    status.sample_uncertainty_ns, status.sample_source = uncertainty_ns, source
    status.serial_open = status.connected = True

    def text() -> dict[tuple[str, str], str | None]:
        status.sample_monotonic_s = time.monotonic()
        return {GATEWAY: GatewayMetrics({"2": status}, {}).text().decode()}

    found = fired(scraped_under(text, 2, 0), 16, tmp_path)
    assert [each.name for each in found] == ([] if said is None else [BY_CLOCK])
    if said is not None:
        assert found[0].labels == {"box_id": "2"} and said in found[0].summary


class Failing:
    """A service that ends with an error at once, each time."""

    name = "shaky"

    def __init__(self) -> None:
        self.counters = ServiceCounters()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        if ready is not None:
            ready.set()
        raise RuntimeError("boom")


def test_a_repeatedly_failing_service_is_named(tmp_path: Path) -> None:
    board = ServiceBoard()
    read, runner = board_text(board), ServiceRunner(board)
    assert runner.start([Failing()])
    scrapes = Scrapes()
    try:
        for restarts in range(4):
            until(lambda at_least=restarts: board.entries[0].restarts >= at_least, 60, "restarts")
            until(lambda: not board.entries[0].up, 60, "it waits to be started again")
            scrapes.add(read())
    finally:
        runner.stop.set()
        runner.wait()
    found = {each.name: each for each in found_in(scrapes, 2, tmp_path)}
    assert found.keys() == {"OpqServiceDown", "OpqServiceRestarts"}
    assert found["OpqServiceDown"].summary == "shaky does not run"
    assert found["OpqServiceRestarts"].summary.startswith("shaky was started ")


class Board(ServiceBoard):
    """A board with the counters of one service."""

    def __init__(self, name: str, counters: ServiceCounters) -> None:
        super().__init__()
        self._name, self._counters = name, counters

    def counts(self) -> Iterator[tuple[str, str, str, float]]:
        for counter, row in self._counters.snapshot().items():
            for label, value in row.items():
                yield self._name, counter, label, value


def test_lost_and_dropped_measurements_are_counted_by_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement_writer, "RETRY_S", 0.05)
    counters = ServiceCounters()
    counters.add("measurements_dropped", 0)
    config = TriggeringServiceSection(queue_rows=100, ack_interval_s=0.1, batch_ms=10)
    read = board_text(Board("triggering-service", counters))
    with closing(open_store(None, tmp_path / "store")) as store:
        writer = MeasurementWriter(store, config, counters, log.get(), lambda *_: None)
        lost, dropped = Scrapes(), Scrapes()
        with in_thread(writer.run):
            writer.accept(numbered(1, 4))
            until(
                lambda: counters.snapshot().get("measurements_lost", {}).keys() >= {"1", "2", "3"},
                30,
                "acknowledged",
            )
            lost.add(read())
            writer.accept(numbered(100, 1))  # Boxes 2 and 3 hold nothing older than 50
            until(lambda: counters.snapshot()["measurements_lost"]["2"] > 40, 30, "lost")
            lost.add(read())
            lost.add(read())
            dropped.add(read())
            for _ in range(2):
                for first in range(1000, 1400, 50):
                    writer.accept(numbered(first, 50))
                before = counters.total("measurements_dropped")
                until(
                    lambda least=before: counters.total("measurements_dropped") >= max(least, 1),
                    30,
                    "dropped",
                )
                dropped.add(read())
    alerts = found_in(lost, 1, tmp_path)
    assert {(each.name, each.labels["of"]) for each in alerts} >= {("OpqMeasurementsLost", "2")}
    assert all(each.summary == f"Box {each.labels['of']}: Measurements never came" for each in alerts)
    names = {each.name for each in found_in(dropped, 1, tmp_path)}
    assert "OpqMeasurementsDropped" in names


@pytest.mark.slow  # health judges a minute after its start; test_health_alerts.py plays it whole
def test_ill_conditions_of_the_table_are_counted(system: System, tmp_path: Path) -> None:
    none_ill = 'opq_ill_now{of="",service="health.collector"} 0.0'
    if system.processes["cloud"].poll() is not None:  # an earlier test of this process killed it
        system.start("cloud")
    system.wait_until_well()
    scrapes = Scrapes()
    scrapes.add(system.scrape())
    system.processes["boxes"].send_signal(signal.SIGSTOP)
    try:
        until(lambda: none_ill not in (system.scrape()[WHOLE] or none_ill), 90, "something that is ill")
        scrapes.add(system.scrape())
        scrapes.add(system.scrape())
    finally:
        system.processes["boxes"].send_signal(signal.SIGCONT)
    found = {each.name: each for each in found_in(scrapes, 3, tmp_path)}
    assert "OpqIll" in found and found["OpqIll"].summary.endswith("opq-tools status")


def test_every_alert_rule_has_a_test_here() -> None:
    rules = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    assert {name for name in rules if f'"{name}"' not in Path(__file__).read_text()} == set()


def test_the_dashboard_has_its_data_source_as_variable() -> None:
    board = json.loads((ROOT / "deploy/grafana/dashboards/opq.json").read_text())
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {"${" + variable["name"] + "}"}
