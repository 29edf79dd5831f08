"""Measurements as columns: triggers, trends and Box register come to the same as with the objects."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import opq_cloud.makai as makai_room
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.judging.batch_rows import unflagged
from opq_cloud.makai.judging.excursions import is_flagged
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_plugins.package.built_in import available, load
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements, joined
from opq_proto.messages import Measurement, TimeSource

TRIGGERS = Path(makai_room.__file__).parent / "triggers"
S = 10**9
START_NS = 1_765_792_486_013_456_789
BOXES, NOMINALS = ("1", "2", "30"), (Nominal(120.0, 60.0), Nominal(120.0, 60.0), Nominal(230.0, 50.0))


def second(number: int, percent: list[float] | None = None, seed: int = 0) -> Measurements:
    """A Measurement of each of three Boxes, its rms so many percent of nominal."""
    draw = np.random.default_rng((seed, number))
    nominal = np.array([[each.hz, each.volts, 1.0, each.volts] for each in NOMINALS])
    level = np.array([[1.0, (percent or [100.0] * 3)[box] / 100, 0.02, 0.01] for box in range(3)])
    spread = np.array([-1e-4, 1e-4, 0.0]) * draw.uniform(0, 1, (3, 4, 1))
    metrics = ((nominal * level)[:, :, np.newaxis] * (1 + spread)).astype(np.float32)
    end_ns = START_NS + number * S + draw.integers(0, 20_000_000, 3)
    return Measurements.of_windows(
        BOXES, NOMINALS, np.arange(3, dtype=np.int64), end_ns - S + 5, end_ns, metrics, 100, TimeSource.GPS
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
def test_a_batch_is_judged_as_its_rows_alone(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(available([TRIGGERS]).keys() - {"sql", "lua"})))
    config = data.draw(st.sampled_from(SETTINGS.get(name, [{}])))
    plugin = load("trigger", name, config, [TRIGGERS])
    together, alone = (TriggerModule(plugin.module, plugin.config) for _ in range(2))
    for number in range(data.draw(st.integers(1, 6))):
        columns = second(number, data.draw(st.lists(levels, min_size=3, max_size=3)), number)
        found = [
            (at, decision)
            for at in range(len(columns))
            for _, decision in alone.judge(columns.part(np.array([at])))
        ]
        assert together.judge(columns) == found
        assert _memory(together) == _memory(alone)


def _memory(module: TriggerModule) -> Any:
    state = module._state
    return (state.passed, state.recovered) if hasattr(state, "passed") else state


def test_a_lasting_limit_is_flagged_alike_in_columns() -> None:
    """A constant voltage beyond a limit is flagged neither in rows nor in columns."""
    percent = [(99.9, 100.1), (65.0, 100.0), (112.0, 112.1), (108.0, 112.0), (86.0, 87.0), (1.0, 1.1)]
    for first in (0, 3):
        metrics = second(0).metrics.copy()
        for box, (low, high) in enumerate(percent[first : first + 3]):
            volts = NOMINALS[box].volts
            metrics[box, 1] = low / 100 * volts, high / 100 * volts, (low + high) / 200 * volts
        columns = replace(second(0), metrics=metrics)
        rows = zip(columns.rows(), NOMINALS, strict=True)
        told = [not is_flagged(row.metrics["rms"], nominal) for row, nominal in rows]
        assert told == ([True, False, True] if first == 0 else [False, True, False])
        assert unflagged(columns).tolist() == told


def test_default_triggers_read_only_unusual_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No default trigger examines a calm second; each second of a dip is examined."""
    looked: list[int] = []
    one = Measurements.row

    def looked_at(self: Measurements, at: int) -> Measurement:
        looked.append(at)
        return one(self, at)

    monkeypatch.setattr(Measurements, "row", looked_at)
    for entry in TriggeringServiceSection().plugins:
        plugin = load("trigger", entry.name, entry.settings, [TRIGGERS])
        trigger = TriggerModule(plugin.module, plugin.config)
        assert trigger.judge(second(0)) == []
        looked.clear()
        assert trigger.judge(second(1)) == [] and looked == [], entry.name
        trigger.judge(second(2, [100.0, 89.0, 111.0]))
        assert looked == [1, 2] or entry.name != "threshold"


def test_boxes_of_columns_are_heard_with_their_windows() -> None:
    now_s = [0.0]
    boxes = BoxRegister(Nominal(120.0, 60.0), lambda: now_s[0])
    for number in range(5):
        now_s[0] = float(number)
        boxes.note_columns(second(number))
    now_s[0] = 10.9
    assert boxes.alive(5.0) == () and boxes.alive(6.0) == ("1", "2", "30")
    assert boxes.longest_alive_ns(10.0) == S - 5


def test_columns_give_every_field_of_their_measurements() -> None:
    columns = second(3)
    first = columns.rows()[2]
    assert isinstance(first, Measurement)
    assert (first.box_id, first.nominal_v, first.nominal_hz) == ("30", 230.0, 50.0)
    assert first.end_ns == int(columns.end_ns[2]) and first.start_ns == int(columns.start_ns[2])
    assert first.timestamp_ms == round(int(columns.end_ns[2]) / 1e6)
    assert first.metrics["rms"].max == float(columns.metrics[2, 1, 1])
    assert (first.uncertainty_ns, first.source, first.sequence) == (100, TimeSource.GPS, None)


@settings(max_examples=60)
@given(st.lists(st.sampled_from([1.0, 1.0, 1.0, -7.4, -70.0, -0.6, 25.0]), min_size=5, max_size=40))
def test_repeated_minutes_are_found_in_any_batch(steps_s: list[float]) -> None:
    """The clocks of all Boxes are set back and forth; the same minutes are made again in each case."""
    of_rows, of_rounds, at_once = Trends(), Trends(), Trends()
    at_s, parts = 0.0, []
    for number, step_s in enumerate(steps_s):
        at_s += step_s
        one = second(number, seed=3)
        shift_ns = round((at_s - number) * S)
        end_ns = one.end_ns + shift_ns
        moved = replace(one, start_ns=one.start_ns + shift_ns, end_ns=end_ns)
        parts.append(replace(moved, timestamp_ms=(end_ns + 500_000) // 1_000_000))
    for part in parts:
        of_rounds.add(part, 1.0)
        for at in range(len(part)):
            of_rows.add(part.part(np.array([at])), 1.0)
    at_once.add(*joined(parts), 1.0)
    found = [
        sorted(each.over(1e3), key=lambda pair: (pair[0].box_id, pair[0].start_ms))
        for each in (of_rows, of_rounds, at_once)
    ]
    assert found[0] == found[1] == found[2] != []
