"""A disturbance is seen while it is under way, and corrected at its end; a kill within it changes nothing."""

from pathlib import Path

import numpy as np
import pytest
from test_measuring_backlog import ring_of
from test_measuring_thread import RATE_HZ, T0_NS, Bench, blocks_of

from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_gateway.measuring.backlog import RingBacklog
from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.ledger_rows import measurement_of
from opq_sim.mains import mains

SECOND_NS = 10**9


def with_levels(seconds: float, *levels: tuple[float, float, float]) -> np.ndarray:
    """Mains of 120 V with (from, to, share of it)."""
    volts, _ = mains(seconds, RATE_HZ, voltage_v=120.0, frequency_hz=60.0)
    for begin_s, end_s, share in levels:
        volts[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)] *= share
    return volts


def rows_of(ledger: Ledger | None) -> list[Values]:
    assert ledger is not None
    found = [each for kind in DISTURBANCES for each in ledger.read(kind, 0, 2**62)]
    return sorted(found, key=lambda each: each.end_ns)


def test_what_lasts_is_reported_twice(tmp_path: Path) -> None:
    volts = with_levels(16, (3.0, 7.0, 0.7), (7.0, 10.0, 0.02), (12.0, 12.3, 0.8))
    bench = Bench(tmp_path / "ledger").feed(blocks_of(volts)).end()
    rows = rows_of(bench.ledger)
    assert [(each.kind, each.values["closed_ratio"]) for each in rows] == [
        ("dip", 0.0),
        ("interruption", 0.0),
        ("interruption", 1.0),
        ("dip", 1.0),
    ]
    first, deeper, ended, short = rows
    assert first.start_ns == deeper.start_ns == ended.start_ns
    assert ended.start_ns - T0_NS == pytest.approx(3 * SECOND_NS, abs=20_000_000)
    assert 1.0 <= (first.end_ns - first.start_ns) / SECOND_NS < 1.6
    assert (short.end_ns - short.start_ns) / SECOND_NS == pytest.approx(0.3, abs=0.02)
    store = EmbeddedStore(tmp_path / "opq.db")
    sent = [measurement_of(each) for each in rows]
    assert [each.disturbance.end_ns is None for each in sent if each.disturbance] == [
        True,
        True,
        False,
        False,
    ]
    store.intervals.append(sent[:1])
    (seen,) = store.intervals.disturbances("1", 0, 2**62)
    assert (seen.kind, seen.end_ns) == ("dip", None)
    store.intervals.append([*sent[1:], sent[1], sent[0]])  # in any order
    last, _ = store.intervals.disturbances("1", 0, 2**62)
    assert (last.kind, last.start_ns, last.end_ns) == ("interruption", ended.start_ns, ended.end_ns)
    store.close()


@pytest.mark.parametrize("killed_s", [4.3, 6.0, 9.5])
def test_a_kill_leaves_the_beginning(tmp_path: Path, killed_s: float) -> None:
    volts = with_levels(16, (4.0, 5.0, 0.02), (5.0, 10.0, 0.6))
    blocks = blocks_of(volts)  # 60 a second
    killed = Bench(tmp_path / "ledger").feed(blocks[: round(killed_s * 60)])
    killed.measuring.ledgers.write()
    last_ns = killed.measurements[-1].end_ns or 0
    ring_end = round(killed_s * 60) + 60
    ring = ring_of(tmp_path / "ring", blocks[:ring_end])

    def backlog(box_id: str) -> RingBacklog:
        return RingBacklog(ring, last_ns, ring.segments())

    after = Bench(tmp_path / "ledger", backlog=backlog).feed(blocks[ring_end:]).end()
    rows = rows_of(after.ledger)
    ended = rows[-1]
    assert (ended.kind, ended.values["closed_ratio"]) == ("interruption", 1.0)
    assert ended.start_ns - T0_NS == pytest.approx(4 * SECOND_NS, abs=20_000_000)
    assert ended.end_ns - T0_NS == pytest.approx(10 * SECOND_NS, abs=20_000_000)
    residual_v = ended.values["residual_v"]
    assert isinstance(residual_v, float) and residual_v < 5
    assert {each.start_ns for each in rows} == {ended.start_ns}
    assert [each.values["closed_ratio"] for each in rows].count(1.0) == 1


def test_what_a_gap_ended_is_over(tmp_path: Path) -> None:
    volts = with_levels(6, (3.0, 6.0, 0.7))
    bench = Bench(tmp_path / "ledger").feed(blocks_of(volts)).end()  # its end was not seen
    rows = rows_of(bench.ledger)
    assert [each.values["closed_ratio"] for each in rows] == [0.0, 0.0]
    assert bench.ledger is not None and bench.ledger.disturbances_under_way(T0_NS + 60 * SECOND_NS) == []
    only = Ledger(tmp_path / "other", "1", 24.0, 30.0)
    only.append(rows[0])
    only.flush()
    assert only.disturbances_under_way(T0_NS + 60 * SECOND_NS) == rows[:1]
