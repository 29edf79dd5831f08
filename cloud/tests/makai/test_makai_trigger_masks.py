"""Each trigger's mask leaves out only rows on which its rule decides nothing.

A trigger computes from the arrays of a batch which rows its rule has to see (`enters`), and notes the others
as the rule does. Here a second rule sees every row: both have to decide the same on any sequence of
Measurements, and know the same after it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import opq_cloud.makai as makai_room
from opq_plugins.package.built_in import available, load
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.continuity import GapReason, single
from opq_proto.measurement.fields import USUAL
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Measurement, Metric, TimeSource

TRIGGERS = Path(makai_room.__file__).parent / "triggers"
S = 10**9
START_NS = 1_765_792_486_000_000_000
NOMINALS = {"1": Nominal(120.0, 60.0), "2": Nominal(230.0, 50.0)}
WITH_MASK = (
    "baseline",
    "coincidence",
    "edge_rule",
    "flicker",
    "frequency",
    "napali",
    "rapid_change",
    "silence",
    "statistical",
    "steady_state",
    "threshold",
    "transient",
)
WITHOUT_MASK = ("lua", "sql")
"""They see every row."""
SETTINGS = {
    "statistical": {"warm_up_windows": 20},
    "threshold": {"low_hz": 59.9, "high_hz": 60.1, "thd_ratio": 0.08, "trans_v": 4.0},
}

percents = st.one_of(
    st.floats(97, 103), st.floats(0, 130), st.sampled_from([90.0, 92.0, 95.0, 105.0, 108.0, 110.0])
)
spreads = st.sampled_from([0.0, 0.0, 0.1, 0.5, 2.0, 8.0])
LEFT_OUT = st.sampled_from([None, None, None, None, *USUAL])


@st.composite
def windows(draw: st.DrawFn) -> list[list[Measurement]]:
    """Windows of two Boxes in order of time, with gaps, crossings, and Boxes that state no time."""
    states, at_ns, found = draw(st.booleans()), START_NS, []
    for number in range(draw(st.integers(2, 14))):
        at_ns += draw(st.sampled_from([S, S, S, S, 3 * S, 40 * S]))
        rows = []
        for box_id, nominal in NOMINALS.items():
            level, spread = draw(percents), draw(spreads)
            hertz = nominal.hz + draw(st.sampled_from([0.0, 0.0, 0.01, -0.05, 0.2, -0.7]))
            thd = draw(st.sampled_from([0.02, 0.02, 0.05, 0.09, 0.2]))
            trans = nominal.volts * draw(st.sampled_from([0.01, 0.01, 0.03, 0.2, 0.8]))
            rms = [nominal.volts * (level + off * spread) / 100 for off in (-1, 1, 0)]
            metrics = {
                "rms": Metric(max(0.0, rms[0]), max(0.0, rms[1]), max(0.0, rms[2])),
                "f": Metric(hertz - spread / 100, hertz + spread / 100, hertz),
                "thd": Metric(thd, thd * (1 + spread / 10), thd),
                "trans": Metric(trans / 2, trans, trans * 0.75),
            }
            metrics.pop(draw(LEFT_OUT) or "", None)
            if draw(st.integers(0, 9)) == 0:
                metrics[GapReason.DARK.metric] = single(draw(st.sampled_from([1.0, 30.0, 7200.0])))
            crossing = draw(st.integers(0, 9)) == 0
            rows.append(
                Measurement(
                    box_id,
                    at_ns // 1_000_000,
                    metrics,
                    at_ns - S if states else None,
                    at_ns if states else None,
                    1000 if states else None,
                    TimeSource.GPS,
                    number,
                    crossing=crossing,
                )
            )
        found.append(rows)
    return found


def steady(number: int) -> list[Measurement]:
    """A window of each Box before all others, with a little noise, by which `statistical` learns."""
    at_ns, found = START_NS - (40 - number) * S, []
    for box_id, nominal in NOMINALS.items():
        off = number % 5 * 1e-3
        metrics = {
            name: Metric(value * (1 - off), value * (1 + off), value)
            for name, value in (("rms", nominal.volts), ("f", nominal.hz), ("thd", 0.02), ("trans", 1.0))
        }
        found.append(Measurement(box_id, at_ns // 1_000_000, metrics, at_ns - S, at_ns, 1000, TimeSource.GPS))
    return found


def test_each_trigger_is_compared_or_named() -> None:
    assert available([TRIGGERS]).keys() == {*WITH_MASK, *WITHOUT_MASK}
    for name in WITH_MASK:
        assert hasattr(load("trigger", name, {}, [TRIGGERS]).module, "enters")


@pytest.mark.parametrize("name", WITH_MASK)
@settings(max_examples=20, deadline=None)
@given(sequence=windows())
def test_a_rule_decides_alike_on_all_rows(name: str, sequence: list[list[Measurement]]) -> None:
    plugin = load("trigger", name, SETTINGS.get(name, {}), [TRIGGERS])
    module, config = plugin.module, plugin.config
    masked, whole = module.begin(config), module.begin(config)
    for rows in [*map(steady, range(30)), *sequence]:
        for batch in batches_of(rows, lambda box_id, *_: NOMINALS[box_id]):
            seen = module.enters(batch, config, masked).nonzero()[0].tolist()
            quick, masked = decisions(module, batch, seen, config, masked)
            slow, whole = decisions(module, batch, range(len(batch)), config, whole)
            assert quick == slow
            assert known(masked) == known(whole), "what it knows of the rows that it does not see"


def decisions(
    module: Any, batch: Measurements, rows: Iterable[int], config: object, state: object
) -> tuple[dict[int, Decision], object]:
    found = {}
    for at in rows:
        decision, state = module.decide(batch.row(at), batch.nominal(at), config, state)
        if decision is not None:
            found[at] = decision
    return found, state


def known(state: Any) -> object:
    """What must be equal: not the limits that `threshold` keeps by nominal values as it needs them."""
    return (state.passed, state.recovered) if hasattr(state, "recovered") else state


@pytest.mark.parametrize("name", WITH_MASK)
def test_a_deleted_box_leaves_no_state(name: str) -> None:
    """A trigger keeps nothing of a Box that is forgotten, and all of the other."""
    plugin = load("trigger", name, SETTINGS.get(name, {}), [TRIGGERS])
    trigger = TriggerModule(plugin.module, plugin.config)
    ids = {"1": "901", "2": "902"}
    for number in range(60):
        rows = []
        for box_id, nominal in NOMINALS.items():
            level = nominal.volts * (0.5 if number % 7 == 6 else 1.0 + 0.03 * (number % 2))
            metrics = {
                "rms": Metric(level * 0.95, level, level),
                "f": Metric(nominal.hz - 2, nominal.hz, nominal.hz - 1.0 - number % 3),
                "thd": Metric(0.02, 0.3, 0.2 * (number % 3)),
                "trans": Metric(0.5, nominal.volts, nominal.volts * 0.4 * (number % 2)),
            }
            at_ms = (START_NS + number * S) // 10**6
            rows.append(Measurement(ids[box_id], at_ms, metrics))
        for batch in batches_of(rows, lambda box_id, *_: NOMINALS["1" if box_id == "901" else "2"]):
            trigger.judge(batch)
    state = str(known(trigger._state))
    assert name in ("baseline", "coincidence", "edge_rule", "silence") or "901" in state
    trigger.forget_box("901")
    after = str(known(trigger._state))
    assert "901" not in after and ("902" in after) == ("902" in state)
