"""`makai_config` of the store, followed while Makai runs: limits of all Boxes, of single ones, and none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judged_triggers import decision_of

import opq_cloud.makai as makai_room
from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.makai.judging import limits_follower
from opq_cloud.makai.judging.limits_follower import limits_of
from opq_cloud.makai.judging.trigger_settings import (
    built_in_triggers,
    setting_problems,
    shown_setting,
    trigger_settings,
)
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_plugins.package.built_in import load
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric

TRIGGERS = Path(makai_room.__file__).parent / "triggers"
AT_120 = Nominal(120.0, 60.0)
NARROW = TriggeringLimits(percent_v_low=2.5, percent_v_high=2.5)


def rms(low: float, box_id: str = "1", at_ms: int = 1000) -> Measurement:
    return Measurement(box_id, at_ms, {"rms": Metric(low, max(low, 120.0), 120.0)})


def threshold(**settings: object) -> TriggerModule:
    plugin = load("trigger", "threshold", settings, [TRIGGERS])
    return TriggerModule(plugin.module, plugin.config)


def with_limits(trigger: TriggerModule, config: MakaiConfig | None) -> None:
    trigger.config = replace(trigger.config, boxes={} if config is None else limits_of(config))


def onset(trigger: TriggerModule, measurement: Measurement) -> bool:
    decision = decision_of(trigger, measurement, AT_120)
    return decision is not None and decision.span_ns is None


def test_an_override_is_for_one_box() -> None:
    """Without it the default holds again."""
    trigger = threshold()
    with_limits(trigger, MakaiConfig(NARROW, {"2": TriggeringLimits(percent_v_low=20.0)}))
    assert onset(trigger, rms(116.9)) and not onset(trigger, rms(100.0, "2"))
    assert onset(trigger, rms(95.9, "2"))
    assert not onset(trigger, rms(120.0, "2"))
    with_limits(trigger, MakaiConfig(NARROW))
    assert onset(trigger, rms(116.9, "2"))
    with_limits(trigger, None)  # the settings again: 90 %
    assert not onset(trigger, rms(120.0, "3")) and not onset(trigger, rms(110.0, "3"))


def test_a_dip_stays_one_over_new_limits() -> None:
    """The limits change during the dip."""
    trigger = threshold()
    assert onset(trigger, rms(80.0))
    with_limits(trigger, MakaiConfig(NARROW))
    assert not onset(trigger, rms(80.0))
    assert not onset(trigger, rms(119.0))  # half of the way back: it is over
    assert onset(trigger, rms(116.0))


def test_a_removed_frequency_limit_is_not_passed() -> None:
    """No frequency exceeds a limit that was removed."""
    trigger = threshold()
    slow = Measurement("1", 1000, {"f": Metric(59.0, 59.1, 59.0)})
    with_limits(trigger, MakaiConfig(NARROW))
    assert onset(trigger, slow) and not onset(trigger, slow)
    with_limits(trigger, None)
    assert not onset(trigger, slow)
    with_limits(trigger, MakaiConfig(NARROW))
    assert onset(trigger, slow)


def test_limits_of_boxes_are_settings() -> None:
    """A misspelt one is named."""
    trigger = threshold(boxes={"7": {"dip_v": 50.0}})
    assert (
        onset(trigger, rms(100.0)) and not onset(trigger, rms(60.0, "7")) and onset(trigger, rms(49.0, "7"))
    )
    with pytest.raises(PluginError, match="boxes  dip_percent: unknown; want dip_v"):
        threshold(boxes={"7": {"dip_percent": 50.0}})


def flickering(swing_v: float, at_s: int) -> Measurement:
    return Measurement("1", 1000 * at_s, {"rms": Metric(120 - swing_v / 2, 120 + swing_v / 2, 120.0)})


def test_a_triggers_settings_hold_from_the_next_measurement() -> None:
    triggers = TriggersInUse(TriggeringConfig(), ServiceCounters(), log.get())
    [trigger] = [each for each in triggers.all if each.name == "flicker"]
    own = MakaiConfig(TriggeringLimits(), triggers={"flicker": {"swing_percent": 4.0}}, limited=False)

    def onsets(first_s: int) -> int:
        rows = [flickering(3.0, first_s + at_s) for at_s in range(5)]  # 2.5 %
        return sum(decision_of(trigger, each, AT_120) is not None for each in rows)

    triggers.use_makai_config(own)
    assert onsets(0) == 0
    triggers.use_makai_config(None)  # 0.9 % again
    assert onsets(100) == 1
    assert not any(part.name.startswith("makai_config") for part in triggers.health())


def test_an_invalid_setting_is_named_and_ignored() -> None:
    """The configured one stays in force."""
    settings = TriggeringConfig(triggers={"flicker": {"swing_percent": 2.0}})
    triggers = TriggersInUse(settings, ServiceCounters(), log.get())
    [trigger] = [each for each in triggers.all if each.name == "flicker"]
    wrong = {"flicker": {"swing_percent": 500.0}, "unknown": {"a": 1}, "sql": {"sql": "SELECT 1"}}
    triggers.use_makai_config(MakaiConfig(TriggeringLimits(), triggers=wrong, limited=False))
    running = trigger._trigger
    assert isinstance(running, TriggerModule) and running.config.swing_percent == 2.0
    said = {part.name: part.info or "" for part in triggers.health() if not part.ok}
    assert said.keys() == {"makai_config flicker", "makai_config unknown", "makai_config sql"}
    assert "swing_percent  is 500.0; want from 0.05 to 20" in said["makai_config flicker"]


def test_a_steady_state_stays_one_over_new_settings() -> None:
    """The settings change during it."""
    plugin = load("trigger", "steady_state", {}, [TRIGGERS])
    trigger = TriggerModule(plugin.module, plugin.config)

    def thd(ratio: float, at_ms: int) -> bool:
        decision = decision_of(trigger, Measurement("1", at_ms, {"thd": Metric(ratio, ratio, ratio)}), AT_120)
        return decision is not None and decision.span_ns is None

    assert thd(0.06, 1000)
    trigger.config = replace(plugin.config, thd_percent=3.0)
    assert not thd(0.06, 2000) and not thd(0.01, 3000)
    assert thd(0.04, 60_000)


def test_every_trigger_setting_is_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "makai-settings.md").read_text()
    rows = [each for name in built_in_triggers() for each in trigger_settings(name)]
    lines = ["| trigger | setting | default | allowed | what |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{each.trigger}` | `{each.name}` | {shown_setting(each.default)} | {each.allowed} | {each.help} |"
        for each in rows
    ]
    assert "\n".join(lines) + "\n" in page
    assert setting_problems("frequency", {"deviation_percent": 0.4, "low_hz": None}) == []
    assert setting_problems("frequency", {"deviation": 1}) == [
        'deviation  unknown key; did you mean "deviation_percent"?'
    ]


@pytest.fixture
def running(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Any, CloudStore]]:
    monkeypatch.setattr(limits_follower, "READ_S", 0.02)
    store = open_store(None, tmp_path / "store")
    brokers = makai.brokers()
    config = TriggeringConfig(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
    )
    service = TriggeringService(config, CloudContext(lambda: store), AT_120)
    with makai.running(brokers.triggering), makai.running(service):
        yield makai, service, store
    store.close()


def test_a_running_makai_follows_the_store(running: Any) -> None:
    makai, service, store = running
    [trigger] = [each for each in service._triggers.all if each.name == "threshold"]

    def limit() -> Any:
        return trigger._trigger.config.boxes.get("9", {}).get("dip_v")

    assert service._follower.health() == []
    store.put_makai_config(MakaiConfig(NARROW, {"9": TriggeringLimits(ref_v=100.0, percent_v_low=10.0)}))
    makai.wait_for(lambda: limit() == 90.0)
    assert "1 overrides" in service._follower.health()[0].info
    store.put_makai_config(MakaiConfig(NARROW))
    makai.wait_for(lambda: limit() is None and "*" in trigger._trigger.config.boxes)
    store.put_makai_config(None)
    makai.wait_for(lambda: trigger._trigger.config.boxes == {})
    settings = {"threshold": {"dip_percent": 80.0}}
    store.put_makai_config(MakaiConfig(TriggeringLimits(), triggers=settings, limited=False))
    makai.wait_for(lambda: trigger._trigger.config.dip_percent == 80.0)
    assert service._follower.health()[0].info == "settings of threshold"


def test_a_trigger_is_switched_while_makai_runs() -> None:
    off_by_itself = TriggeringConfig(triggers={"flicker": {"enabled": False, "swing_percent": 4.0}})
    triggers = TriggersInUse(off_by_itself, ServiceCounters(), log.get())

    def switch(**enabled: object) -> list[str]:
        tables = {name: {"enabled": value} for name, value in enabled.items()}
        triggers.use_makai_config(MakaiConfig(TriggeringLimits(), triggers=tables, limited=False))  # type: ignore[arg-type]
        return [each.name for each in triggers.all]

    def said() -> dict[str, str]:
        return {part.name: part.info or "" for part in triggers.health()}

    own = [each.name for each in triggers.all]
    assert "threshold" in own and "flicker" not in own and said()["plugin flicker"] == "off"
    running = switch(threshold=False, flicker=True, napali=True)
    assert set(running) == {*own, "flicker", "napali"} - {"threshold"}
    [flicker] = [each for each in triggers.all if each.name == "flicker"]
    module = flicker._trigger
    assert isinstance(module, TriggerModule) and module.config.swing_percent == 4.0
    assert flicker.begins  # it is shown the last minutes
    assert said()["plugin threshold"] == "off" and "plugin sql" not in said()
    assert set(switch(threshold=True)) == set(own)  # without a wish it is off again
    [threshold] = [each for each in triggers.all if each.name == "threshold"]
    assert threshold.begins and not any(name.startswith("makai_config") for name in said())
    assert set(switch(flicker="yes", unknown=True, sql=True)) == set(own)
    assert "want true or false" in said()["makai_config flicker"]
    assert "not available" in said()["makai_config unknown"] and "SELECT" in said()["makai_config sql"]
    triggers.use_makai_config(None)
    assert [each.name for each in triggers.all] == own
