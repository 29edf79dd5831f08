"""Places of simulated Boxes in the registry: what `up` writes, and what it leaves to people."""

from contextlib import closing
from pathlib import Path

import pytest

from opq_cloud.store import BoxRecord, LocationRecord, open_store
from opq_cloud.store.box_record import MADE_UP
from opq_gateway.config import load as read_gateway
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.box.simulated_places import PLACE_MADE_UP, simulated_places
from opq_tools.up.box_places import NOTED_FILE, changed_facts, write_simulated_places
from opq_tools.up.plan import HardwareBox, UpPlan

OURS = {"location": "village-church", "region": "village", "description": PLACE_MADE_UP}


def plan(data_dir: Path, *real: str, **options: object) -> UpPlan:
    fleet = plan_fleet(**options) if options else None  # type: ignore[arg-type]
    hardware = tuple(HardwareBox(box_id, "socket://127.0.0.1:1") for box_id in real)
    found = UpPlan(data_dir, 0, fleet, hardware, {}, trace=False)
    found.prepare()
    return found


def registry(data_dir: Path) -> dict[str, BoxRecord]:
    with closing(open_store(None, data_dir)) as store:
        return {box.box_id: box for box in store.boxes()}


def test_every_scenario_box_has_a_place() -> None:
    """Boxes at one bus share a place."""
    village = {each.box_id: each for each in simulated_places(plan_fleet(scenario="village"))}
    assert len(village) == 12 and len({each.slug for each in village.values()}) == 6
    assert village["7"].feeder == "feeder2" and village["7"].phase == "a" and village["7"].name == "Sawmill"
    default = simulated_places(plan_fleet())
    assert [each.box_id for each in default] == ["1", "4", "2"]
    assert len({each.feeder for each in default}) == 3 and {each.region for each in default} == {"island"}
    plain = simulated_places(plan_fleet(sim=12))
    assert len({(each.latitude, each.longitude) for each in plain}) == 12


def test_three_gps_phases_form_a_group(tmp_path: Path) -> None:
    """The phases are at one place, and each Box has GPS."""
    for scenario, groups in (("three_phases", [["1", "2", "3"]]), ("village", [])):
        plan(tmp_path / scenario, scenario=scenario)
        told = read_gateway(tmp_path / scenario / "config" / "gateway.toml")
        assert [list(each.boxes) for each in told.group] == groups
        assert ("unbalance" in told.uplink.send) == bool(groups)
    write_simulated_places(plan(tmp_path / "three_phases", scenario="three_phases"))
    told = read_gateway(tmp_path / "three_phases" / "config" / "gateway.toml")
    assert {each.site for each in registry(tmp_path / "three_phases").values()} == {told.group[0].name}


@pytest.mark.parametrize(
    ("stored", "noted", "expected"),
    [
        ({}, None, OURS),  # no place was ever set
        ({"feeder": "f2"}, None, {}),  # a person did, before the first `up`
        ({"location": "cellar"}, None, {}),
        (OURS, OURS, {}),
        ({**OURS, "location": "cellar", "region": ""}, OURS, {}),  # a person moved it: its region went too
        ({"description": PLACE_MADE_UP}, OURS, {}),  # a person took the place away
        ({**OURS, "location": "hill"}, {**OURS, "location": "hill"}, {"location": "village-church"}),
    ],
)
def test_a_persons_place_stays(
    stored: dict[str, str], noted: dict[str, str] | None, expected: dict[str, str]
) -> None:
    assert changed_facts(OURS, stored, noted) == expected


def test_a_real_box_loses_only_ups_places() -> None:
    assert changed_facts({}, OURS, OURS) == dict.fromkeys(OURS, "")
    assert "location" not in changed_facts({}, {**OURS, "location": "cellar"}, OURS)


def test_stored_places_follow_the_scenario_not_persons(tmp_path: Path) -> None:
    """Another scenario moves the Boxes, except those that a person has placed."""
    write_simulated_places(plan(tmp_path, sim=3))
    first = registry(tmp_path)
    assert set(first) == {"1", "2", "3"} and first["1"].description == PLACE_MADE_UP
    with closing(open_store(None, tmp_path)) as store:
        assert store.locations()[str(first["1"].location)].latitude == pytest.approx(21.5, abs=0.2)
        store.put_location(LocationRecord("cellar", 47.0, 8.0))
        store.put_box(BoxRecord("2", "Mine", location="cellar"))
    write_simulated_places(plan(tmp_path, "3", scenario="sag_230v_50hz"))
    then = registry(tmp_path)
    assert (then["1"].feeder, then["1"].location) == ("north", "sag-230v-50hz-box-1")
    assert (then["2"].name, then["2"].location, then["2"].region) == ("Mine", "cellar", None)
    assert then["3"].location is None and then["3"].description is None  # a real Box now
    (tmp_path / NOTED_FILE).write_text("[")  # what was written is no longer known: all of it is somebody's
    write_simulated_places(plan(tmp_path, sim=3))
    assert registry(tmp_path)["1"].location == "sag-230v-50hz-box-1"


def test_the_store_knows_what_is_made_up() -> None:
    assert MADE_UP == PLACE_MADE_UP
