"""The Boxes of a history: how many, on which grid, and where they are."""

import hashlib
import time
from pathlib import Path

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_proto.errors import ConfigError
from opq_sim.box.simulated_places import PLACE_MADE_UP, places_of_network, sites_of
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import FleetGrid, network_grid, plain_grid, scenario_of
from opq_sim.mains.scenario import has_network
from opq_sim.power_system.power_scenario import load_power_scenario
from opq_tools.sim.history.progress_file import HistoryProgress


def wanted_history(
    path: Path | None, scenario: str | None, boxes: int | None, days: float, seed: int, end_ns: int | None
) -> HistoryProgress:
    """The requested history, not yet begun."""
    digest = ""
    if path is not None:
        if not has_network(path):
            raise ConfigError(f"{path.name}: a history needs a scenario with a table [network]")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = boxes or (3 if path is None else len(load_power_scenario(path).box))
    start_ns = (time.time_ns() if end_ns is None else end_ns) - round(days * 86_400e9)
    return HistoryProgress(scenario, digest, count, days, seed, start_ns)


def grid_of(path: Path | None, progress: HistoryProgress) -> FleetGrid:
    """The outlets of its Boxes."""
    if path is None:
        return plain_grid(box_ids_of(progress), seed=progress.seed)
    return network_grid(load_power_scenario(path), box_ids_of(progress), progress.seed)


def outages_of(progress: HistoryProgress) -> NetworkOutages | None:
    """When its Boxes have no network; None: never."""
    if not progress.outage_every_s:
        return None
    return NetworkOutages(box_ids_of(progress), progress.outage_every_s, progress.outage_s, progress.seed)


def put_boxes(store: CloudStore, path: Path, progress: HistoryProgress) -> None:
    """Stores where each Box is plugged in: its place, feeder and region, and its site where three Boxes with
    GPS are on the phases of one place.

    Facts that the store already has of a Box stay.
    """
    placed = scenario_of(load_power_scenario(path), box_ids_of(progress))
    known = {box.box_id for box in store.boxes()}
    nominal_v = {box.id: box.nominal_v or placed.nominal_v for box in placed.box}
    places = places_of_network(placed, path.stem)
    sites = {box_id: name[:32] for name, ids in sites_of(placed, places).items() for box_id in ids}
    for place in places:
        if place.box_id in known:
            continue
        store.put_location(
            LocationRecord(place.slug, place.latitude, place.longitude, f"{place.name} (simulated)")
        )
        record = BoxRecord(
            place.box_id,
            f"Box {place.box_id}",
            location=place.slug,
            nominal_v=nominal_v[place.box_id],
            nominal_hz=placed.nominal_hz,
            region=place.region,
            feeder=place.feeder,
            phase=place.phase,
            site=sites.get(place.box_id),
            description=PLACE_MADE_UP,
        )
        store.put_box(record)


def box_ids_of(progress: HistoryProgress) -> list[str]:
    """Ids of its Boxes."""
    return [str(number + 1) for number in range(progress.boxes)]
