"""Outages: a Box without supply is told apart from one without network, stored, joined, named, withdrawn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from silent_grid import FEEDERS, NOMINAL_V, ZERO_NS, S, SilentGrid

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.outages.outage_judgement import NeighbourSight, SilenceSigns, judge_silence
from opq_cloud.mauka.outages.states import Fact, State
from opq_cloud.mauka.outages.stored_rows import lowest_percent
from opq_cloud.mauka.outages.watch import COLUMNS, OutageWatch
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.documents.findings import classifications
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.stated_starts import StatedStart
from opq_proto.decision import Nominal
from opq_proto.errors import StoreError
from opq_proto.link.log_codes import RESET_CAUSES
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.continuity import GapReason
from opq_proto.messages import Measurement, Metric, TimeSource


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path / "store")
    yield made
    made.close()


def test_each_fact_has_an_action_for_each_state(store: CloudStore) -> None:
    table = SilentGrid(store, FEEDERS).plugin.watch._table
    assert list(table) == list(Fact) and list(COLUMNS) == list(State)
    assert {len(cells) for cells in table.values()} == {len(State)}


def test_a_reported_loss_of_supply_is_an_outage(store: CloudStore) -> None:
    """A Box whose gateway reports that it had no supply is an outage."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 60, silent=("4",))
    assert grid.incidents() == [], "a silence alone says nothing while it lasts"
    grid.pass_seconds(60, 66, back=("4",), missing_dark_s=40.0)
    (incident,) = grid.incidents()
    assert (incident.kind, incident.box_ids, incident.closed) == ("outage", ("4",), True)
    assert (incident.scope, incident.severity, incident.event_ids) == ("local", 10.0, (NO_EVENT,))
    assert incident.hypotheses[0].cause == "supply_lost"
    (item,) = incident.findings
    assert classifications(item.finding) == ["OUTAGE"]
    assert item.finding.measurement_type == "HEALTH" and item.finding.analysis == "outages"
    assert abs(item.finding.start_ns - (ZERO_NS + 20 * S)) <= item.finding.uncertainty_ns
    assert item.finding.end_ns == ZERO_NS + 60 * S
    assert "had no supply for 40.0 s" in item.finding.because


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"missing_overrun_s": 40.0},
        {"missing_line_s": 40.0},
        {"missing_gateway_s": 37.0},
        {"missing_restart_s": 40.0},
        {"clock_set_s": 40.0},
        {"missing_s": 40.0},
    ],
    ids=lambda reported: next(iter(reported), "not reported"),
)
@pytest.mark.parametrize("gateway_ids", ["one", "many"])
def test_another_silence_is_never_an_outage(
    store: CloudStore, reported: dict[str, float], gateway_ids: str
) -> None:
    """A gateway that stands still, a hub that is reset, a cable, a busy machine: all Boxes at once."""
    grid = SilentGrid(store, FEEDERS)
    if gateway_ids == "one":
        for box_id in FEEDERS:
            store.put_box(BoxRecord(box_id, "", gateway_id=7))
    grid.pass_seconds(0, 20)
    silent = tuple(FEEDERS) if gateway_ids == "one" else ("1",)
    grid.pass_seconds(20, 60, silent=silent)
    assert grid.incidents() == []
    grid.pass_seconds(60, 80, back=silent, **reported)
    assert grid.incidents() == []
    assert grid.plugin.watch.open_outages == {}


def test_a_late_loss_from_disk_is_found(store: CloudStore) -> None:
    """The router had no supply, too: what was measured meanwhile comes after what is new."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    late = [*grid.measure("4", 60, 61, missing_dark_s=40.0), *grid.measure("4", 61, 120)]
    grid.pass_seconds(20, 120, silent=("4",))
    grid.pass_seconds(120, 130)
    assert grid.incidents() == []
    store.append_measurements(late)
    grid.pass_seconds(130, 160)
    (finding,) = [one.finding for each in grid.incidents() for one in each.findings]
    assert (finding.kind, finding.end_ns) == ("outage", ZERO_NS + 60 * S)


def test_the_last_voltage_has_its_starts_nominal(store: CloudStore) -> None:
    """Half of what the Box states now was not a sag while it stated half."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    span_ns = ZERO_NS, ZERO_NS + 20 * S
    default = Nominal(NOMINAL_V, 60.0)
    assert lowest_percent(store, "4", *span_ns, default) == pytest.approx(100.0, abs=1.0)
    rows = store.measurements("4", *(at_ns // 10**6 for at_ns in span_ns))
    last = rows[-1].sequence
    assert last is not None
    starts = StatedStart(0, 1, NOMINAL_V, 60.0), StatedStart(last + 2, 2, 2 * NOMINAL_V, 60.0)
    store.put_box(BoxRecord("4", "", nominal_v=2 * NOMINAL_V, starts=starts))
    assert lowest_percent(store, "4", *span_ns, default) == pytest.approx(100.0, abs=1.0)
    starts = (StatedStart(0, 2, 2 * NOMINAL_V, 60.0),)
    store.put_box(BoxRecord("4", "", starts=starts))
    assert lowest_percent(store, "4", *span_ns, default) == pytest.approx(50.0, abs=1.0)
    unknown = (StatedStart(last + 2, 2, 2 * NOMINAL_V, 60.0),)
    store.put_box(BoxRecord("4", "", nominal_v=NOMINAL_V, starts=unknown), 1)
    store.put_box(BoxRecord("4", "", nominal_v=2 * NOMINAL_V), (ZERO_NS + 60 * S) // 10**6)
    assert lowest_percent(store, "4", *span_ns, default) == pytest.approx(100.0, abs=1.0), "no start: of then"


def test_found_changes_survive_a_store_failure(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings from before the failure are stored after it."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 60, silent=("4", "1"))
    watch, box, refusals = grid.plugin.watch, store.box, [StoreError("the database is away")]

    def refusing(box_id: str) -> BoxRecord | None:
        if box_id == "1" and refusals and watch._boxes.known["4"].end_ns > ZERO_NS + 60 * S:
            raise refusals.pop()
        return box(box_id)

    monkeypatch.setattr(store, "box", refusing)
    with pytest.raises(StoreError):
        grid.pass_seconds(60, 64, silent=("1",), back=("4",), missing_dark_s=40.0)
    grid.now_s += 10.0
    grid.plugin.on_idle()
    assert [each.box_ids for each in grid.incidents()] == [("4",)]


@pytest.mark.parametrize(("goes_on", "dark"), [((), False), (("5",), False), ((), True), (("5",), True)])
def test_a_house_that_was_stopped_lost_no_supply(
    store: CloudStore, goes_on: tuple[str, ...], dark: bool
) -> None:
    """Mauka was away, as in a house where cloud and Boxes have one supply."""
    grid, lost = SilentGrid(store, FEEDERS), set(FEEDERS) - set(goes_on) if dark else set()
    grid.pass_seconds(0, 20)
    for box_id in goes_on:
        store.append_measurements(grid.measure(box_id, 20, 100))
    grid.plugin = grid.started()
    grid.plugin.on_idle()
    reported = {"missing_dark_s": 80.0} if dark else {"missing_gateway_s": 80.0}
    grid.pass_seconds(100, 110, back=tuple(sorted(set(FEEDERS) - set(goes_on))), **reported)
    assert {box_id for each in grid.incidents() for box_id in each.box_ids} == lost


def test_boxes_back_before_mauka_had_no_supply(store: CloudStore) -> None:
    """One supply of cloud and Boxes: the first Measurements are stored while Mauka still starts."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    for box_id in FEEDERS:
        store.append_measurements(grid.measure(box_id, 100, 101, missing_dark_s=80.0))
        store.append_measurements(grid.measure(box_id, 101, 103))
    for _ in range(2):  # a second start finds nothing new
        grid.plugin = grid.started()
        grid.pass_seconds(103, 113)
        (incident,) = grid.incidents()
        assert (incident.kind, set(incident.box_ids), incident.closed) == ("outage", set(FEEDERS), True)
        assert len(incident.findings) == len(FEEDERS)


@pytest.mark.parametrize("delivered", [8, 13, 19], ids=["none near", "the last but some", "all but one"])
@pytest.mark.parametrize("watched", [False, True], ids=["one supply with the cloud", "its own supply"])
@pytest.mark.parametrize("after_s", [10, 50], ids=["before it is told", "after it was told"])
def test_a_loss_begins_with_the_last_measurement(
    store: CloudStore, delivered: int, watched: bool, after_s: int
) -> None:
    """The last seconds before the loss were on the gateway's disk, and come after what is new."""
    if not watched and after_s > 30:
        pytest.skip("a start knows the last minute only")
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, delivered)
    held = [row for box_id in FEEDERS for row in grid.measure(box_id, delivered, 20)]
    if watched:
        grid.now_s += 100.0 - delivered
        grid.pass_seconds(100, 103, back=tuple(FEEDERS), missing_dark_s=80.0)
    else:
        for box_id in FEEDERS:
            store.append_measurements(grid.measure(box_id, 100, 101, missing_dark_s=80.0))
            store.append_measurements(grid.measure(box_id, 101, 103))
        grid.plugin = grid.started()
    grid.pass_seconds(103, 103 + after_s)
    assert bool(grid.incidents()) == (after_s > 30 or delivered == 19)
    store.append_measurements(held)
    grid.pass_seconds(103 + after_s, 243)
    (incident,) = grid.incidents()
    assert (incident.kind, set(incident.box_ids), incident.closed) == ("outage", set(FEEDERS), True)
    assert len(incident.findings) == len(FEEDERS)
    for each in incident.findings:
        assert abs(each.finding.start_ns - (ZERO_NS + 20 * S)) <= each.finding.uncertainty_ns
        assert each.finding.end_ns == ZERO_NS + 100 * S


@pytest.mark.parametrize("cloud", ["started again", "starts after the first", "went on"])
@pytest.mark.parametrize("skipped", [0, 40])
def test_a_late_loss_with_skipped_numbers_is_reported(store: CloudStore, cloud: str, skipped: int) -> None:
    """Each Measurement states the lowest number that its gateway still holds."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 100, silent=tuple(FEEDERS))
    if cloud == "started again":
        grid.plugin = grid.started()
    grid.pass_seconds(100, 104, silent=tuple(FEEDERS))
    for box_id in FEEDERS:
        grid.next[box_id] += skipped
    held = [row for box_id in FEEDERS for row in grid.measure(box_id, 100, 101, missing_dark_s=80.0)]
    held += [row for box_id in FEEDERS for row in grid.measure(box_id, 101, 104)]
    lowest = held[0].sequence
    for second in range(104, 124):
        rows = [row for box_id in FEEDERS for row in grid.measure(box_id, second, second + 1)]
        oldest = lowest if second < 114 else rows[0].sequence
        store.append_measurements(replace(row, oldest_sequence=oldest) for row in rows)
        grid.now_s += 1.0
        if cloud == "starts after the first" and second == 104:
            grid.plugin = grid.started()
        grid.plugin.on_idle()
        if second == 106:
            store.append_measurements(held)
    (incident,) = grid.incidents()
    assert (incident.kind, set(incident.box_ids), incident.closed) == ("outage", set(FEEDERS), True)
    assert {each.finding.end_ns for each in incident.findings} == {ZERO_NS + 100 * S}


def test_continued_numbers_show_a_lost_network(store: CloudStore) -> None:
    """A Box whose numbers have gone on had no network."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    late = grid.measure("4", 20, 60)  # measured, and sent after it is heard again
    grid.pass_seconds(20, 60, silent=("4",))
    grid.pass_seconds(60, 66)
    store.append_measurements(late)
    grid.pass_seconds(66, 90)
    assert grid.incidents() == []
    assert grid.plugin.watch.network_losses == 1


def test_a_dark_feeder_is_one_open_incident(store: CloudStore) -> None:
    """It ends when the supply is back."""
    grid = SilentGrid(store, FEEDERS | {"6": "north"})
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 40, silent=("1", "2", "3", "6"))
    (incident,) = grid.incidents()
    assert (incident.kind, incident.scope, incident.closed) == ("outage", "feeder", False)
    assert set(incident.box_ids) == {"1", "2", "3", "6"}
    told = [one.finding.because for one in incident.findings]
    assert any("other Boxes of the same feeder or place fell silent with it" in each for each in told)
    grid.plugin = grid.started()  # a restart: what is open goes on
    grid.pass_seconds(40, 100, silent=("1", "2", "3", "6"))
    grid.pass_seconds(100, 106, back=("1", "2", "3", "6"), missing_dark_s=80.0)
    (incident,) = grid.incidents()
    assert incident.closed and len(incident.findings) == 4
    assert {one.finding.end_ns for one in incident.findings} == {ZERO_NS + 100 * S}


@pytest.mark.parametrize("cause", ["software", "watchdog", "pin"])
def test_an_ordered_restart_is_not_an_outage(store: CloudStore, cause: str) -> None:
    """As for new firmware: its numbers go on where they stopped, all the same."""
    code = next(code for code, word in RESET_CAUSES.items() if word == cause)
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 95, silent=("4",))
    store.append_measurements(grid.measure("4", 95, 96, restart_cause=float(code)))
    grid.pass_seconds(96, 106)
    assert grid.incidents() == []
    watch = grid.plugin.watch
    assert (watch.box_restarts, watch.network_losses) == (1, 0)


def test_a_network_failure_withdraws_the_outage(store: CloudStore) -> None:
    """A supposed outage that was the network's is withdrawn."""
    grid = SilentGrid(store, FEEDERS | {"6": "north"})
    grid.pass_seconds(0, 20)
    silent = ("1", "2", "3", "6")
    late = [row for box_id in silent for row in grid.measure(box_id, 20, 50)]
    grid.pass_seconds(20, 50, silent=silent)
    assert len(grid.incidents()) == 1
    store.append_measurements(late[: len(late) // 2])  # two of them are complete before they are heard
    grid.pass_seconds(50, 60)
    assert grid.incidents() == []
    assert grid.plugin.watch.network_losses == 4
    assert grid.plugin.watch.open_outages == {}


def test_silence_of_every_box_is_not_judged(store: CloudStore) -> None:
    """Nothing is reported when every Box is silent or none is expected."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 60, heard=False)
    assert grid.incidents() == [], "it may be this cloud's own network"
    grid.pass_seconds(60, 70)
    store.put_box(BoxRecord("4", "Box 4", unplugged=True))
    grid.pass_seconds(70, 130, silent=("4",))
    grid.pass_seconds(130, 140)
    assert grid.incidents() == []


def test_boxes_of_one_clock_fail_together(store: CloudStore) -> None:
    """Boxes of one clock that states no uncertainty lose their supply together."""
    grid = SilentGrid(store, FEEDERS)
    grid.clock_id, grid.uncertainty_ns = 7, None
    grid.pass_seconds(0, 20)
    grid.pass_seconds(20, 60, silent=("1", "2"))
    grid.pass_seconds(60, 66, back=("1", "2"), missing_dark_s=40.0)
    (incident,) = grid.incidents()
    assert incident.box_ids == ("1", "2")


def test_a_last_voltage_below_10_percent_decides(store: CloudStore) -> None:
    """A voltage below ten percent just before is an outage at once."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    store.append_measurements(grid.measure("5", 20, 21, volts=3.0))
    grid.pass_seconds(20, 40, silent=("5",))
    (incident,) = grid.incidents()
    assert (incident.box_ids, incident.closed) == (("5",), False)
    assert "1.3 % of nominal just before" in incident.findings[0].finding.because


def test_compat_reports_every_minute_of_silence(store: CloudStore) -> None:
    """As the original does."""
    grid = SilentGrid(store, FEEDERS, compat=True)
    store.put_box(BoxRecord("4", "Box 4", unplugged=False))
    grid.pass_seconds(0, 10)
    grid.pass_seconds(10, 64, silent=("3", "4"))
    assert grid.incidents() == []
    grid.pass_seconds(64, 80, silent=("3", "4"))
    (incident,) = grid.incidents()
    assert incident.box_ids == ("4",), "Box 3 has not stated that it is plugged in"


ON_BATTERY = {"supply_v": 0.0, "battery_v": 4.0}
CHARGED = {"supply_v": 5.0, "battery_v": 4.1}


def test_a_dark_box_on_battery_is_an_outage(store: CloudStore) -> None:
    """A Box on its battery without a voltage is an outage while it is heard."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    for k in range(20, 40):
        store.append_measurements(grid.measure("4", k, k + 1, volts=0.4, **ON_BATTERY))
        grid.pass_seconds(k, k + 1, silent=("4",))
        assert bool(grid.incidents()) == (k >= 29), "for as long as a silence takes"
    (incident,) = grid.incidents()
    assert (incident.kind, incident.box_ids, incident.closed) == ("outage", ("4",), False)
    assert "its supply failed, and that its battery carries it" in incident.findings[0].finding.because
    grid.plugin = grid.started()  # a restart: what is open goes on
    grid.pass_seconds(40, 60, silent=("4",))  # the battery is empty
    assert not grid.incidents()[0].closed
    store.append_measurements(grid.measure("4", 60, 61, **CHARGED))
    grid.pass_seconds(61, 64)
    ((finding,),) = [[one.finding for one in each.findings] for each in grid.incidents()]
    assert finding.closed and finding.end_ns == ZERO_NS + 60 * S
    assert abs(finding.start_ns - (ZERO_NS + 20 * S)) <= finding.uncertainty_ns
    assert grid.plugin.watch.network_losses == 0


def test_a_lit_box_on_battery_is_not(store: CloudStore) -> None:
    """It measures a voltage, so that only its own supply is lost."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    for k in range(20, 40):
        store.append_measurements(grid.measure("4", k, k + 1, **ON_BATTERY))
        grid.pass_seconds(k, k + 1, silent=("4",))
    grid.pass_seconds(40, 130, silent=("4",))
    grid.pass_seconds(130, 140)
    assert grid.incidents() == []


@pytest.mark.parametrize(
    ("volts", "supply", "lost"),
    [
        (0.4, ON_BATTERY, True),
        (120.0, {"supply_v": 0.3}, True),  # no battery: the last second of its capacitors
        (120.0, {"gateway_supply": 0.0}, True),
        (NOMINAL_V, {"gateway_supply": 0.0}, False),  # it is the gateway's alone
        (NOMINAL_V, CHARGED, False),
    ],
)
def test_a_silence_is_judged_by_the_last_report(
    store: CloudStore, volts: float, supply: dict[str, float], lost: bool
) -> None:
    """By what it says about the supply."""
    grid = SilentGrid(store, FEEDERS)
    grid.pass_seconds(0, 20)
    store.append_measurements(grid.measure("4", 20, 21, volts=volts, **supply))
    grid.now_s += 1.0
    grid.plugin.on_idle()
    grid.pass_seconds(21, 40, silent=("4",))
    assert [each.box_ids for each in grid.incidents()] == ([("4",)] if lost else [])
    silences = grid.plugin.status()["silences"]
    assert isinstance(silences, dict) and set(silences) == (set() if lost else {"4"})
    if supply is CHARGED:
        assert silences["4"].startswith("its network, or the Box itself (9") and "battery" in silences["4"]
        assert "Box 5 beside it went on at a normal voltage" in silences["4"]


@pytest.mark.parametrize(
    ("signs", "likely"),
    [
        (SilenceSigns(20.0, True, 0.0, 20.0, 100.0, (), 3), True),
        (SilenceSigns(20.0, True, 0.0, None, 100.0, (), 3), False),
        (SilenceSigns(20.0, True, 19.0, None, 2.0, (), 3), False),  # it measured on, at 2 %: an interruption
        (SilenceSigns(20.0, True, 0.0, None, 2.0, (), 3, ((GapReason.LINE, 20.0),)), False),
        (SilenceSigns(20.0, False, None, None, 100.0, (), 3), False),
        (SilenceSigns(20.0, False, None, None, 2.0, (), 3), True),
        (SilenceSigns(20.0, False, None, None, 2.0, (), 0), True),
        (SilenceSigns(20.0, False, None, None, None, (), 0), False),
        (SilenceSigns(20.0, False, None, None, 60.0, (NeighbourSight("2", False, 5.0),), 0), False),
        (SilenceSigns(20.0, False, None, None, 60.0, (NeighbourSight("2", True, 5.0),), 3, gateways=2), True),
        (SilenceSigns(20.0, False, None, None, 100.0, (NeighbourSight("2", False, 100.0),), 0), False),
    ],
)
def test_signs_are_weighed(signs: SilenceSigns, likely: bool) -> None:
    judged = judge_silence(signs)
    assert (judged.probability >= OutageSection().least_probability) == likely, judged
    assert all(each.words for each in judged.evidence)
    assert "Box 2" not in judged.because, "who sees the silent Box need not see that one"


HISTORY = ("1", "2")
spans = st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=6)
"""Seconds, and whether a Box is heard in them."""


def as_columns(rows: list[Measurement]) -> Measurements:
    """The same Measurements, as a history makes them."""
    return Measurements.of_windows(
        HISTORY,
        (Nominal(NOMINAL_V, 50.0),) * 2,
        np.array([HISTORY.index(row.box_id) for row in rows], np.int64),
        np.array([row.start_ns for row in rows], np.int64),
        np.array([row.end_ns for row in rows], np.int64),
        np.full((len(rows), 4, 3), NOMINAL_V, np.float32),
        1000,
        TimeSource.GPS,
    )


@settings(max_examples=25, deadline=None)
@given(
    heard=st.tuples(spans, spans),
    looks=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    forms=st.lists(st.sampled_from(["columns", "rows", "nothing", "half"]), min_size=6, max_size=6),
    crossings=st.sets(st.integers(0, 90), max_size=4),
)
def test_noted_rows_are_judged_as_read(
    heard: tuple[list[tuple[int, bool]], ...],
    looks: list[int],
    forms: list[str],
    crossings: set[int],
) -> None:
    of_box = [[each for length, on in own for each in [on] * length] for own in heard]
    now_s = 0
    with TemporaryDirectory() as folder:
        store = open_store(None, Path(folder) / "store")
        read, shown = (
            OutageWatch(
                lambda: store,
                OutageSection(),
                Nominal(NOMINAL_V, 50.0),
                lambda box_id: BoxPlace(),
                lambda: now_s,
                lossless=True,
            )
            for _ in range(2)
        )
        for length, form in zip(looks, forms, strict=False):
            rows = [
                Measurement(
                    box_id,
                    ZERO_NS // 10**6 + 1000 * (k + 1),
                    {"rms": Metric(*[NOMINAL_V] * 3)},
                    ZERO_NS + k * S,
                    ZERO_NS + (k + 1) * S,
                    1000,
                    TimeSource.GPS,
                    crossing=k in crossings and box_id == "1",
                )
                for k in range(now_s, now_s + length)
                for box_id, own in zip(HISTORY, of_box, strict=True)
                if own[k % len(own)]
            ]
            store.append_measurements(rows)
            whole = [row for row in rows if not row.crossing]
            if form == "columns":
                shown.note_stored(as_columns(whole))
            elif form != "nothing":
                shown.note_stored(rows[: len(rows) // 2] if form == "half" else rows)
            now_s += length
            assert shown.find_changes() == read.find_changes()
            assert (shown.open_outages, shown.network_losses) == (read.open_outages, read.network_losses)
        store.close()


def test_a_noted_minute_is_not_read(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it was noted."""
    grid = SilentGrid(store, {"1": "north", "2": "north"})
    watch = OutageWatch(
        lambda: store,
        OutageSection(),
        Nominal(NOMINAL_V, 50.0),
        lambda box_id: BoxPlace(),
        lambda: grid.now_s,
    )
    for begin in (0, 60, 120):
        rows = [row for box_id in HISTORY for row in grid.measure(box_id, begin, begin + 60)]
        store.append_measurements(rows)
        watch.note_stored(as_columns(rows))
        with monkeypatch.context() as patched:
            if begin:  # the first check reads what came before it
                patched.setattr(store, "measurements", None)
            assert watch.find_changes() == []


def test_no_box_is_read_back_after_the_end(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first check reads back a thousand Measurements of each Box, which takes seconds for a large house."""
    grid = SilentGrid(store, {"1": "north", "2": "north"})
    rows = [row for box_id in HISTORY for row in grid.measure(box_id, 0, 60)]
    store.append_measurements(rows)
    watch = OutageWatch(
        lambda: store,
        OutageSection(),
        Nominal(NOMINAL_V, 50.0),
        lambda box_id: BoxPlace(),
        lambda: grid.now_s,
    )
    read = []
    measurements = store.measurements
    monkeypatch.setattr(store, "measurements", lambda *words: read.append(words[0]) or measurements(*words))
    assert watch.find_changes(lambda: bool(read)) == []
    assert len(set(read)) == 1
    assert watch.find_changes() == [] and len(set(read)) == len(HISTORY)
