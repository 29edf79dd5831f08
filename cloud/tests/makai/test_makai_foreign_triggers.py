"""Triggers of other people: a script in Lua by its path, and one that never comes back."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from judged_triggers import decision_of

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.judging import hang_watch
from opq_cloud.makai.judging.hang_watch import HangWatch
from opq_cloud.makai.judging.triggers_in_use import judged_triggers, load_triggers
from opq_plugins.host import failure_guard
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric

AT_120 = Nominal(120.0, 60.0)
DEEP = """
local most, told = 60, {}
function configure(settings) most = settings.most or most end
function decide(measurement, nominal)
  local rms = measurement.metrics.rms
  if not rms or rms.min >= most then told[measurement.box_id] = nil; return nil end
  if told[measurement.box_id] then return nil end
  told[measurement.box_id] = true
  return {metric = "rms", value = rms.min, limit = most, because = "below " .. most .. "/" .. nominal.volts}
end
"""


def rms(low: float, box_id: str = "1") -> Measurement:
    return Measurement(box_id, 1000, {"rms": Metric(low, 120.0, 119.0)})


def lua(path: Path, **settings: object) -> Any:
    entry = PluginEntry(name="lua", settings={"script_path": str(path), **settings})
    [plugin] = load_triggers([entry], ServiceCounters(), log.get())
    return plugin


def test_a_script_decides_remembers_and_takes_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "deep.lua"
    path.write_text(DEEP)
    trigger = lua(path, settings={"most": 100})
    assert decision_of(trigger, rms(101.0), AT_120) is None
    assert decision_of(trigger, rms(99.0), AT_120) == Decision("rms", 99.0, 100.0, "below 100/120.0")
    assert decision_of(trigger, rms(98.0), AT_120) is None
    assert decision_of(trigger, rms(98.0, "2"), AT_120) is not None


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (None, "cannot be read"),
        ("x = 1", "has no function decide"),
        ("function decide(", "does not load"),
        ("function decide() end function configure(s) error('no ' .. s.most) end", "no 100"),
    ],
)
def test_a_script_that_cannot_run_is_refused(tmp_path: Path, source: str | None, text: str) -> None:
    """Before anything starts."""
    path = tmp_path / "deep.lua"
    if source is not None:
        path.write_text(source)
    entry = PluginEntry(name="lua", settings={"script_path": str(path), "settings": {"most": 100}})
    with pytest.raises(ConfigError, match=text):
        judged_triggers(TriggeringConfig(plugins=(entry,)))


def test_a_looping_script_fails_in_its_call(tmp_path: Path) -> None:
    """So does one that returns nonsense; other calls go on."""
    path = tmp_path / "bad.lua"
    path.write_text(
        "function decide(m) if m.metrics.rms.min < 50 then while true do end end return {metric = 1} end"
    )
    trigger = lua(path, instructions=100_000)
    assert decision_of(trigger, rms(40.0), AT_120) is None and trigger._guard.crashes == 1
    assert decision_of(trigger, rms(60.0), AT_120) is None and trigger._guard.crashes == 2


def test_the_originals_form_names_a_script(tmp_path: Path) -> None:
    (tmp_path / "deep.lua").write_text(DEEP)
    script = {"path": "/usr/lib/libketos_plugin.so", "script_path": str(tmp_path / "deep.lua"), "most": 90}
    document = {"zmq_trigger_endpoint": "tcp://localhost:9881", "plugins": [script]}
    path = tmp_path / "makai.conf"
    path.write_text(json.dumps(document))
    config = read_config([path], notify=lambda notice: None).triggering_service
    assert [each.name for each in config.plugins] == ["lua"]
    assert config.plugins[0].settings == {"script_path": script["script_path"], "settings": {"most": 90}}
    judged_triggers(config)


HANGING = """
from dataclasses import dataclass
name = "hanging"
@dataclass(frozen=True)
class Config:
    pass
def begin(config):
    return None
def decide(measurement, nominal, config, state):
    while measurement.box_id == "1":
        pass
    return None, state
"""


def test_a_hanging_trigger_is_noticed_and_ended(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paused for the Box whose row hangs, without an end here, and judges the next row of another."""
    monkeypatch.setattr(hang_watch, "POLL_S", 0.02)
    monkeypatch.setattr(failure_guard, "PAUSES_S", (1e9,))
    (tmp_path / "hanging.py").write_text(HANGING)
    counters = ServiceCounters()
    [trigger] = load_triggers([PluginEntry(name="hanging")], counters, log.get(), [tmp_path])
    watch = HangWatch(counters, log.get())
    watch.start()
    try:
        assert decision_of(trigger, rms(100.0), AT_120) is None  # comes back at all
        assert counters.of("triggers_hung", "hanging") == 1
        assert counters.of("plugin_crashes", "hanging") == 1
        makai.wait_for(lambda: not watch.health())
        assert counters.of("not_judged", "hanging") == 1 and trigger.begins
        trigger.begin_again()
        assert decision_of(trigger, rms(100.0, "2"), AT_120) is None
        assert counters.of("not_judged", "hanging") == counters.of("plugin_crashes", "hanging") == 1
        assert decision_of(trigger, rms(100.0), AT_120) is None
        assert counters.of("not_judged", "hanging") == 2 and "paused for Box 1" in trigger.health().info
    finally:
        watch.close()


def test_a_trigger_blocked_in_a_library_is_reported(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it waits inside the library."""
    monkeypatch.setattr(hang_watch, "POLL_S", 0.02)
    (tmp_path / "hanging.py").write_text(
        HANGING.replace("pass\n    return", "WAIT.wait()\n        break\n    return")
    )
    counters = ServiceCounters()
    [trigger] = load_triggers([PluginEntry(name="hanging")], counters, log.get(), [tmp_path])
    trigger._trigger._module.WAIT = wait = threading.Event()
    asked: list[int] = []
    watch = HangWatch(counters, log.get(), asked.append)
    done = threading.Event()

    def work() -> None:
        watch.start()
        decision_of(trigger, rms(100.0), AT_120)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        [report] = makai.wait_for(watch.health)
        assert report.name == "trigger hanging hangs" and not report.ok
        makai.wait_for(lambda: asked == [thread.ident])
        wait.set()
        makai.wait_for(lambda: done.is_set() and not watch.health())
    finally:
        wait.set()
        thread.join()
        watch.close()
    assert counters.of("triggers_hung", "hanging") == 1 and asked == [thread.ident]
