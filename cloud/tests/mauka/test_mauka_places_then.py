"""Findings are joined by the places of then: grid, feeder and phase at the moment of each."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from joining_table import sag

from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_proto.messages import Finding, Interval, Measurement

TEN_NS = 600 * 10**9
FIRST_NS = 1_790_000_000 * 10**9 // TEN_NS * TEN_NS
"""Beginning of the first ten minutes."""
MOVED_NS = FIRST_NS + 100 * TEN_NS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def dip(box_id: str, at_ns: int) -> Finding:
    return replace(sag(0, 200, box_id, 1), start_ns=at_ns, end_ns=at_ns + 2 * 10**8)


def test_a_moved_box_joins_by_its_former_grid(store: CloudStore) -> None:
    """Box 1 is on the island since a moment; a dip of before is one with that of Box 2 on the mainland."""
    for box_id in ("1", "2"):
        store.put_box(BoxRecord(box_id, "", grid="main", feeder="f1"))
    store.put_box(BoxRecord("1", "", grid="island", feeder="f9"), MOVED_NS // 10**6)
    writer = FindingWriter(lambda: store)
    before, after = MOVED_NS - TEN_NS, MOVED_NS + TEN_NS
    for number, at_ns in enumerate((before, after), start=1):
        writer.put_findings(number, [dip("1", at_ns), dip("2", at_ns + 10**7)])
    incidents = sorted(store.incidents(limit=9), key=lambda each: each.start_ns)
    assert [sorted(each.box_ids) for each in incidents] == [["1", "2"], ["1"], ["2"]]
    assert writer.place_of("1", before).feeder == "f1"
    assert writer.place_of("1").feeder == writer.place_of("1", after).feeder == "f9"


def test_exchanged_phases_are_not_known(store: CloudStore) -> None:
    """While L2 and L3 of a site are exchanged, no type of a dip is judged by them; after that it is."""
    for number in (1, 2, 3):
        phase = f"L{number}"
        store.put_box(BoxRecord(str(number), "", site="mill", phase=phase, nominal_v=230.0, nominal_hz=50.0))
    rows = []
    for place in range(60):
        turns = (0.0, 120.0, -120.0) if place < 30 else (0.0, -120.0, 120.0)
        for number, turn in enumerate(turns, start=1):
            values: dict[str, float | tuple[float, ...]] = {"rms_v": 230.0, "f_hz": 50.0}
            values |= {"angles_deg": (turn,) * 10, "phasors_v": (230.0,) * 10}
            start_ns = FIRST_NS + place * TEN_NS
            ten = Interval(600_000, False, 1.0, values)
            end_ns = start_ns + TEN_NS
            rows.append(
                Measurement(str(number), 1, {}, start_ns, end_ns, 100, sequence=place + 1, interval=ten)
            )
    store.intervals.append(rows)
    writer = FindingWriter(lambda: store)
    exchanged, right = FIRST_NS + 20 * TEN_NS + 7, FIRST_NS + 50 * TEN_NS + 7
    assert [writer.place_of(str(number), exchanged).phase for number in (1, 2, 3)] == [None] * 3
    assert [writer.place_of(str(number), right).phase for number in (1, 2, 3)] == ["L1", "L2", "L3"]
    assert writer.place_of("2").phase == "L2", "as it is stated now"
    writer.put_findings(1, [dip(str(number), exchanged) for number in (1, 2, 3)])
    writer.put_findings(2, [dip(str(number), right) for number in (1, 2, 3)])
    one, other = (store.incident_facts(number) for number in (1, 2))
    assert one is not None and {each.phase for each in one.witnesses} == {None}
    assert other is not None and {each.phase for each in other.witnesses} == {"L1", "L2", "L3"}
