"""A cloud that does not take intervals refuses them and waits for their numbers; a queue does not stop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_uplink_intervals import KINDS, dip, ledger_of, lines_of, ten
from uplink_bench import SECOND_NS, Bench
from waiting import wait_for

from opq_cloud.makai.measurements.sequence_tracker import SequenceTracker
from opq_gateway.measuring.ledger_rows import LedgerRows, measurement_of
from opq_gateway.uplink.backlog import CloudAcknowledgement, acknowledgement
from opq_gateway.uplink.store_acknowledgements import StoreAcknowledgements
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import Measurement
from opq_proto.wire.frames import TAKES_INTERVALS, TAKES_LOSSES, command_from_wire, plugin_command

LONGEST_NS = 120 * SECOND_NS
"""A refusing cloud takes a longer Measurement for a broken one."""


class Cloud:
    """Acknowledges what it stores, with the tracker of numbers of all versions."""

    def __init__(self, bench: Bench, makai: Any, takes: tuple[str, ...], stored: Any = ()) -> None:
        self._bench, self._makai, self._takes = bench, makai, takes
        self.tracker = SequenceTracker(stored)
        self._read = len(makai.measurements)

    def stores(self, each: Measurement) -> bool:
        span_ns = (each.end_ns or 0) - (each.start_ns or 0)
        return span_ns <= LONGEST_NS or TAKES_INTERVALS in self._takes

    def acknowledge(self) -> str | None:
        """Stores what came, and acknowledges it as a cloud does every 5 s."""
        come = self._makai.decoded()[self._read :]
        self._read += len(come)
        for each in come:
            if self.stores(each):
                self.tracker.add(each.sequence, each.oldest_sequence)
        message = self.tracker.message()
        if message is not None:
            sent = command_from_wire(plugin_command("1", "opq-ack", message, "ack_a_store", self._takes))
            plugin = sent.send_command_to_plugin
            found = acknowledgement(plugin.message, sent.identity, plugin.takes)
            assert found is not None
            self._bench.uplink.acknowledge("1", found)
        return message


@pytest.fixture
def bench(tmp_path: Path, makai: Any, keys: KeyFolder) -> Iterator[Bench]:
    made = Bench(tmp_path, makai, keys)
    yield made
    made.uplink.close()
    made.queue.close()


def rows_in(bench: Bench, folder: Path, *rows: Any) -> None:
    waiting = LedgerRows(ledger_of(folder, *rows), KINDS, bench.queue.ledger_places("1"))
    waiting.read_ahead()
    bench.uplink.send_rows("1", waiting)


def test_intervals_wait_for_a_willing_cloud(bench: Bench, makai: Any, tmp_path: Path) -> None:
    rows_in(bench, tmp_path, ten(0), dip(0), ten(1))
    with bench.running():
        refusing = Cloud(bench, makai, ())
        bench.publish(*range(10))
        wait_for(lambda: refusing.acknowledge() == "1009")
        wait_for(lambda: bench.queue.held("1") is None and bench.line.acknowledging)
        assert lines_of(makai) == [] and not bench.line.takes_intervals
        taking = Cloud(bench, makai, (TAKES_INTERVALS,), range(1000, 1010))
        taking.acknowledge()
        wait_for(lambda: taking.acknowledge() == "1012")
        assert len(lines_of(makai)) == 3


def test_a_refusing_cloud_does_not_stop_the_queue(bench: Bench, makai: Any, tmp_path: Path) -> None:
    rows = [row for at in range(15) for row in (ten(at), dip(at))]
    rows_in(bench, tmp_path, *rows)
    with bench.running():
        taking = Cloud(bench, makai, (TAKES_INTERVALS,))
        bench.publish(*range(5))
        wait_for(lambda: len(makai.measurements) == 5)  # with the first word of it the intervals come too
        wait_for(lambda: taking.acknowledge() == "1004")
        wait_for(lambda: len(lines_of(makai)) >= 10)  # and the cloud ends before it stores any of them
        refusing = Cloud(bench, makai, (), range(1000, 1005))
        bench.publish(*range(5, 10))
        wait_for(lambda: not bench.line.stores.take_intervals or refusing.acknowledge() is None)
        bench.publish(10)  # with the oldest that the Box holds now

        def all_stored() -> bool:
            refusing.acknowledge()
            return bench.queue.held("1") is None and not bench.line.backlog

        wait_for(all_stored)
        assert refusing.tracker.missing() == [] and refusing.tracker.lost > 0
    bench.restart()
    before = len(makai.decoded())
    with bench.running():
        taking = Cloud(bench, makai, (TAKES_INTERVALS,), range(1000, (refusing.tracker.upto or 0) + 1))
        rows_in(bench, tmp_path)
        bench.publish(11)

        def tens() -> list[Measurement]:
            taking.acknowledge()
            return [each for each in makai.decoded()[before:] if each.interval is not None]

        wait_for(lambda: len(tens()) >= 15)
        wait_for(lambda: taking.acknowledge() is not None and bench.queue.held("1") is None)
        found = {each.sequence: each for each in tens()}
        assert sorted(each.start_ns or 0 for each in found.values()) == [ten(at).start_ns for at in range(15)]
        by_start = {each.start_ns: each.interval for each in found.values()}
        assert all(by_start[ten(at).start_ns] == measurement_of(ten(at)).interval for at in range(15))
    assert bench.counters["intervals_withdrawn"] >= 1


def test_of_several_stores_each_has_to_take_them() -> None:
    stores = StoreAcknowledgements()
    assert not stores.take_intervals
    stores.combine(CloudAcknowledgement(5, store="a", takes_intervals=True), 0.0)
    assert stores.take_intervals
    stores.combine(CloudAcknowledgement(5, store="b"), 1.0)
    assert not stores.take_intervals
    stores.combine(CloudAcknowledgement(6, store="b", takes_intervals=True), 2.0)
    assert stores.take_intervals
    stores.disconnected()
    assert not stores.take_intervals


@pytest.mark.parametrize("takes", [(), (TAKES_INTERVALS,), (TAKES_INTERVALS, TAKES_LOSSES)])
def test_losses_go_to_a_cloud_that_states_it(bench: Bench, tmp_path: Path, takes: tuple[str, ...]) -> None:
    ledger = ledger_of(tmp_path, ten(0))
    bench.line.intervals = LedgerRows(ledger, KINDS, {})
    assert ledger.withholds_losses
    bench.line.acknowledgement = acknowledgement("5", "ack_a_store", takes)
    bench.line.apply_acknowledgement(0.0)
    assert ledger.withholds_losses == (TAKES_LOSSES not in takes)
    bench.line.disconnected()
    assert ledger.withholds_losses
