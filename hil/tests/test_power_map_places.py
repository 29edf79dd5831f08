"""Where places of a network stand on a map, and how far an incident's centre is from there."""

from pathlib import Path

import pytest

from opq_sim.power_system.map_places import MapPlaces, distance_km
from opq_sim.power_system.power_scenario import load_power_scenario
from opq_sim.score.figures import score
from opq_sim.score.records import BoxSpan, FoundIncident, TrueDisturbance

VILLAGE = Path(__file__).parents[1] / "opq_sim" / "scenarios" / "village.toml"


@pytest.fixture(scope="module")
def places() -> MapPlaces:
    village = load_power_scenario(VILLAGE)
    return MapPlaces(village.network, {each.at: (each.latitude, each.longitude) for each in village.place})


def test_a_bus_and_transformer_share_a_place(places):
    church = (55.1554, 15.0363)
    assert places.coordinates("church") == church
    assert places.coordinates("tchurch") == church
    assert places.coordinates("feeder1/1.2km") == church


def test_a_point_is_placed_in_proportion(places):
    village = load_power_scenario(VILLAGE)
    taps = {each.to_bus: each.from_bus for each in village.network.transformer}
    km = {bus: float(taps[bus].partition("/")[2].removesuffix("km")) for bus in ("church", "school")}
    middle = (km["church"] + km["school"]) / 2
    church, school = places.coordinates("church"), places.coordinates("school")
    assert church is not None and school is not None
    found = places.coordinates(f"feeder1/{middle:g}km")
    assert found == pytest.approx(((church[0] + school[0]) / 2, (church[1] + school[1]) / 2))
    assert distance_km(church, found) == pytest.approx(distance_km(school, found), rel=1e-3)


@pytest.mark.parametrize("place", ["hv", "mv", "feeder1/0.1km", "feeder1/999km", "absent/1km", "", "a b c"])
def test_of_other_places_nothing_is_known(places, place):
    assert places.coordinates(place) is None


def test_a_longitude_degree_shrinks_northwards():
    assert distance_km((0.0, 10.0), (0.0, 11.0)) == pytest.approx(111.195)
    assert distance_km((60.0, 10.0), (60.0, 11.0)) == pytest.approx(111.195 / 2)
    assert distance_km((0.0, 179.5), (0.0, -179.5)) == pytest.approx(111.195)


def test_the_place_error_needs_both_places():
    def disturbance(number: int, at: tuple[float, float] | None) -> TrueDisturbance:
        return TrueDisturbance(str(number), "sag", "local", {"1": span(number)}, "fault", at)

    def incident(number: int, centre: tuple[float, float] | None) -> FoundIncident:
        return FoundIncident(number, "sag", "local", {"1": span(number)}, centre=centre)

    def span(number: int) -> BoxSpan:
        return BoxSpan("sag", number * 10**12, number * 10**12 + 10**8)

    truth = [disturbance(n, at) for n, at in enumerate([(55.0, 15.0), (55.0, 15.0), None, (55.0, 15.0)])]
    found = [incident(n, at) for n, at in enumerate([(55.01, 15.0), (55.03, 15.0), (55.0, 15.0), None])]
    assert score(truth, found)["place_error_km"] == {"median": 2.224, "p90": 3.113, "incidents": 2}
    assert score(truth, found[2:])["place_error_km"] == {"median": None, "p90": None, "incidents": 0}
