"""Measurements as columns: triggers, trends and Box register come to the same as with the objects."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import opq_cloud.makai as makai_room
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai import TriggeringServiceSection
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.judging.excursions import is_flagged
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.quiet_rows import unflagged
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.measurements.minute_columns import MAX_MINUTES
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.openings import EventOpenings
from opq_plugins.package.built_in import available, load
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Nominal
from opq_proto.kit import log
from opq_proto.messages import Measurement, TimeSource
from opq_proto.wire.measurement_columns import MeasuredBoxes, MeasurementColumns, joined_columns

TRIGGERS = Path(makai_room.__file__).parent / "triggers"
S = 10**9
START_NS = 1_765_792_486_013_456_789
BOXES = MeasuredBoxes(("1", "2", "30"), (Nominal(120.0, 60.0), Nominal(120.0, 60.0), Nominal(230.0, 50.0)))


def second(number: int, percent: list[float] | None = None, seed: int = 0) -> MeasurementColumns:
    """A Measurement of each of three Boxes, its rms so many percent of nominal."""
    draw = np.random.default_rng((seed, number))
    nominal = np.array([[each.hz, each.volts, 1.0, each.volts] for each in BOXES.nominals])
    level = np.array([[1.0, (percent or [100.0] * 3)[box] / 100, 0.02, 0.01] for box in range(3)])
    spread = np.array([-1e-4, 1e-4, 0.0]) * draw.uniform(0, 1, (3, 4, 1))
    metrics = ((nominal * level)[:, :, np.newaxis] * (1 + spread)).astype(np.float32)
    end_ns = START_NS + number * S + draw.integers(0, 20_000_000, 3)
    return MeasurementColumns(
        BOXES, np.arange(3, dtype=np.int64), end_ns - S + 5, end_ns, metrics, 100, TimeSource.GPS
    )


near = st.sampled_from([-1e-3, -1e-5, -1e-6, 0.0, 1e-6, 1e-5, 1e-3])
levels = st.one_of(
    st.floats(85, 115, width=32),
    st.tuples(st.sampled_from([90.0, 92.0, 108.0, 110.0]), near).map(sum),
)
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "threshold": [
        {},
        {"low_hz": 59.9, "high_hz": 60.1},
        {"thd_ratio": 0.02, "trans_v": 1.2},
        {"dip_percent": 100, "swell_percent": 100},
    ],
    "statistical": [{"warm_up_windows": 20}],
}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_quiet_trigger_says_nothing_to_any_of_them_and_forgets_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(available([TRIGGERS]))))
    config = data.draw(st.sampled_from(SETTINGS.get(name, [{}]))) if name not in ("sql", "lua") else None
    if config is None:
        return
    plugin = load("trigger", name, config, [TRIGGERS])
    asked, by_one = (TriggerModule(plugin.module, plugin.config) for _ in range(2))
    asked.configure(config)
    by_one.configure(config)
    for number in range(data.draw(st.integers(1, 6))):
        columns = second(number, data.draw(st.lists(levels, min_size=3, max_size=3)), number)
        rows = columns.measurements()
        decisions = [by_one.decide(row, BOXES.nominals[at]) for at, row in enumerate(rows)]
        if asked.is_quiet(columns):
            assert decisions == [None] * 3
            asked.note_quiet(columns)
        else:
            for at, row in enumerate(rows):
                asked.decide(row, BOXES.nominals[at])
        assert _memory(asked) == _memory(by_one)


def _memory(module: TriggerModule) -> Any:
    state = module._state
    return (state.passed, state.recovered) if hasattr(state, "passed") else state


def test_a_voltage_that_stands_beyond_a_limit_is_not_flagged_one_by_one_or_in_columns() -> None:
    percent = [(99.9, 100.1), (65.0, 100.0), (112.0, 112.1), (108.0, 112.0), (86.0, 87.0), (1.0, 1.1)]
    for first in (0, 3):
        metrics = second(0).metrics.copy()
        for box, (low, high) in enumerate(percent[first : first + 3]):
            volts = BOXES.nominals[box].volts
            metrics[box, 1] = low / 100 * volts, high / 100 * volts, (low + high) / 200 * volts
        columns = replace(second(0), metrics=metrics)
        rows = zip(columns.measurements(), BOXES.nominals, strict=True)
        told = [not is_flagged(row.metrics["rms"], nominal) for row, nominal in rows]
        assert told == ([True, False, True] if first == 0 else [False, True, False])
        assert unflagged(columns).tolist() == told


def test_a_calm_second_is_quiet_for_the_default_triggers_and_a_dip_is_not() -> None:
    for entry in TriggeringServiceSection().plugins:
        plugin = load("trigger", entry.name, entry.settings, [TRIGGERS])
        trigger = TriggerModule(plugin.module, plugin.config)
        trigger.configure(entry.settings)
        assert trigger.is_quiet(second(0)), entry.name
        if entry.name == "threshold":
            assert not trigger.is_quiet(second(1, [100.0, 89.0, 100.0]))
            assert not trigger.is_quiet(second(1, [100.0, 100.0, 111.0]))


def judge(heard_s: list[float], plugins: tuple[PluginEntry, ...]) -> tuple[MeasurementJudge, BoxRegister]:
    section = replace(TriggeringServiceSection(), plugins=plugins)
    counters = ServiceCounters()
    boxes = BoxRegister(Nominal(120.0, 60.0), lambda: heard_s[0])
    openings = EventOpenings(section, "test", boxes, counters)
    triggers = TriggersInUse(section, counters, log.get())
    return MeasurementJudge(boxes, triggers, openings, lambda: heard_s[0]), boxes


def test_boxes_of_quiet_columns_are_heard_with_their_windows() -> None:
    now_s = [0.0]
    plugins = TriggeringServiceSection().plugins
    (at_once, noted), (one_by_one, judged) = judge(now_s, plugins), judge(now_s, plugins)
    for number in range(5):
        now_s[0] = float(number)
        columns = second(number)
        assert at_once.judge_quiet(columns) or not number, "a trigger begins with the first that it judges"
        for row in columns.measurements():
            one_by_one.judge(row)
            if not number:
                at_once.judge(row)
    assert noted.health() == judged.health()
    now_s[0] = 10.9
    assert noted.alive(6.0) == judged.alive(6.0) == ("1", "2", "30")
    assert noted.longest_alive_ns(10.0) == judged.longest_alive_ns(10.0)


@pytest.mark.parametrize("plugin", ["sql", "no number"])
def test_where_a_trigger_cannot_say_it_each_is_judged(plugin: str) -> None:
    sql = PluginEntry(name="sql", settings={"sql": "SELECT box, thd FROM boxes WHERE thd > 0.08"})
    default = TriggeringServiceSection().plugins
    judging, _ = judge([0.0], (*default, sql) if plugin == "sql" else default)
    columns = second(0)
    for row in columns.measurements():
        judging.judge(row)
    columns = second(1)
    if plugin == "no number":
        columns.metrics[1, 0, 2] = np.nan
    assert not judging.judge_quiet(columns)


def test_trends_of_columns_are_those_of_their_measurements_to_the_last_bit() -> None:
    of_columns, of_rows = Trends(), Trends()
    parts = [second(number, seed=7) for number in range(150)]
    for begin, end in ((0, 1), (1, 47), (47, 130), (130, 150)):
        came_s = np.arange(begin, end, dtype=np.float64).repeat(3)
        for number in range(begin, end):
            for row in parts[number].measurements():
                of_rows.add(row, float(number))
        if end == 47:  # both ways in one minute
            for number in range(begin, end):
                for row in parts[number].measurements():
                    of_columns.add(row, float(number))
        else:
            of_columns.add_columns(joined_columns(parts[begin:end]), came_s)
        assert _sorted(of_columns, float(end)) == _sorted(of_rows, float(end))
    assert _sorted(of_columns, 1e3) == _sorted(of_rows, 1e3) != []


def _sorted(trends: Trends, now_s: float) -> list[Any]:
    return sorted(trends.over(now_s), key=lambda each: (each[0].box_id, each[0].start_ms))


def test_columns_give_every_field_of_their_measurements() -> None:
    columns = second(3)
    first = columns.measurements()[2]
    assert isinstance(first, Measurement)
    assert (first.box_id, first.nominal_v, first.nominal_hz) == ("30", 230.0, 50.0)
    assert first.end_ns == int(columns.end_ns[2]) and first.start_ns == int(columns.start_ns[2])
    assert first.timestamp_ms == round(int(columns.end_ns[2]) / 1e6)
    assert first.metrics["rms"].max == float(columns.metrics[2, 1, 1])
    assert (first.uncertainty_ns, first.source, first.sequence) == (100, TimeSource.GPS, None)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([1.0, 1.0, 1.0, -7.4, -70.0, -0.6, 25.0]), min_size=5, max_size=40), st.data()
)
def test_minutes_that_come_again_are_found_in_columns_as_in_single_measurements(
    steps_s: list[float], data: st.DataObject
) -> None:
    """The clock of all Boxes is set back and forth; which minutes are made again is the same."""
    of_rows, of_rounds, of_columns = Trends(), Trends(), Trends()
    at_s, parts = 0.0, []
    for number, step_s in enumerate(steps_s):
        at_s += step_s
        one = second(number, seed=3)
        shift_ns = round((at_s - number) * S)
        parts.append(replace(one, start_ns=one.start_ns + shift_ns, end_ns=one.end_ns + shift_ns))
    for part in parts:
        of_rounds.add_round(part, 1.0)
        for row in part.measurements():
            of_rows.add(row, 1.0)
    cut = data.draw(st.integers(1, len(parts) - 1))
    for some in (parts[:cut], parts[cut:]):
        of_columns.add_columns(joined_columns(some), np.full(3 * len(some), 1.0))
    wanted = sorted(of_rows.over(1e3), key=lambda each: (each[0].box_id, each[0].start_ms))
    assert _sorted(of_columns, 1e3) == wanted
    if len(wanted) <= 3 * MAX_MINUTES:
        assert _sorted(of_rounds, 1e3) == wanted
