"""A group's intervals and polyphase events: in its ledger, on their way up, and after a restart."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from test_measuring_groups import phases
from test_measuring_thread import HELLO, RATE_HZ, T0_NS, blocks_of

from opq_gateway.config import BoxSection, Config, GroupSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.measuring.groups import WrittenBefore
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.ledger_rows import LedgerRows, kinds_of, ledger_reader_of, measurement_of
from opq_gateway.measuring.measuring import Measuring, measuring_of
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.measuring.polyphase import NUMBER, PolyphaseNumbers
from opq_gateway.uplink.queue import Queue
from opq_proto.errors import ConfigError
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Disturbance, Measurement, TimeSource

HOUSE = GroupSection(name="house", boxes=("1", "2", "3"))
SECOND_NS = 10**9
KINDS = kinds_of(("3s", "10min", "disturbances"))


def ledger_at(folder: Path, name: str) -> Ledger:
    return Ledger(folder / name, name, 24.0, 30.0)


def measured(folder: Path, volts: list[np.ndarray], t0_ns: int = T0_NS) -> None:
    """Measures a house of three Boxes into ledgers, one Box after the other."""
    ledgers = {box_id: ledger_at(folder, box_id) for box_id in "123"}
    places = {"house": ledger_at(folder, "house")}
    measuring = Measuring(
        lambda *_: None, lambda *_: None, MeasuredFeed(), groups=(HOUSE,), places=places, piece_s=0.0
    )
    for box_id, ledger in ledgers.items():
        plan = MeasuringPlan(box_id, 1.0, 10.0, flicker=False)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, 60), ledger)
        measuring.restart(box_id, HELLO)
    for box_id, own in zip("123", volts, strict=True):
        for block in blocks_of(own, t0_ns):
            measuring.accept_block(box_id, block)
        measuring.round(everything=True)
    measuring.ledgers.write()


def kept(folder: Path, name: str, kind: str) -> list[Values]:
    return list(ledger_at(folder, name).read(kind, 0, 2**62))


def with_dip(volts: np.ndarray, begin_s: float, end_s: float) -> np.ndarray:
    dipped = volts.copy()
    dipped[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)] *= 0.6
    return dipped


def test_group_intervals_have_unbalance_and_flags(tmp_path: Path) -> None:
    a, b, c = phases(14, (1.0, 0.97, 1.0))
    measured(tmp_path, [a, with_dip(b, 8.0, 8.1), c])
    intervals = kept(tmp_path, "house", "3s")
    assert len(intervals) >= 3 and {each.box_id for each in intervals} == {"house"}
    dip_ns = T0_NS + 8 * SECOND_NS
    for each in intervals:
        assert each.flagged is (each.start_ns <= dip_ns < each.end_ns)
        values = each.values
        assert values["clock_ratio"] == pytest.approx(2 * np.pi * 60 * 3**0.5 * 1e-6 / 3, rel=0.01)
        if not each.flagged:
            assert values["u2_ratio"] == pytest.approx(0.0101, abs=1e-4)
            assert values["angle_b_deg"] == pytest.approx(-120, abs=0.1)
            assert values["angle_c_deg"] == pytest.approx(120, abs=0.1)
    assert [each.flagged for each in intervals].count(True) == 1


def test_a_groups_boxes_number_one_event(tmp_path: Path) -> None:
    a, b, c = phases(14, (1.0, 1.0, 1.0))
    apart = with_dip(with_dip(a, 3.0, 3.2), 9.0, 9.1)
    measured(tmp_path, [apart, with_dip(b, 3.4, 3.6), with_dip(c, 3.1, 3.5)])
    numbers: dict[bool, set[float]] = {False: set(), True: set()}
    for box_id in "123":
        last: dict[int, float] = {}
        for each in kept(tmp_path, box_id, "dip"):
            last[each.start_ns] = max(_number(each), last.get(each.start_ns, 0.0))
        for start_ns, number in last.items():
            numbers[start_ns > T0_NS + 6 * SECOND_NS].add(number)
    assert [len(numbers[late]) for late in (False, True)] == [1, 1]
    assert numbers[False].isdisjoint(numbers[True] | {0.0}) and 0.0 not in numbers[True]


def _number(values: Values) -> float:
    number = values.values[NUMBER]
    assert isinstance(number, float)
    return number


def dip(box_id: str, begin_ms: int, end_ms: int, kind: str = "dip") -> Values:
    at = (T0_NS + begin_ms * 10**6, T0_NS + end_ms * 10**6)
    values = {"residual_v": 70.0, "closed_ratio": 1.0}
    return Values(box_id, kind, *at, 1000, TimeSource.GPS, False, values)


@pytest.mark.parametrize("order", [*permutations(range(5))])
def test_numbers_do_not_depend_on_order(order: tuple[int, ...]) -> None:
    """1 and 2 are joined by 3, which is measured at any time; a swell and a later dip are events apart."""
    rows = [
        dip("1", 0, 100),
        dip("2", 200, 300),
        dip("3", 50, 250),
        dip("1", 120, 180, "swell"),
        dip("2", 400, 450),
    ]
    numbers = PolyphaseNumbers((HOUSE,))
    last: dict[tuple[str, int], int] = {}
    for at in order:
        for each in numbers.number(rows[at]):
            found = measurement_from_wire(measurement_to_wire(measurement_of(each))).disturbance
            assert found is not None
            last[found.box_id, found.start_ns] = found.polyphase_group
    first, second, third, swell, late = (last[each.box_id, each.start_ns] for each in rows)
    assert first == second == third and len({first, swell, late, 0}) == 4


def test_a_box_in_no_group_has_no_number() -> None:
    assert PolyphaseNumbers((HOUSE,)).number(dip("9", 0, 100)) == [dip("9", 0, 100)]
    found = measurement_of(dip("9", 0, 100)).disturbance
    assert found == Disturbance("9", "dip", T0_NS, T0_NS + 10**8, 1000, 70.0, 0)


def rows_of(folder: Path, queue: Queue) -> LedgerRows:
    return LedgerRows(
        ledger_at(folder, "1"), KINDS, queue.ledger_places("1"), group=ledger_at(folder, "house")
    )


def test_group_rows_go_up_once(tmp_path: Path) -> None:
    measured(tmp_path, phases(14, (1.0, 0.97, 1.0)))
    sent: list[Measurement] = []
    for _ in range(3):  # killed after one record each time
        queue = Queue(tmp_path / "queue.sqlite", {"1": BoxCounters()}, now_ms=1000)
        rows = rows_of(tmp_path, queue)
        rows.read_ahead()
        record = rows.take()
        if record is not None:
            queue.store_rows("1", record.rows, record.places)
        sent = [measurement_from_wire(body) for _, body in queue.read("1", 0, 2**62, 100)]
    assert {each.box_id for each in sent} == {"1"}
    places = [each.interval.place for each in sent if each.interval is not None]
    own = [each for each in sent if each.interval is not None and each.interval.place == "house"]
    assert len(places) == len(sent) and places == sorted(places)
    wanted = kept(tmp_path, "house", "3s")
    assert [each.start_ns for each in own] == [each.start_ns for each in wanted]
    assert own[0].interval is not None
    u2 = wanted[0].values["u2_ratio"]
    assert isinstance(u2, float) and own[0].interval.values["u2_ratio"] == float(np.float32(u2))
    assert own[0].uncertainty_ns == 1000


def test_remeasured_rows_are_written_once(tmp_path: Path) -> None:
    volts = phases(14, (1.0, 0.97, 1.0))
    measured(tmp_path, volts)
    before = {kind: kept(tmp_path, "house", kind) for kind in ("window", "3s")}
    measured(tmp_path, volts)
    for kind, rows in before.items():
        assert [each.start_ns for each in kept(tmp_path, "house", kind)] == [each.start_ns for each in rows]
    written = WrittenBefore(ledger_at(tmp_path, "house"))
    newest = before["window"][-1]
    later = Values("house", "window", newest.end_ns, newest.end_ns + 1, 0, TimeSource.GPS, False, {})
    assert written.has(newest) and not written.has(later)
    assert not written.has(newest)  # the clock was set back since: it is another time


def test_groups_that_cannot_be_sent_are_refused(tmp_path: Path) -> None:
    boxes = tuple(BoxSection(id=box_id, port=f"socket://127.0.0.1:{box_id}") for box_id in "123")
    one, two = (GroupSection(name=name, boxes=("1", "2", "3")) for name in ("a", "b"))
    three, four = (GroupSection(name=name, boxes=("3", "2", "1")) for name in ("c", "d"))
    config = Config(box=boxes, data_dir=tmp_path, group=(one, two, three, four))
    queue = Queue(tmp_path / "queue.sqlite", {box_id: BoxCounters() for box_id in "123"}, now_ms=1000)
    with pytest.raises(ConfigError, match="group d: each of its Boxes stands for another group"):
        ledger_reader_of(config, queue, {box_id: BoxCounters() for box_id in "123"})
    digits = Config(box=boxes, data_dir=tmp_path, group=(GroupSection(name="7", boxes=("1", "2", "3")),))
    statuses = {box_id: BoxStatus(box_id, 60) for box_id in "123"}
    counters = {box_id: BoxCounters() for box_id in "123"}
    with pytest.raises(ConfigError, match="group 7: digits alone are a Box's id"):
        measuring_of(digits, statuses, counters, None, MeasuredFeed(), {}, lambda _: None)  # type: ignore[arg-type]
