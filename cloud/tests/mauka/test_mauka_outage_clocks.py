"""Outages while clocks are set, and numbers that a gateway skips: the length and the reason stay true."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from silent_grid import FEEDERS, ZERO_NS, S, SilentGrid

from opq_cloud.store import CloudStore, open_store
from opq_proto.messages import TimeSource


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path / "store")
    yield made
    made.close()


@pytest.mark.parametrize("by_s", [-400_000.0, -10.0, 13.0, 10_796.0, 3e8])
@pytest.mark.parametrize("says", [True, False], ids=["reported", "not reported"])
def test_a_clock_that_is_set_is_no_silence(store: CloudStore, by_s: float, says: bool) -> None:
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    for k in range(20, 60):
        metrics = {"clock_set_s": by_s} if says and k == 20 else {}
        rows = [replace(row, source=TimeSource.NTP) for row in grid.measure("4", k, k + 1, **metrics)]
        off_ns = round(by_s * S)
        store.append_measurements(
            replace(
                row,
                timestamp_ms=row.timestamp_ms + off_ns // 10**6,
                start_ns=(row.start_ns or 0) + off_ns,
                end_ns=(row.end_ns or 0) + off_ns,
            )
            for row in rows
        )
        grid.pass_seconds(k, k + 1, silent=("4",))
    status = grid.plugin.status()
    assert grid.incidents() == [] and status["silences"] == {} and grid.plugin.watch.network_losses == 0


@pytest.mark.parametrize("behind_s", [0.0, 10_000.0])
def test_a_clock_step_shows_the_true_length(store: CloudStore, behind_s: float) -> None:
    """The gateway, too, was off: it begins with the time at which it went off, or an older one."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 100, silent=("4",))
    off_ns = round((70.0 + behind_s) * S)
    for k in range(100, 130):
        metrics = {"restart_cause": 1.0} if k < 105 else {}
        if k == 100:
            metrics["missing_dark_s"] = max(0.0, 10.0 - behind_s)
        store.append_measurements(
            replace(
                row,
                timestamp_ms=row.timestamp_ms - off_ns // 10**6,
                start_ns=(row.start_ns or 0) - off_ns,
                end_ns=(row.end_ns or 0) - off_ns,
                source=TimeSource.FREE,
            )
            for row in grid.measure("4", k, k + 1, **metrics)
        )
        grid.pass_seconds(k, k + 1, silent=("4",))
    grid.pass_seconds(130, 140, back=("4",), missing_dark_s=80.0, clock_set_s=70.0 + behind_s)
    (finding,) = [one.finding for each in grid.incidents() for one in each.findings]
    assert (finding.kind, finding.box_id, finding.closed) == ("outage", "4", True)
    assert abs(finding.start_ns - (ZERO_NS + 20 * S)) <= finding.uncertainty_ns
    assert finding.end_ns == ZERO_NS + 100 * S


@pytest.mark.parametrize("reported_s", [40.0, 0.0], ids=["a running gateway", "a gateway that started again"])
@pytest.mark.parametrize("by_s", [-40_000.0, -60.0, -38.0, 0.0, 30_000.0])
@pytest.mark.parametrize("set_s", [345, -5344])
def test_a_clock_step_neither_hides_nor_makes_outages(
    store: CloudStore, by_s: float, reported_s: float, set_s: int
) -> None:
    """A gateway whose clock was set back while it was off reports 0 s; then the cloud's own clock counts."""
    if reported_s == 0.0 and by_s >= 0.0:
        pytest.skip("it reports what its clock shows")
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 60, silent=("4",))
    by_ns = round(by_s * S)
    set_at = 64 if by_s else 61  # 61: before the next check
    for k in range(60, 75):
        metrics = {"missing_dark_s": reported_s} if k == 60 else {"clock_set_s": set_s} if k == set_at else {}
        if k < 65:
            metrics["restart_cause"] = 1.0
        store.append_measurements(
            replace(
                row,
                timestamp_ms=row.timestamp_ms + by_ns // 10**6 + (k >= set_at) * set_s * 1000,
                start_ns=(row.start_ns or 0) + by_ns + (k >= set_at) * set_s * S,
                end_ns=(row.end_ns or 0) + by_ns + (k >= set_at) * set_s * S,
            )
            for row in grid.measure("4", k, k + 1, **metrics)
        )
        grid.pass_seconds(k, k + 1, silent=("4",))
    (finding,) = [one.finding for each in grid.incidents() for one in each.findings]
    assert (finding.kind, finding.box_id, finding.closed) == ("outage", "4", True)
    assert abs(finding.start_ns - (ZERO_NS + 20 * S)) <= finding.uncertainty_ns
    lost_s = (finding.end_ns - finding.start_ns) / S
    assert lost_s == pytest.approx(40.0, abs=1.0 if reported_s else 4.0)


@pytest.mark.parametrize("by_s", [-8351.0, 0.0, 30_000.0])
@pytest.mark.parametrize("skipped", [8, 17, 35, 63])
@pytest.mark.parametrize("corrected", [False, True])
def test_skipped_numbers_are_not_measurements(
    store: CloudStore, skipped: int, by_s: float, corrected: bool
) -> None:
    """The gateway was started again during a loss of supply, with another clock; that may be set later."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 34, silent=("4",))
    grid.next["4"] += skipped
    by_ns = round(by_s * S)
    for k in range(34, 80):
        set_ns = 0 if corrected and k >= 64 else by_ns
        metrics = {"missing_dark_s": 14.0} if k == 34 else {}
        if set_ns != by_ns and k == 64:
            metrics = {"missing_dark_s": 14.0, "clock_set_s": -by_s}
        store.append_measurements(
            replace(
                row,
                timestamp_ms=row.timestamp_ms + set_ns // 10**6,
                start_ns=(row.start_ns or 0) + set_ns,
                end_ns=(row.end_ns or 0) + set_ns,
            )
            for row in grid.measure("4", k, k + 1, **metrics)
        )
        grid.pass_seconds(k, k + 1, silent=("4",))
    found = [one.finding for each in grid.incidents() for one in each.findings]
    assert {(each.kind, each.box_id, each.closed) for each in found} == {("outage", "4", True)}
    assert len(found) == 1 and (found[0].end_ns - found[0].start_ns) / S == pytest.approx(14.0, abs=1.0)


@pytest.mark.parametrize("by_s", [-60.0, -15.0, -14.0, -13.0, -12.0, -11.0, -4.0, 0.0, 100.0])
@pytest.mark.parametrize("looked", [0, 1], ids=["the next alone", "the next two together"])
def test_a_shortened_loss_is_found(store: CloudStore, by_s: float, looked: int) -> None:
    """The window that the loss cut comes when the Box is back, and is checked apart from those after it."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 33, silent=("4",))
    store.append_measurements(grid.measure("4", 20, 21, restart_cause=1.0, flagged=1.0))
    grid.pass_seconds(33, 34, silent=("4",))
    if not looked:
        grid.pass_seconds(34, 35, silent=("4",))
    for k in range(35 - looked, 70):
        set_s = by_s + 112.0 * (k >= 41)
        metrics = {"clock_set_s": 112.0} if k == 41 else {"restart_cause": 1.0} if k < 41 else {}
        if k == 35 - looked:
            metrics["missing_dark_s"] = k - 21.0
        store.append_measurements(
            replace(
                row,
                timestamp_ms=row.timestamp_ms + round(set_s * 1000),
                start_ns=(row.start_ns or 0) + round(set_s * S),
                end_ns=(row.end_ns or 0) + round(set_s * S),
            )
            for row in grid.measure("4", k, k + 1, **metrics)
        )
        grid.pass_seconds(k, k + 1, silent=("4",))
    found = [one.finding for each in grid.incidents() for one in each.findings]
    assert [(each.kind, each.box_id, each.closed) for each in found] == [("outage", "4", True)]
    assert (found[0].end_ns - found[0].start_ns) / S == pytest.approx(14.0 - looked, abs=1.0)
