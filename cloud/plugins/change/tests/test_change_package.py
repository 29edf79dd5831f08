"""The package as a stranger installs it: its process finds a planted step, and uses the SDK only."""

import ast
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from box_months import HOURS, START_NS, at_hour, month
from change_figures import FLEETS
from known_fleets import KnownFleet, known_fleet
from plugin_zips import stored

from analyses import change, likeness
from opq_change.likeness import likenesses, most_likely
from opq_cloud.mauka.running.streams.history_feed import histories
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_plugins.host.plugins import Plugins
from opq_plugins.package.archive import pack
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk.nouns import ItemBatch, checked_history_request, checked_phenomena
from opq_proto.decision import Nominal
from opq_proto.messages import BoxHistory, Course, History, Phenomenon, Trend

PACKAGE = Path(__file__).resolve().parents[1]
HOUR_NS = 3_600 * 10**9
OWN_STEP = month(7, ("own_step",))
"""The gain of one of three Boxes steps."""


def box_history(box_id: str, percents: np.ndarray, dc: np.ndarray | None = None) -> BoxHistory:
    """A Box of 120 V with these ten minutes; NaN: flagged, with a wrong value."""
    flagged = np.isnan(percents)
    volts = np.where(flagged, 0.0, 1.2 * percents)
    hours = np.full(len(percents) // 6, np.nan) if dc is None else dc
    return BoxHistory(
        box_id,
        120.0,
        60.0,
        (
            Course("rms_v", 600_000, START_NS, volts, flagged),
            Course("dc", 3_600_000, START_NS, hours, np.zeros(len(hours), np.bool_)),
        ),
    )


@pytest.fixture(scope="module")
def history() -> History:
    """Three Boxes on one phase; what is a Box's own is small there."""
    supply = np.mean([box.values for box in OWN_STEP.boxes], axis=0)
    boxes = []
    for box in OWN_STEP.boxes:
        near = supply + 0.4 * (box.values - supply)
        tenths = np.interp(np.arange(HOURS * 6) / 6, np.arange(HOURS), near)
        boxes.append(box_history(box.box_id, tenths))
    (planted,) = OWN_STEP.planted
    boxes.insert(0, boxes.pop(planted.box or 0))
    return History(START_NS, START_NS + HOURS * HOUR_NS, tuple(boxes), (boxes[0].box_id,))


def check_own_step(found: list[Phenomenon], history: History) -> None:
    (own,) = (each for each in found if each.kind == "own_step")
    assert own.box_ids == history.subjects
    assert abs(at_hour(own.start_ns) - OWN_STEP.planted[0].hour) <= 24
    assert own.because.startswith(f"voltage of Box {own.box_ids[0]} moved by") and "{start}" in own.because
    assert (own.quantity, own.unit) == ("rms_v", "% of nominal")
    (profile,) = (each for each in found if each.kind == "periodic")
    assert profile.lasting and profile.details["period_s"] == 86_400.0


def test_a_planted_step_is_a_phenomenon(history: History) -> None:
    found = change.analyse(history, change.Config())
    assert len(checked_phenomena(found, [history])) == len(found)
    check_own_step(found, history)


def test_a_direct_voltage_that_moves_is_found() -> None:
    random = np.random.default_rng(4)
    dc = random.normal(0, 0.05, HOURS)
    dc[300:] += 2.0
    box = box_history("1", np.full(HOURS * 6, np.nan), dc)
    history = History(START_NS, START_NS + HOURS * HOUR_NS, (box,), ("1",))
    (step,) = (each for each in change.analyse(history, change.Config()) if each.kind == "level_step")
    assert (step.quantity, step.unit, at_hour(step.end_ns)) == ("dc", "V", 300)
    assert step.size == pytest.approx(2.0, abs=0.1)


def test_a_move_is_no_step(tmp_path: Path) -> None:
    """The direct voltage of the farm's socket is another one than that of the mill's."""
    random, at_ms = np.random.default_rng(4), START_NS // 10**6
    dc = random.normal(0, 0.05, HOURS)
    dc[300:] += 2.0
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        store.put_box(BoxRecord("1", "Box 1", site="mill", nominal_v=120.0))
        store.put_box(BoxRecord("1", "Box 1", site="farm"), at_ms + 300 * 3_600_000)
        rows = (Trend("1", at_ms + hour * 3_600_000, {"dc": (v, v, v)}) for hour, v in enumerate(dc.tolist()))
        store.put_trends(rows)
        while store.roll_up(at_ms + (HOURS + 2) * 3_600_000):
            pass
        request, now_ns = change.reads(change.Config()), START_NS + HOURS * HOUR_NS
        (history,) = histories(store, request, now_ns, Nominal(120.0, 60.0))
    assert "level_step" not in {each.kind for each in change.analyse(history, change.Config())}


def test_a_profile_begins_with_the_stay(history: History) -> None:
    """Nothing before the stay is made up; two Boxes are alike since the later of their stays."""
    since_ns = START_NS + 300 * HOUR_NS
    box = history.boxes[0]
    volts = box.courses[0].values.copy()
    volts[: 300 * 6] = np.nan
    courses = (replace(box.courses[0], values=volts), *box.courses[1:])
    moved = replace(history, boxes=(replace(box, courses=courses, since_ns=since_ns), *history.boxes[1:]))
    found = change.analyse(moved, change.Config())
    (profile,) = (each for each in found if each.kind == "periodic")
    assert profile.start_ns == since_ns and profile.details["peaks"] == (HOURS - 300) // 24
    assert all(each.start_ns >= since_ns for each in found)


@pytest.fixture(scope="module")
def fleet() -> KnownFleet:
    return known_fleet(FLEETS[0], 3)


def test_pairs_on_one_phase_are_phenomena(fleet: KnownFleet) -> None:
    """Each pair once, with the Box that comes first."""
    boxes = tuple(box_history(box_id, np.asarray(each)) for box_id, each in fleet.values.items())
    end_ns = START_NS + 14 * 24 * HOUR_NS
    history = History(START_NS, end_ns, boxes, tuple(fleet.values))
    found = checked_phenomena(likeness.analyse(history, likeness.Config()), [history])
    assert {each.box_ids for each in found} == {
        each.box_ids for each in most_likely(likenesses(fleet.values))
    }
    assert all(each.lasting and "likely on one phase" in each.because for each in found)
    since_ns = START_NS + 24 * HOUR_NS
    moved = replace(history, boxes=(*boxes[:-1], replace(boxes[-1], since_ns=since_ns)))
    starts = {each.box_ids: each.start_ns for each in likeness.analyse(moved, likeness.Config())}
    late = boxes[-1].box_id
    assert starts == {each: since_ns if late in each else START_NS for each in starts}


@pytest.mark.parametrize(
    ("analysis", "settings", "says"),
    [
        (change, {"days": 14}, "want 15 to 92"),
        (change, {"false_alarms": 0.0}, "want above 0"),
        (likeness, {"days": 3}, "want 4 to 92"),
        (likeness, {"least_likely": 1.0}, "want 0.5 to below 1"),
    ],
)
def test_settings_out_of_bounds_are_refused(analysis: object, settings: dict[str, float], says: str) -> None:
    checked_history_request(analysis.reads(analysis.Config()))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=says):
        analysis.Config(**settings)  # type: ignore[attr-defined]


def test_its_own_process_finds_the_step(history: History, tmp_path: Path) -> None:
    """Installed from its folder, confined, within the memory that Mauka allows."""
    limits = ProcessLimits(memory_bytes=1024 << 20, start_s=600.0)
    host = Plugins(tmp_path, Policy(limits=limits))
    try:
        host.create("package", "change", stored(host.uploads, pack(PACKAGE)[1]))
        analysis = host.analysis("change")()
        analysis.configure({"days": 30})
        assert analysis.reads() == change.reads(change.Config())
        result = analysis.analyse_items(ItemBatch.of("History", [history]), 120.0, 60.0)
        assert result.failed == 0, result.error
        check_own_step(result.phenomena, history)
        analysis.close()
    finally:
        host.close()


def test_it_imports_the_sdk_only() -> None:
    """Of ours, the nouns that each plug-in has; what it needs else is in its manifest."""
    manifest = json.loads((PACKAGE / "plugin.json").read_text())
    required = {each.partition(">")[0] for each in manifest["requires"]}
    found = set()
    for path in (*PACKAGE.glob("analyses/*.py"), *PACKAGE.glob("opq_change/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Import):
                found |= {each.name for each in node.names}
    ours = {each for each in found if each.startswith("opq_") and not each.startswith("opq_change")}
    assert ours == {"opq_proto.messages"}
    assert required <= {each.partition(".")[0] for each in found}
