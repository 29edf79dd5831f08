"""Triggers installed in Makai by REST: they judge from that moment on, and are replaced while it runs."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from judged_triggers import decision_of
from judging_plugins import TRIGGER, measured, trigger_zip
from plugin_zips import manifest, stored, zipped

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import CloudRulesSection, TriggeringServiceSection
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai import triggers
from opq_cloud.makai.judging import trigger_plugins
from opq_cloud.makai.judging.trigger_plugins import SHOWN_AGAIN_S, InstalledTrigger, TimeShare, TriggerPlugin
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_plugins.host import failure_guard
from opq_plugins.host.plugins import Plugins
from opq_plugins.host.worker import remote, supervisor
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.policy_section import PluginRules
from opq_plugins.worker_errors import WorkerAbsentError, WorkerEndedError
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.opqbox3_pb2 import Measurement as Wire
from opq_rules.api import rules_config as api_config

FAILING = """


rule = decide


def decide(measurement, nominal, config, state):
    if "do_crash" in measurement.metrics:
        import os
        os._exit(9)
    if "do_raise" in measurement.metrics:
        raise KeyError("raised")
    return rule(measurement, nominal, config, state)
"""
MODES = ("process", "inproc")
WINDOW_MS = 200


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for two seconds is not a trigger that hangs."""
    for name in ("DECIDE_S", "BEGIN_S"):
        monkeypatch.setattr(remote, name, 60.0)
    long = replace(Policy(), trial_s=120.0, limits=ProcessLimits(call_s=60.0, start_s=60.0))

    def policy_of(rules: PluginRules, on_loopback: bool) -> Policy:
        return replace(long, trusted=frozenset(rules.trusted), server_on_loopback=on_loopback)

    monkeypatch.setattr(api_config, "policy_of", policy_of)


def told(box: Any, k: int, rms: float = 120.0, **metrics: float) -> list[bytes]:
    """Window k of a Box whose time is its own."""
    end_ms = 1_700_000_000_000 + (k + 1) * WINDOW_MS
    topic, body = box.measurement(
        rms, end_ms, start_ns=(end_ms - WINDOW_MS) * 10**6, end_ns=end_ms * 10**6, sequence=k
    )
    wire = Wire.FromString(body)
    for name, value in metrics.items():
        metric = wire.metrics[name]
        metric.min = metric.max = metric.average = value
    return [topic, wire.SerializeToString()]


@contextmanager
def flowing(box: Any) -> Iterator[None]:
    """A Measurement about every 3 ms."""
    stop = threading.Event()

    def send() -> None:
        k = 0
        while not stop.is_set():
            box.pub.send_multipart(told(box, k))
            k += 1
            stop.wait(0.003)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def install(house: Any, version: str, method: str = "POST", **how: Any) -> Any:
    body = {"name": "loud", "file": trigger_zip(house.uploads, version, **how)}
    path = "/plugins/triggers" + ("" if method == "POST" else "/loud")
    return house.ask(method, path, body, 201 if method == "POST" else 200)


def part(house: Any, name: str = "plugin loud") -> Any:
    return next((each for each in house.service.health() if each.name == name), None)


def send_until(house: Any, box: Any, condition: Callable[[], Any], rms: float = 120.0) -> Any:
    numbers = iter(range(100_000, 200_000))

    def sent() -> Any:
        box.pub.send_multipart(told(box, next(numbers), rms))
        time.sleep(0.02)
        return condition()

    return house.wait_for(sent)


@pytest.mark.parametrize("mode", [pytest.param("process", marks=pytest.mark.slow), "inproc"])
def test_each_measurement_is_judged_by_one_version(makai_with: Callable[..., Any], mode: str) -> None:
    """Each measurement is judged by one version while versions come and go."""
    house = makai_with(trusted=("loud",) if mode == "inproc" else ())
    box, counters = house.box("4"), house.service.counters
    install(house, "1.0.0", mode="inproc", limit=0.0, metric="one")
    assert house.ask("GET", "/plugins/triggers/loud/status")["mode"] == mode
    where = "in a separate process" if mode == "process" else "in this process"
    assert part(house).ok and part(house).info == f"1.0.0, {where}"

    def judged(metric: str, more: int = 20) -> None:
        before = counters.of("decisions", metric)
        house.wait_for(lambda: counters.of("decisions", metric) >= before + more)

    with flowing(box):
        judged("one")
        assert install(house, "1.0.1", "PUT", mode="inproc", limit=0.0, metric="two")["from"] == "1.0.0"
        judged("two")
        assert house.ask("POST", "/plugins/triggers/loud/rollback")["to"] == "1.0.0"
        judged("one")
    record = house.shared.store.unfinished_events()[0]
    assert "Box 4, 0 before, 120 V" in str(record)
    house.wait_for(lambda: counters.total("decisions") == counters.total("received"))
    assert counters.total("not_judged") == counters.total("plugin_crashes") == 0
    house.ask("DELETE", "/plugins/triggers/loud")
    assert part(house) is None
    before, received = counters.total("decisions"), counters.total("received")
    box.pub.send_multipart(told(box, 90_000))
    house.wait_for(lambda: counters.total("received") > received)
    assert counters.total("decisions") == before


def test_a_broken_trigger_harms_only_itself(
    makai_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes, hangs or answers nonsense."""
    house = makai_with(PluginEntry(name="threshold"))
    box, counters = house.box("4"), house.service.counters
    wrongs = (
        ("do_crash", "last_error", "exit code 9"),
        ("do_hang", "last_error", "decide took longer than 2 s"),
        ("do_wrong", "failures", "1"),
        ("do_nan", "failures", "2"),
    )
    for k, (what, where, seen) in enumerate(wrongs):
        install(house, f"1.0.{k}", limit=1e6)  # each version begins without the pauses of the one before
        crashes = counters.of("plugin_crashes", "loud")
        with monkeypatch.context() as patched:
            patched.setattr(remote, "DECIDE_S", 2.0 if what == "do_hang" else 60.0)
            box.pub.send_multipart(told(box, k, **{what: 1.0}))
            house.wait_for(lambda crashes=crashes: counters.of("plugin_crashes", "loud") > crashes)
        status = house.ask("GET", "/plugins/triggers/loud/status")
        assert seen in str(status[where])
        calls = status["calls"]
        send_until(
            house,
            box,
            lambda calls=calls: house.ask("GET", "/plugins/triggers/loud/status")["calls"] > calls + 2,
        )
    assert "not judged" in part(house).info and counters.of("not_judged", "loud") >= 4
    send_until(house, box, lambda: counters.of("decisions", "rms"), rms=70.0)
    assert counters.of("plugin_crashes", "threshold") == 0


@pytest.mark.parametrize(
    "what, limit_s", [("do_crash", 60.0), pytest.param("do_hang", 5.0, marks=pytest.mark.slow)]
)
def test_a_row_that_ends_it_pauses_its_box(
    makai_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, what: str, limit_s: float
) -> None:
    """Pauses have no end here, so the other Box is judged only if the plug-in is not paused for all."""
    for module in (failure_guard, supervisor):
        monkeypatch.setattr(module, "PAUSES_S", (1e9,))
    house = makai_with()
    bad, good, counters = house.box("4"), house.box("10"), house.service.counters
    install(house, "1.0.0", limit=0.0)
    send_until(house, bad, lambda: counters.of("decisions", "rms"))
    for _ in range(2):
        monkeypatch.setattr(remote, "DECIDE_S", limit_s)
        crashes = counters.of("plugin_crashes", "loud")
        bad.pub.send_multipart(told(bad, 90_000, **{what: 1.0}))
        if not crashes:
            house.wait_for(lambda: counters.of("plugin_crashes", "loud") == 1)
        monkeypatch.setattr(remote, "DECIDE_S", 60.0)
        before = counters.of("decisions", "rms")
        send_until(house, good, lambda before=before: counters.of("decisions", "rms") > before)
    assert counters.of("plugin_crashes", "loud") == 1
    assert "paused for Box 4" in part(house).info
    status = house.ask("GET", "/plugins/triggers/loud/status")
    assert status["crashes"] == 1 and status["status"] == "running"


@pytest.mark.slow  # test_plugins_judging.py always withdraws such a version
def test_a_version_that_crashes_is_rolled_back(
    makai_with: Callable[..., Any],
) -> None:
    """It crashes at once, while Measurements arrive."""
    house = makai_with()
    box, counters = house.box("4"), house.service.counters
    install(house, "1.0.0", limit=0.0, metric="one")
    with flowing(box):
        house.wait_for(lambda: counters.of("decisions", "one"))
        install(
            house, "1.0.1", code=TRIGGER.replace("    metrics = measurement.metrics\n", "    os._exit(3)\n")
        )
        house.wait_for(lambda: house.ask("GET", "/plugins/triggers/loud/status")["version"] == "1.0.0")
        before = counters.of("decisions", "one")
        house.wait_for(lambda: counters.of("decisions", "one") > before)
    assert "taken back to 1.0.0" in house.ask("GET", "/plugins/triggers/loud/status")["errMsg"]
    assert part(house).info.startswith("1.0.0")


def test_a_new_version_is_shown_the_past(tmp_path: Path) -> None:
    """Also if the version before was paused."""
    plugins = Plugins(tmp_path, Policy(trusted=frozenset({"loud"})))
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, mode="inproc"))
    inside = plugins.trigger("loud")()
    inside.configure({})
    trigger, nominal = InstalledTrigger(inside, ServiceCounters(), log.get()), Nominal(120.0, 60.0)
    for _ in range(3):
        assert decision_of(trigger, measured(do_raise=1.0), nominal) is None
    assert not trigger.health().ok
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, "1.0.1", mode="inproc"))
    assert trigger.begins
    trigger.begin_again()
    again = replace(measured(140.0), timestamp_ms=1)
    assert decision_of(trigger, again, nominal, again=True) is not None and not trigger.begins
    decision = decision_of(trigger, measured(140.0), nominal)
    assert decision is not None and decision.because == "1 before, 120 V" and trigger.health().ok
    plugins.close()


def put_dips(house: Any, version: str, mode: str = "process") -> None:
    """Makai's own threshold as an installed trigger, which fails where a metric says so."""
    code = (Path(triggers.__file__).parent / "threshold.py").read_text()
    code = code.replace('name = "threshold"', 'name = "dips"')
    code += FAILING
    files = {"plugin.json": manifest("dips", version, kind="trigger", mode=mode), "triggers/dips.py": code}
    url = stored(house.uploads, zipped(files))
    house.ask("POST", "/plugins/triggers", {"name": "dips", "file": url}, 201)


def test_a_new_version_without_state_sees_the_dip(makai_with: Callable[..., Any]) -> None:
    house = makai_with()
    box, counters = house.box("4"), house.service.counters
    put_dips(house, "1.0.0")
    send_until(house, box, lambda: counters.total("received"))
    for k in range(200_000, 200_012):  # 2.4 s: longer than what is asked for at the onset
        if k == 200_006:
            house.wait_for(lambda: counters.total("triggers") == 1)
            put_dips(house, "1.0.1")
        box.pub.send_multipart(told(box, k, 70.0))
    for k in range(200_012, 200_016):
        box.pub.send_multipart(told(box, k))
    house.wait_for(lambda: counters.total("completions") == 1)
    assert counters.total("triggers") == 1 and counters.total("not_judged") == 0


@pytest.mark.parametrize(
    "how",
    [
        "is killed",
        pytest.param("crashes", marks=pytest.mark.slow),
        pytest.param("raises in a worker", marks=pytest.mark.slow),
        "raises in process",
    ],
)
def test_a_trigger_that_fails_is_shown_the_dip(makai_with: Callable[..., Any], how: str) -> None:
    """It fails within a dip and gets the dip again."""
    house = makai_with(trusted=("dips",))
    box, counters = house.box("4"), house.service.counters
    put_dips(house, "1.0.0", "inproc" if how == "raises in process" else "process")
    send_until(house, box, lambda: counters.total("received"))
    for k in range(200_000, 200_012):
        wrong = {}
        if k == 200_006:
            house.wait_for(lambda: counters.total("triggers") == 1)
            if how == "is killed":
                pid = house.ask("GET", "/plugins/triggers/dips/status")["pid"]
                os.kill(pid, signal.SIGKILL)
                house.wait_for(lambda pid=pid: up_again(house, pid))
            else:
                wrong = {"do_crash" if how == "crashes" else "do_raise": 1.0}
        box.pub.send_multipart(told(box, k, 70.0, **wrong))
        if wrong:
            house.wait_for(lambda: counters.total("not_judged") == 1)
            house.wait_for(lambda: part(house, "plugin dips").ok)
    for k in range(200_012, 200_016):
        box.pub.send_multipart(told(box, k))
    house.wait_for(lambda: counters.total("completions") == 1)
    on_their_way = 6 if how == "is killed" else 1  # Measurements, when the process went
    assert counters.total("triggers") == 1 and counters.total("not_judged") <= on_their_way


class Restarting:
    """A trigger in a worker, seen from Makai: a threshold at 100 V, and a process that may be away."""

    symbol, version, mode, up, begins_again, forgot = "t", "1.0.0", "process", True, False, False
    dies = low = False

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        if self.dies:
            self.dies = self.up = self.low = False
            raise WorkerEndedError("exit code 9")
        low, self.low, self.forgot = self.low, measurement.metrics["rms"].min < 100.0, False
        return Decision("rms", 70.0, 100.0, "t: low") if self.low and not low else None

    def forget(self) -> None:
        self.low = self.forgot = False


def test_a_dip_begun_without_its_process_has_onset() -> None:
    """A Measurement that was not judged does not count as judged: its onset has no event yet."""
    worker, nominal = Restarting(), Nominal(120.0, 60.0)
    trigger = InstalledTrigger(worker, ServiceCounters(), log.get())  # type: ignore[arg-type]
    past: list[Measurement] = []
    onsets = []
    for k in range(8):
        row = replace(
            measured(1.0), timestamp_ms=1000 * k, metrics={"rms": Metric(*[70.0 if k >= 3 else 120.0] * 3)}
        )
        worker.dies = k == 2
        if k == 5:  # it is there again
            worker.up = worker.forgot = True
        if trigger.begins:
            trigger.begin_again()
            assert not [row for row in past if decision_of(trigger, row, nominal, again=True)]
        onsets += [k] if decision_of(trigger, row, nominal) else []
        past.append(row)
    assert onsets == [5]


def test_idle_time_does_not_use_the_share() -> None:
    """Time in which no Box waits does not count."""
    now = [0.0]
    mine = TimeShare(lambda: now[0])
    for _ in range(1000):  # 0.4 of the time, and nothing else to do
        now[0] += 1.0
        mine.spend(0.4)
        mine.add_idle(0.6)
    assert mine.left
    for _ in range(200):
        now[0] += 1.0
        mine.spend(0.4)
    assert not mine.left


def up_again(house: Any, before: int) -> bool:
    return bool(house.ask("GET", "/plugins/triggers/dips/status")["pid"] not in (0, before))


def test_a_slow_trigger_is_limited_to_its_share(
    makai_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_plugins, "MAX_S", 0.3)
    house = makai_with(PluginEntry(name="threshold"), trusted=("loud",))
    box, counters = house.box("4"), house.service.counters
    line = "    metrics = measurement.metrics\n"
    slow = TRIGGER.replace(line, "    time.sleep(0.2)\n    return None, seen\n")
    install(house, "1.0.0", code=slow, mode="inproc")
    send_until(house, box, lambda: counters.of("not_judged", "loud") >= 5)
    before = counters.total("received")
    for k in range(100):
        box.pub.send_multipart(told(box, k))
    house.wait_for(lambda: counters.total("received") >= before + 100)
    assert counters.of("not_judged", "loud") >= 50 and counters.of("not_judged", "threshold") == 0
    send_until(house, box, lambda: "too slow: it has 30% of the time" in part(house).info)
    install(house, "1.0.1", limit=1e6)
    send_until(house, box, lambda: part(house).ok)


def test_a_failing_trigger_is_shown_the_past_rarely() -> None:
    """It never gets the Measurement at which it failed: that would be one more failure."""
    now, seen = [0.0], list[float]()

    class Failing:
        def decide(self, measurement: Any, nominal: Nominal) -> None:
            seen.append(measurement.metrics["rms"].max)
            if measurement.metrics["rms"].max > 100.0:
                raise WorkerAbsentError("its process did not begin")

        def forget(self) -> None:
            seen.clear()

        def forget_box(self, box_id: str) -> bool:
            return True

    trigger = TriggerPlugin("t", Failing(), ServiceCounters(), log.get(), lambda: now[0])
    nominal = Nominal(120.0, 60.0)
    assert not trigger.begins
    past = [measured(1.0), measured(200.0), measured(2.0)]
    past = [replace(row, timestamp_ms=row.timestamp_ms + k) for k, row in enumerate(past)]
    decision_of(trigger, past[1], nominal)
    assert trigger.begins
    trigger.begin_again()
    for row in past:
        decision_of(trigger, row, nominal, again=True)
    assert seen == [1.0, 2.0] and not trigger.begins
    decision_of(
        trigger, replace(past[1], timestamp_ms=1), nominal, again=True
    )  # it fails in its past as well
    assert not trigger.begins
    now[0] = SHOWN_AGAIN_S
    assert trigger._guard.paused or trigger.begins


@pytest.mark.parametrize("alone", [True, False])
def test_what_forgets_all_is_shown_the_past(alone: bool) -> None:
    worker: Any = SimpleNamespace(forget_box=lambda box_id: alone)
    trigger = TriggerPlugin("t", worker, ServiceCounters(), log.get())
    trigger.forget_box("4")
    assert trigger.begins is not alone


def test_the_configuration_may_set_installed_triggers(makai_with: Callable[..., Any], tmp_path: Path) -> None:
    plugins = Plugins(tmp_path / "rules")
    plugins.create("trigger", "loud", trigger_zip(plugins.uploads, limit=1e6))
    plugins.close()
    house = makai_with(PluginEntry(name="loud", settings={"limit": 100.0}), PluginEntry(name="edge_rule"))
    box = house.box("4")
    send_until(house, box, lambda: house.service.counters.of("decisions", "rms"))
    refused = house.ask("DELETE", "/plugins/triggers/loud", code=400)
    assert "used by triggering_service.plugins" in str(refused)
    wrong = TRIGGER.replace("    limit:", "    most:").replace("config.limit", "config.most")
    body = {"name": "loud", "file": trigger_zip(house.uploads, "1.0.1", code=wrong)}
    assert "unknown key" in str(house.ask("POST", "/plugins/triggers", body, 400))
    house.ask("DELETE", "/plugins/triggers/loud?force=true")
    assert part(house) is None
    install(house, "1.0.0", limit=1e6)
    before = house.service.counters.of("decisions", "rms")
    send_until(house, box, lambda: house.service.counters.of("decisions", "rms") > before)


def test_a_built_in_trigger_keeps_its_name(makai_with: Callable[..., Any]) -> None:
    house = makai_with()
    code = TRIGGER.replace('name = "loud"', 'name = "threshold"').replace("@LIMIT@", "0.0")
    files = {"plugin.json": manifest("mine", kind="trigger", symbols={"triggers": ["threshold"]})}
    url = stored(house.uploads, zipped(files | {"triggers/threshold.py": code}))
    refused = house.ask("POST", "/plugins/triggers", {"name": "mine", "file": url}, 400)
    assert "built in" in str(refused)


def test_an_unknown_trigger_is_reported_at_the_start(tmp_path: Path) -> None:
    """A plug-in that is neither built in nor installed is reported at the start."""
    for enabled, why in ((True, "'lound' is not there; built in: .*threshold"), (False, "lound")):
        shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
        config = TriggeringServiceSection(
            plugins=(PluginEntry(name="lound"),),
            rules=CloudRulesSection(enabled=enabled, http_endpoint="127.0.0.1:0"),
        )
        with pytest.raises(ConfigError, match=why):
            TriggeringService(config, shared, Nominal(120.0, 60.0), tmp_path).run(threading.Event())
        shared.close()
