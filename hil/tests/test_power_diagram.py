"""The ASCII one-line diagram of a network."""

import pytest

from opq_proto.config.reading import build
from opq_sim.power_system.diagram import one_line_diagram
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig, network_problems
from opq_sim.power_system.places import PlaceError

DOCUMENT = {
    "supply": {"bus": "mv", "short_circuit_mva": 100.0},
    "bus": [{"id": name, "nominal_kv": kv} for name, kv in (("mv", 20.0), ("lv", 0.4), ("far", 20.0))],
    "feeder": [
        {"id": "feeder1", "from_bus": "mv", "km": 4.0},
        {"id": "feeder2", "from_bus": "mv", "to_bus": "far", "km": 9.0, "kind": "cable"},
        {"id": "tie", "from_bus": "feeder1/4km", "to_bus": "far", "km": 1.5},
    ],
    "transformer": [{"id": "t1", "from_bus": "feeder1/2.5km", "to_bus": "lv", "rating_kva": 630.0}],
    "load": [
        {"bus": "lv", "kw": 5.0, "phases": "a"},
        {"bus": "far", "kw": 300.0, "kvar": 90.0},
    ],
    "capacitor": [{"bus": "mv", "kvar": 600.0}],
    "generation": [{"id": "diesel", "bus": "lv", "rating_kva": 250.0, "kw": 1.0}],
}

DRAWN = """\
(~) supply  100 MVA
=== mv  20 kV
 +-||- capacitor  600 kvar
 +---- feeder1  overhead, 4 km
 |   o 2.5 km
 |   |  +-(())- t1  Dyn11, 630 kVA, 4 %
 |   |         === lv  0.4 kV
 |   |          +--> load  5 kW on a
 |   |          +-(G) diesel  250 kVA, gives 1 kW
 |   |          +--[] Box 7
 |   o 4 km
 |      +---- tie  overhead, 1.5 km
 |          === far  20 kV
 |           +--> load  300 kW, 90 kvar
 +---- feeder2  cable, 9 km
     o 3.1 km
     |  +--[] Box 8
     |  +--[] Box 9
     === far  see above
"""


def network() -> PowerNetwork:
    return PowerNetwork(build(NetworkConfig, DOCUMENT, cross_check=network_problems))


def test_a_network_is_drawn_from_its_supply_on() -> None:
    drawn = one_line_diagram(network(), {"lv": ["Box 7"], "feeder2/3.1km": ["Box 8", "Box 9"]})
    assert drawn == DRAWN, drawn


def test_each_thing_of_the_network_has_one_line() -> None:
    lines = one_line_diagram(network()).splitlines()
    for name in (" mv ", " lv ", " t1 ", " feeder1 ", " feeder2 ", " tie ", " diesel ", "600 kvar", "300 kW"):
        assert sum(name in line for line in lines) == 1, name
    assert all(line.isascii() and len(line) <= 100 for line in lines)


def test_a_mark_needs_a_place() -> None:
    with pytest.raises(PlaceError, match="feeder9"):
        one_line_diagram(network(), {"feeder9/1km": ["Box 1"]})
