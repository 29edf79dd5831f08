"""One dip is one event and one incident, in whatever order and however late the windows of its Boxes come."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from judged_triggers import batch
from late_boxes import DEPTHS, START_NS, WARM_UP, in_order, played, scene

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.judging.window_order import WAIT_S
from opq_cloud.store import CloudStore
from opq_proto.decision import Decision, Nominal
from opq_proto.kit import log
from opq_proto.messages import Measurement

AT = Nominal(120.0, 60.0)
PHASES = [(54, 21, 10), (15, 19, 6), (8, 36, 54), (0, 0, 0)]
"""A dip of 0.16 s lies in one or in two windows of a Box, or ends just before one."""
SOME_PHASES = [PHASES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in PHASES[1:])]
NO_SHRINKING = (Phase.reuse, Phase.generate)
"""An example is seconds of CPU."""
NEAR_NS = 3 * 10**6
"""Stamps of an original Box are whole milliseconds."""
FIRST_S = 5.0
"""Before that, every window comes in order: nothing is known of a Box before its first one."""


def arrivals(rows: tuple[Measurement, ...], chance: random.Random) -> list[tuple[float, Measurement]]:
    """When each comes, in seconds of the run: each Box by so much later, and its windows in any order."""
    late_s = {box_id: chance.choice([0.0, 0.0, 1.0, 2.5, 4.0]) for box_id in DEPTHS}
    found = []
    for row in rows:
        ended_s = row.timestamp_ms / 1000 - START_NS / 1e9
        jitter_s = chance.uniform(0.0, WAIT_S - 0.2) if ended_s > FIRST_S else 0.0
        found.append((ended_s + late_s[row.box_id] + jitter_s, row))
    return found


def decided(come: list[tuple[float, Measurement]]) -> list[tuple[str, str, int, Decision]]:
    """Box, trigger, window and decision of each, by the default triggers."""
    section = CloudConfig().triggering_service
    triggers = TriggersInUse(section, ServiceCounters(), log.get())
    for each in triggers.all:
        if each.name == "statistical":
            each.use_settings({"warm_up_windows": WARM_UP}, {})
    found = []
    for _, rows in in_order(come):
        for row in rows:
            columns = batch(row, AT)
            for plugin in triggers.all:
                if (decision := dict(plugin.judge(columns)).get(0)) is not None:
                    found.append((row.box_id, plugin.name, row.timestamp_ms, decision))
    return sorted(found, key=lambda each: (each[2], each[0], each[1]))


@pytest.mark.parametrize("phases", SOME_PHASES)
def test_a_decision_does_not_depend_on_arrival_order(
    phases: tuple[int, ...],
) -> None:
    """A decision depends on the samples' time and not on the order of arrival."""
    rows = scene(phases).rows
    usual = decided([(row.timestamp_ms / 1000 - START_NS / 1e9, row) for row in rows])
    assert {box_id for box_id, *_ in usual} == set(DEPTHS)

    @given(st.randoms(use_true_random=False))
    @settings(max_examples=6, deadline=None, phases=NO_SHRINKING)
    def in_any_order(chance: random.Random) -> None:
        assert decided(arrivals(rows, chance)) == usual

    in_any_order()


def incidents(store: CloudStore) -> list[tuple[object, ...]]:
    return sorted(
        (
            each.start_ns,
            each.end_ns,
            each.kind,
            each.box_ids,
            [
                (one.finding.box_id, one.finding.kind)
                for one in sorted(each.findings, key=lambda one: (one.finding.box_id, one.finding.kind))
            ],
        )
        for each in store.incidents()
    )


@pytest.mark.parametrize("phases", SOME_PHASES[:3])
def test_late_boxes_make_one_event_and_one_incident(
    phases: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = scene(phases)

    def play(come: list[tuple[float, Measurement]]) -> list[tuple[object, ...]]:
        folder: Path = tmp_path_factory.mktemp("store") / "store"
        store = played(made, come, folder)
        try:
            events = [(event.boxes_triggered, event.completes) for event in store.events()]
            assert events == [(tuple(DEPTHS), None)] * 2
            return incidents(store)
        finally:
            store.close()

    usual = play([(row.timestamp_ms / 1000 - START_NS / 1e9, row) for row in made.rows])
    assert [row[2:4] for row in usual] == [("sag", tuple(DEPTHS))] * 2

    @given(st.randoms(use_true_random=False))
    @settings(
        max_examples=2, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow]
    )
    def in_any_order(chance: random.Random) -> None:
        for found, known in zip(play(arrivals(made.rows, chance)), usual, strict=True):
            assert found[2:] == known[2:]
            assert all(abs(one - other) <= NEAR_NS for one, other in zip(found[:2], known[:2], strict=True))  # type: ignore[operator]

    in_any_order()
