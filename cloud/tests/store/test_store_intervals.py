"""Intervals of class A in both stores: as they came, each once, in any order; distributions as from the rows.

Expected values are computed here from the list of what was sent, without the store's blocks or histograms.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opq_cloud.export.class_a import interval_table
from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.intervals.distribution import bin_width
from opq_cloud.store.records.intervals import interval_records as records
from opq_proto.messages import Disturbance, Interval, Measurement

DAY_NS = 86_400 * 10**9
T0 = 20_484 * DAY_NS
"""2026-01-31, so that a span of days has the end of a month in it."""
TEN_NS = 600 * 10**9
LATER_MS = (T0 + 400 * DAY_NS) // 10**6
PLACES = range(130, 160)
"""Intervals of two days."""
numbers = count(1)


def f4(value: float) -> float:
    return float(np.float32(value))


def ten(
    at: int,
    draw: int = 0,
    box_id: str = "1",
    flagged: bool = False,
    coverage: float | None = 1.0,
    length_ms: int = 600_000,
) -> Measurement:
    """The interval number `at` after T0."""
    rng = np.random.default_rng((at, draw))
    volts = 120 + rng.normal()
    values = {
        "rms_v": f4(volts),
        "rms_min_v": f4(volts - 1),
        "f_hz": f4(60 + rng.normal() / 100),
        "thd_ratio": f4(rng.random() / 20),
        "harmonics_v": tuple(f4(each) for each in (volts, *rng.random(49))),
    }
    length_ns = length_ms * 10**6
    start_ns = T0 + at * length_ns
    known = None if coverage is None else f4(coverage)
    interval = Interval(length_ms, flagged, known, values)
    return sent(box_id, start_ns, start_ns + length_ns, interval=interval)


def flicker(at: int, pst: float | None, box_id: str = "1") -> Measurement:
    values = {"pinst_max": f4(1.5)} | ({} if pst is None else {"pst": f4(pst)})
    interval = Interval(600_000, pst is None, None, values)
    return sent(box_id, T0 + at * TEN_NS, T0 + (at + 1) * TEN_NS, interval=interval)


def sent(
    box_id: str,
    start_ns: int,
    end_ns: int,
    interval: Interval | None = None,
    disturbance: Disturbance | None = None,
    sequence: int | None = None,
) -> Measurement:
    return Measurement(
        box_id,
        end_ns // 10**6,
        {},
        start_ns,
        end_ns,
        1000,
        sequence=next(numbers) if sequence is None else sequence,
        interval=interval,
        disturbance=disturbance,
    )


def settle(store: CloudStore, now_ms: int = LATER_MS) -> None:
    while store.roll_up(now_ms):
        pass


def test_intervals_are_read_bit_for_bit(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    rows = [ten(at, flagged=at % 7 == 0, coverage=1 - at % 5 / 10) for at in PLACES]
    rows += [flicker(at, 0.3 + at / 100) for at in PLACES]
    assert store.intervals.append(rows) == 2 * len(PLACES)
    for each in (store, open_again()):
        for _ in ("new", "settled"):
            found = each.intervals.read("1", 600_000, T0, T0 + 10 * DAY_NS)
            assert found.start_ns.tolist() == [T0 + at * TEN_NS for at in PLACES]
            assert found.end_ns.tolist() == [T0 + (at + 1) * TEN_NS for at in PLACES]
            assert found.flagged.tolist() == [at % 7 == 0 for at in PLACES]
            assert found.coverage.tolist() == [f4(1 - at % 5 / 10) for at in PLACES]
            wanted = [row.interval.values for row in rows[: len(PLACES)] if row.interval is not None]
            assert found.values["harmonics_v"].shape == (len(PLACES), 50)
            for name in ("rms_v", "rms_min_v", "f_hz", "thd_ratio"):
                assert found.values[name].tolist() == [values[name] for values in wanted]
            assert [tuple(row) for row in found.values["harmonics_v"].tolist()] == [
                values["harmonics_v"] for values in wanted
            ]
            assert found.values["pst"].tolist() == [f4(0.3 + at / 100) for at in PLACES]
            settle(store)
    assert store.intervals.counts()["intervals_new"] == 0


def test_rows_keep_the_numbers_they_came_with(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    """Of windows and of flicker; a part that is sent again with another number has the larger one."""
    rows = [ten(at) for at in PLACES]
    pst = [flicker(at, 0.4) for at in PLACES[1:]]
    store.intervals.append(rows[:-3] + pst)
    settle(store)
    again = replace(rows[5], sequence=2**62)
    bare = replace(rows[-1], sequence=None)
    store.intervals.append([*rows[-3:-1], bare, again])
    first = [row.sequence for row in rows]
    first[5], first[-1] = 2**62, None
    second = [None, *(row.sequence for row in pst)]
    for _ in ("new", "settled"):
        table = interval_table(open_again().intervals, ["1"], 600_000, 0, 2**62)
        found = [(row["sequence"], row["flicker_sequence"]) for row in table.rows]
        assert found == list(zip(first, second, strict=True))
        some = store.intervals.read("1", 600_000, T0, T0 + 10 * DAY_NS, ["rms_v"])
        assert set(some.values) == {"rms_v"}
        settle(store)


def test_values_at_instants_keep_their_holes(store: CloudStore) -> None:
    """They are stored as they came, are not in a summary's bins, and have columns in an export."""
    angles = {130: (math.nan, 12.5, *[-179.75] * 8), 131: (*[30.25] * 9, math.nan), 132: None}
    rows = []
    for at, own in angles.items():
        row = ten(at)
        assert row.interval is not None
        values = {**row.interval.values}
        if own is not None:
            values |= {"angles_deg": own, "phasors_v": tuple(each + 300 for each in own)}
        rows.append(replace(row, interval=replace(row.interval, values=values)))
    store.intervals.append(rows[1:])
    settle(store)
    store.intervals.append(rows[:1])  # its block is made again
    for _ in ("new", "settled"):
        found = store.intervals.read("1", 600_000, T0, T0 + 10 * DAY_NS)
        for at, own in enumerate(angles.values()):
            wanted = [math.nan] * 10 if own is None else own
            np.testing.assert_array_equal(found.values["angles_deg"][at], wanted)
            np.testing.assert_array_equal(found.values["phasors_v"][at], np.add(wanted, 300))
        summary = store.intervals.summary("1", 600_000, T0, T0 + 10 * DAY_NS)
        assert summary.orders("angles_deg") == 10 and summary.distribution("angles_deg").count == 0
        assert summary.distribution("rms_v").count == 3
        table = interval_table(store.intervals, ["1"], 600_000, 0, 2**62)
        names = [each.name for each in table.columns if each.name.startswith("angle_")]
        assert names == [f"angle_{number}_deg" for number in range(1, 11)]
        first, last, _ = table.rows
        assert (first["angle_1_deg"], first["angle_2_deg"], first["phasor_2_v"]) == (None, 12.5, 312.5)
        assert (last["angle_9_deg"], last["angle_10_deg"]) == (30.25, None)
        settle(store)


def test_a_part_of_a_span_and_some_names(store: CloudStore) -> None:
    store.intervals.append([ten(at) for at in range(130, 150)])
    settle(store)
    store.intervals.append([ten(at) for at in range(150, 170)])
    found = store.intervals.read("1", 600_000, T0 + 140 * TEN_NS, T0 + 160 * TEN_NS - 1, ["rms_v", "no_v"])
    assert found.start_ns.tolist() == [T0 + at * TEN_NS for at in range(140, 160)]
    assert list(found.values) == ["rms_v"]
    assert len(store.intervals.read("2", 600_000, T0, T0 + DAY_NS).start_ns) == 0
    with pytest.raises(ValueError, match="600000"):
        store.intervals.read("1", 60_000, T0, T0 + DAY_NS)


def test_a_repeat_is_not_stored_again(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    rows = [ten(at) for at in range(20)]
    assert store.intervals.append([*rows, rows[3]]) == 20
    assert open_again().intervals.append(rows) == 0
    settle(store)
    assert store.intervals.append(rows) == 0
    numbers_of = [row.sequence for row in rows]
    assert store.intervals.sequences("1", 0, 2**62) == numbers_of
    assert store.intervals.highest_sequence("1") == numbers_of[-1]
    assert store.intervals.highest_sequence("2") is None


def test_unstored_lengths_and_kinds_are_counted(store: CloudStore) -> None:
    """Lengths and kinds that are not stored have their number noted."""
    odd = sent("1", T0, T0 + 10**9, interval=Interval(1000, False, 1.0, {"rms_v": 1.0}))
    strange = sent("1", T0, T0 + 10**9, disturbance=Disturbance("1", "noise", T0, None, 0, 1.0))
    assert store.intervals.append([odd, strange]) == 2
    assert store.intervals.sequences("1", 0, 2**62) == [odd.sequence, strange.sequence]
    assert store.intervals.disturbances("1", T0, T0 + DAY_NS) == []


@pytest.mark.parametrize("length_ms", [3_000, 10_000, 600_000, 7_200_000])
def test_every_length_is_stored_apart(store: CloudStore, length_ms: int) -> None:
    rows = [ten(at, length_ms=length_ms) for at in range(30)]
    store.intervals.append([*rows, ten(0, box_id="2", length_ms=length_ms)])
    settle(store)
    for other in (3_000, 10_000, 600_000, 7_200_000):
        found = store.intervals.read("1", other, T0, T0 + 30 * DAY_NS)
        assert len(found.start_ns) == (30 if other == length_ms else 0)
    assert store.intervals.newest_ns("1", length_ms) == rows[-1].start_ns
    assert store.intervals.box_ids() == ["1", "2"]


def test_a_places_interval_is_stored_by_name(store: CloudStore) -> None:
    """An interval of a place is stored under its name and numbered with its Box."""
    store.put_box(BoxRecord("7", "", site="other"))
    store.put_box(BoxRecord("8", "", site="mill"))
    values = {"u2_ratio": f4(0.012), "clock_ratio": f4(1e-5), "angle_b_deg": f4(-120.5)}

    def of_place(box_id: str, place: str, at: int) -> Measurement:
        start_ns = T0 + at * TEN_NS
        return sent(
            box_id, start_ns, start_ns + TEN_NS, interval=Interval(600_000, False, 1.0, values, place)
        )

    rows = [
        of_place("8", "mill", 0),
        of_place("7", "mill", 1),
        of_place("9", "hall", 2),
        of_place("9", "8", 3),
        of_place("9", "mill~0123456789ab", 4),  # the site of an owner, who has not made it yet
    ]
    assert store.intervals.append([*rows, ten(4)]) == 6
    assert [store.intervals.sequences(box_id, 0, 2**62) for box_id in "789"] == [
        [rows[1].sequence],
        [rows[0].sequence],
        [each.sequence for each in rows[2:]],
    ]
    for _ in ("new", "settled"):
        assert store.intervals.box_ids() == [
            "1",
            "hall",
            "mill",
        ]  # not of a Box of another site, nor as a Box
        found = store.intervals.read("mill", 600_000, T0, T0 + DAY_NS)
        assert found.start_ns.tolist() == [T0]
        assert {name: value.tolist() for name, value in found.values.items()} == {
            **{name: [value] for name, value in values.items()},
            "uncertainty_ns": [1000.0],
        }
        settle(store)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[CloudStore]:
    """The store whose jobs are quick enough for many examples; the records are one code over both drivers."""
    store = EmbeddedStore(tmp_path / "opq.db")
    yield store
    store.close()


def naive(rows: list[Measurement]) -> dict[int, tuple[float, bool, dict[str, object]]]:
    """What the store has of these rows: start -> coverage, flag, values."""
    found: dict[int, tuple[float, bool, dict[str, object]]] = {}
    for row in rows:
        assert row.interval is not None and row.start_ns is not None
        if "pst" in row.interval.values:
            continue
        coverage = -1.0 if row.interval.coverage is None else row.interval.coverage
        if row.start_ns not in found or coverage > found[row.start_ns][0]:
            found[row.start_ns] = coverage, row.interval.flagged, dict(row.interval.values)
    for row in rows:
        if row.interval is not None and row.start_ns in found and "pst" in row.interval.values:
            found[row.start_ns][2].update(row.interval.values)
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[list[Measurement]]:
    """Batches of rows over a few days, in any order, some of them sent in two parts or again."""
    places = draw(st.lists(st.integers(0, 4 * 144 - 1), min_size=1, max_size=25, unique=True))
    rows = []
    for at in places:
        first = ten(at, 0, flagged=draw(st.booleans()), coverage=draw(st.sampled_from([0.25, 0.5, 1.0])))
        rows.append(first)
        if draw(st.booleans()):
            rows.append(ten(at, 1, flagged=draw(st.booleans()), coverage=draw(st.sampled_from([0.3, 0.75]))))
        if draw(st.booleans()):
            rows.append(flicker(at, draw(st.sampled_from([0.2, 0.9]))))
        if draw(st.booleans()):
            rows.append(first)
    rows = draw(st.permutations(rows))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=histories(), first=st.integers(0, 3 * 144), length=st.integers(1, 4 * 144))
def test_a_history_equals_its_naive_list(
    embedded: CloudStore, batches: list[list[Measurement]], first: int, length: int
) -> None:
    store = embedded
    box_id = f"h{next(numbers)}"
    sent_rows = []
    for batch in batches:
        mine = [
            Measurement(
                box_id,
                *[getattr(row, name) for name in ("timestamp_ms", "metrics")],
                row.start_ns,
                row.end_ns,
                sequence=row.sequence,
                interval=row.interval,
            )
            for row in batch
        ]
        sent_rows += mine
        store.intervals.append(mine)
        if len(mine) % 2:
            settle(store)
    start_ns, end_ns = T0 + first * TEN_NS, T0 + (first + length) * TEN_NS
    known = {at: row for at, row in naive(sent_rows).items() if start_ns <= at < end_ns}
    found = store.intervals.read(box_id, 600_000, start_ns, end_ns)
    assert found.start_ns.tolist() == sorted(known)
    for at, place in zip(found.start_ns.tolist(), range(len(known)), strict=True):
        coverage, flagged, values = known[at]
        assert (float(found.coverage[place]), bool(found.flagged[place])) == (coverage, flagged)
        for name, value in values.items():
            held = found.values[name][place].tolist()
            assert (tuple(held) if isinstance(held, list) else held) == value, name
    summary = store.intervals.summary(box_id, 600_000, start_ns, end_ns)
    assert summary.intervals == len(known)
    assert summary.flagged == sum(flagged for _, flagged, _ in known.values())
    assert math.isclose(summary.covered, math.fsum(max(0.0, row[0]) for row in known.values()))
    for name, place in (("rms_v", 0), ("harmonics_v", 4), ("pst", 0)):
        for with_flagged in (False, True):
            chosen = [row[2] for row in known.values() if name in row[2] and (with_flagged or not row[1])]
            each = [row[name][place] if isinstance(row[name], tuple) else row[name] for row in chosen]  # type: ignore[index]
            part = summary.distribution(name, place, flagged=with_flagged)
            assert part.count == len(each)
            for share in (0.05, 0.5, 0.95, 0.99):
                held = part.quantile(share)
                if not each:
                    assert held is None
                    continue
                exact = float(np.quantile(each, share, method="inverted_cdf"))
                assert held is not None and abs(held - exact) <= bin_width(name) / 2 + 1e-9
            if each:
                assert (part.least, part.most) == (min(each), max(each))
                assert part.mean is not None and math.isclose(part.mean, math.fsum(each) / len(each))


def test_late_rows_correct_every_level(store: CloudStore) -> None:
    """Of February, and a day before and after it."""
    first = [ten(at) for at in range(0, 30 * 144, 72)]
    store.intervals.append(first)
    settle(store)
    late = [ten(at, flagged=True) for at in range(1, 30 * 144, 288)]
    store.intervals.append(late)
    for _ in ("before its blocks are made again", "after"):
        days = store.intervals.days("1", 600_000, T0, T0 + 30 * DAY_NS)
        assert len(days) == 30 and [day.summary.flagged for day in days] == [1, 0] * 15
        whole = store.intervals.summary("1", 600_000, T0, T0 + 30 * DAY_NS)
        assert (whole.intervals, whole.flagged) == (len(first) + len(late), len(late))
        settle(store)


def test_harmonic_quantiles_are_within_005_percent(store: CloudStore) -> None:
    """Quantiles of harmonics are within 0.05 percent of nominal."""
    if store.driver.__class__.__name__ != "SqliteDriver":
        pytest.skip("a thousand rows take a server without bulk writes minutes; the sums are the same code")
    store.intervals.append([ten(at) for at in range(7 * 144)])
    settle(store)
    found = store.intervals.read("1", 600_000, T0, T0 + 7 * DAY_NS).values["harmonics_v"]
    summary = store.intervals.summary("1", 600_000, T0, T0 + 7 * DAY_NS)
    chosen = store.intervals.summary("1", 600_000, T0, T0 + 7 * DAY_NS, ["harmonics_v"])
    assert chosen.names == ["harmonics_v"]
    for order in range(50):
        for share in (0.05, 0.5, 0.95, 0.99):
            exact = float(np.quantile(found[:, order], share, method="inverted_cdf"))
            held = chosen.distribution("harmonics_v", order).quantile(share)
            assert held == summary.distribution("harmonics_v", order).quantile(share)
            held = summary.distribution("harmonics_v", order).quantile(share)
            assert held is not None and abs(held - exact) < 0.0005 * 100.0  # of 100 V, the least in use


def test_a_disturbance_is_one_to_its_end(store: CloudStore) -> None:
    begun = Disturbance("1", "dip", T0 + 5, None, 1000, 96.0)
    ended = Disturbance("1", "interruption", T0 + 5, T0 + 10**9, 1000, 3.0, 7)
    other = Disturbance("2", "swell", T0 + 4, T0 + 10**8, 20, 140.0)
    rows = {
        each: sent(each.box_id, each.start_ns, each.end_ns or each.start_ns, disturbance=each)
        for each in (begun, ended, other)
    }
    store.intervals.append([rows[begun], rows[other]])
    assert store.intervals.disturbances("1", T0, T0 + DAY_NS) == [begun]
    store.intervals.append([rows[ended]])
    assert store.intervals.disturbances("1", T0, T0 + DAY_NS) == [ended]
    later = sent("1", T0 + 5, T0 + 5, disturbance=begun)
    store.intervals.append([later])  # a repeat of the beginning, with another number
    assert store.intervals.disturbances(None, T0, T0 + DAY_NS) == [other, ended]
    assert store.intervals.disturbances("1", T0 + 6, T0 + DAY_NS) == []


def test_what_is_too_old_is_removed(store: CloudStore) -> None:
    old = Disturbance("1", "dip", T0, T0 + 10**9, 1000, 96.0)
    store.intervals.append([ten(0), ten(144 * 40), sent("1", T0, T0 + 10**9, disturbance=old)])
    settle(store)
    store.intervals.keep(10)
    now_s = (T0 + 41 * DAY_NS) // 10**9
    while store.expire(now_s):
        pass
    found = store.intervals.read("1", 600_000, T0, T0 + 100 * DAY_NS)
    assert found.start_ns.tolist() == [T0 + 40 * DAY_NS]
    assert store.intervals.disturbances("1", 0, 2**62) == []
    assert [row.start_ms for row in store.intervals.days("1", 600_000, T0, T0 + 100 * DAY_NS)] == [
        (T0 + 40 * DAY_NS) // 10**6
    ]


def test_intervals_of_1970_expire_by_storing(store: CloudStore) -> None:
    """What a clock stamped that was not set is kept from the sweep that found it, and goes then."""
    store.intervals.keep(10)
    day_s, now_s = 86_400, T0 // 10**9 // 3600 * 3600

    def swept(after_days: float) -> list[int]:
        while store.expire(now_s + round(after_days * day_s)):
            pass
        columns = store.intervals.read("1", 600_000, 0, 2**62)
        return [*(columns.start_ns // DAY_NS).tolist(), len(store.intervals.disturbances("1", 0, T0 // 2))]

    while store.expire(1000):  # the machine itself is in 1970 first
        pass
    assert swept(0) == [0]
    dip = Disturbance("1", "dip", 40 * 10**9, 41 * 10**9, 1000, 96.0)
    known = ten(0).interval
    of_1970 = [sent("1", each * DAY_NS, each * DAY_NS + TEN_NS, interval=known) for each in (1, 200)]
    store.intervals.append([*of_1970, sent("1", 40 * 10**9, 41 * 10**9, disturbance=dip), ten(0)])
    settle(store)
    kept = [1, 200, T0 // DAY_NS, 1]
    assert swept(0.1) == kept and swept(9.9) == kept
    assert swept(10.5) == [T0 // DAY_NS, 0], "the day of T0 has been over for less than ten days"
    assert swept(12) == [0]
    store.intervals.append([replace(of_1970[0], sequence=99)])
    settle(store)
    assert swept(13) == [1, 0] and swept(21.9) == [1, 0], "the sweep of day 12 found none"
    assert swept(24) == [0]


@pytest.mark.parametrize("year", [1980, 2000, 2015])
def test_intervals_of_a_reset_clock_stay(store: CloudStore, year: int) -> None:
    """Clocks of machines begin again in several years, which says nothing of their age."""
    store.intervals.keep(10)
    at_ns = (year - 1970) * 365 * DAY_NS
    store.intervals.append([sent("1", at_ns, at_ns + TEN_NS, interval=ten(0).interval)])
    settle(store)
    for after_s in (0, 9 * 86_400):
        while store.expire(T0 // 10**9 + after_s):
            pass
        assert store.intervals.read("1", 600_000, 0, 2**62).start_ns.tolist() == [at_ns]


def test_a_repeated_job_completes_a_killed_one(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is atomic; here the process ends before one of them, and the next run does all again."""
    if store.driver.__class__.__name__ == "SqliteDriver":
        pytest.skip("a job is one transaction")

    class Killed(BaseException):
        pass

    rows = [ten(at) for at in range(3)]
    late = ten(1, 5, flagged=True, coverage=1.0)
    for steps in range(12):
        documents = store.driver._documents  # type: ignore[attr-defined]
        box_id = f"k{steps}"
        mine = [
            Measurement(
                box_id,
                row.timestamp_ms,
                {},
                row.start_ns,
                row.end_ns,
                sequence=row.sequence,
                interval=row.interval,
            )
            for row in (*rows, late)
        ]
        left = [steps]

        def counted(name: str, left: list[int] = left, of: object = documents) -> Callable[..., object]:
            plain = getattr(of, name)

            def step(*given: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return plain(*given)

            return step

        with monkeypatch.context() as patch:
            for name in ("put", "remove"):
                patch.setattr(documents, name, counted(name))
            try:
                store.intervals.append(mine)
                settle(store)
            except Killed:
                pass
        store.intervals.append(mine)
        for _ in ("new", "settled"):
            found = store.intervals.read(box_id, 600_000, T0, T0 + DAY_NS)
            assert len(found.start_ns) == 3
            assert store.intervals.summary(box_id, 600_000, T0, T0 + DAY_NS).intervals == 3
            settle(store)
    assert store.intervals.counts()["intervals_new"] == 0
    with store.driver.read() as read:
        assert read.count(records.INTERVALS_DUE, [("start_ms", ">=", 0)]) == 0
