"""Places of simulated Boxes: written to the registry at the start of `up`; people's entries stay.

`up` notes what it wrote for each Box. A field that has changed since then is a person's entry, and stays; an
unchanged field follows the scenario, and is removed when a real Box gets the number. Separate from
`access.py`, because it writes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from opq_cloud.store import BoxRecord, LocationRecord
from opq_proto.errors import OpqError
from opq_proto.kit.whole_file import PRIVATE_MODE, write_whole_file
from opq_sim.box.simulated_places import PLACE_MADE_UP, SimulatedPlace, simulated_places
from opq_tools.up.plan import UpPlan
from opq_tools.up.plan_store import store_of

NOTED_FILE = "simulated_boxes.json"
"""File in the data folder: Box id -> field -> text that `up` wrote."""
FIELDS = ("location", "region", "feeder", "site", "phase", "description")
Facts = Mapping[str, str]


def write_simulated_places(plan: UpPlan) -> None:
    """Writes places before the cloud starts; nothing where the store cannot be opened: the cloud logs why."""
    places = {} if plan.fleet is None else {each.box_id: each for each in simulated_places(plan.fleet)}
    sites = {box_id: name for name, ids in plan.groups.items() for box_id in ids}
    noted = read_noted(plan.data_dir / NOTED_FILE)
    box_ids = [box.box_id for box in plan.boxes]
    if not places and not any(box_id in noted for box_id in box_ids):
        return
    try:
        with store_of(plan) as store:
            locations = store.locations()
            known = {box.box_id: box for box in store.boxes()}
            for box_id in box_ids:
                place = places.get(box_id)
                now = known.get(box_id)
                stored = {name: str(getattr(now, name, None) or "") for name in FIELDS}
                changed = changed_facts(wanted_facts(place, sites.get(box_id)), stored, noted.get(box_id))
                if not changed:
                    continue
                if place is not None and "location" in changed and place.slug not in locations:
                    description = f"{place.name} (simulated)"
                    store.put_location(
                        LocationRecord(place.slug, place.latitude, place.longitude, description)
                    )
                store.put_box(
                    BoxRecord(
                        box_id,
                        "",
                        location=changed.get("location"),
                        region=changed.get("region"),
                        feeder=changed.get("feeder"),
                        site=changed.get("site"),
                        phase=changed.get("phase"),
                        description=changed.get("description"),
                    )
                )
                noted[box_id] = {**noted.get(box_id, {}), **changed}
        write_noted(plan.data_dir / NOTED_FILE, noted)
    except OpqError:
        return


def wanted_facts(place: SimulatedPlace | None, site: str | None = None) -> Facts:
    """Facts for the registry; none for a Box that is not simulated."""
    if place is None:
        return {}
    return {
        "location": place.slug,
        "region": place.region,
        "feeder": place.feeder or "",
        "site": site or "",
        "phase": place.phase or "",
        "description": PLACE_MADE_UP,
    }


def changed_facts(wanted: Facts, stored: Facts, noted: Facts | None) -> dict[str, str]:
    """The fields to write; "" removes a field.

    Args:
        stored: present fields of the registry, "" for an empty one.
        noted: fields written last; None: never any, and then a Box that has a place is left unchanged.
    """
    if noted is None:
        placed = any(stored.get(name) for name in FIELDS)
        return {} if placed else {name: text for name, text in wanted.items() if text}
    found = {}
    for name in FIELDS:
        now, want = stored.get(name, ""), wanted.get(name, "")
        if now == noted.get(name, "") and now != want:
            found[name] = want
    return found


def read_noted(path: Path) -> dict[str, dict[str, str]]:
    """Reads the notes; empty where missing or unreadable: then every Box with a place is left unchanged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(box_id): {str(name): str(text) for name, text in facts.items()}
        for box_id, facts in found.items()
        if isinstance(facts, dict)
    }


def write_noted(path: Path, noted: Mapping[str, Facts]) -> None:
    """Writes the notes; raises OpqError where the folder cannot be written."""
    write_whole_file(path, [json.dumps(noted, indent=1).encode()], PRIVATE_MODE)
