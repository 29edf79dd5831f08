"""A network's phasors against the closed forms of textbooks: dividers, symmetrical components, Millman."""

import cmath
import math
from pathlib import Path

import numpy as np
import pytest

from opq_proto.config.reading import build
from opq_proto.errors import ConfigError
from opq_sim.power_system.network.branches import TURN
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig, network_problems
from opq_sim.power_system.network.network_faults import ShortCircuit
from opq_sim.power_system.network.shunts import Shunt
from opq_sim.power_system.network.switching import OpenNeutral, Switching
from opq_sim.power_system.places import PlaceError

BARE = {"r_ohm_per_km": 0.3, "x_ohm_per_km": 0.4, "r0_ohm_per_km": 0.5, "x0_ohm_per_km": 1.4}
BARE |= {"c_nf_per_km": 0.0, "c0_nf_per_km": 0.0}
MV_V = 20_000 / math.sqrt(3)
LV_V = 400 / math.sqrt(3)


def network(**tables: object) -> PowerNetwork:
    document = {
        "supply": {"bus": "mv", "short_circuit_mva": 100.0, "x_r": 5.0, "zero_ratio": 2.0},
        "bus": [{"id": "mv", "nominal_kv": 20.0}, {"id": "lv", "nominal_kv": 0.4}],
        "feeder": [
            {"id": "feeder1", "from_bus": "mv", "km": 4.0, **BARE},
            {"id": "feeder2", "from_bus": "mv", "km": 10.0, **BARE},
        ],
        "transformer": [
            {"id": "t1", "from_bus": "feeder1/4km", "to_bus": "lv", "rating_kva": 630.0, "uk_percent": 4.0}
        ],
    }
    return PowerNetwork(build(NetworkConfig, document | tables, "net.toml", cross_check=network_problems))


def supply_ohm(ratio: float = 1.0) -> complex:
    size = 20_000**2 / 100e6
    return ratio * size / math.hypot(1, 5) * complex(1, 5)


def line_ohm(km: float) -> complex:
    return km * complex(0.3, 0.4)


def line0_ohm(km: float) -> complex:
    return km * complex(0.5, 1.4)


def near(actual: complex, wanted: complex, nominal_v: float = MV_V) -> bool:
    return abs(actual - wanted) < 1e-5 * nominal_v


@pytest.mark.parametrize("km", [0.1, 3.1, 10.0])
@pytest.mark.parametrize("resistance_ohm", [0.0, 2.5])
def test_a_three_phase_dip_is_a_divider(km: float, resistance_ohm: float) -> None:
    fault = ShortCircuit(f"feeder2/{km}km", "LLL", resistance_ohm=resistance_ohm)
    at = network().voltages(faults=[fault])
    share = (line_ohm(km) + resistance_ohm) / (supply_ohm() + line_ohm(km) + resistance_ohm)
    for bus in ("mv", "feeder1/4km"):
        assert all(near(at[bus][k], MV_V * share * turn) for k, turn in enumerate((1, TURN**2, TURN)))
    assert abs(at["lv"][0]) / LV_V == pytest.approx(abs(share), abs=1e-5)


def test_an_earth_fault_is_three_networks() -> None:
    at = network().voltages(faults=[ShortCircuit("feeder2/3km", "LG", resistance_ohm=1.5)])
    z1, z0 = supply_ohm() + line_ohm(3), supply_ohm(2.0) + line0_ohm(3)
    current = MV_V / (2 * z1 + z0 + 3 * 1.5)
    v0, v1, v2 = -supply_ohm(2.0) * current, MV_V - supply_ohm() * current, -supply_ohm() * current
    assert near(at["mv"][0], v0 + v1 + v2)
    assert near(at["mv"][1], v0 + TURN**2 * v1 + TURN * v2)
    assert near(at["mv"][2], v0 + TURN * v1 + TURN**2 * v2)
    assert near(at["feeder2/3km"][0], 3 * current * 1.5)


def test_a_fault_between_phases_and_one_with_earth() -> None:
    z1, z0 = supply_ohm() + line_ohm(3), supply_ohm(2.0) + line0_ohm(3)
    between = network().voltages(faults=[ShortCircuit("feeder2/3km", "LL", resistance_ohm=2.0)])
    current = MV_V / (2 * z1 + 2.0)
    v1, v2 = MV_V - supply_ohm() * current, supply_ohm() * current
    assert near(between["mv"][0], MV_V)
    assert near(between["mv"][1], TURN**2 * v1 + TURN * v2)
    earthed = network().voltages(faults=[ShortCircuit("feeder2/3km", "LLG", resistance_ohm=2.0)])
    at_zero = z0 + 3 * 2.0
    i1 = MV_V / (z1 + z1 * at_zero / (z1 + at_zero))
    i2, i0 = -i1 * at_zero / (z1 + at_zero), -i1 * z1 / (z1 + at_zero)
    v0, v1, v2 = -supply_ohm(2.0) * i0, MV_V - supply_ohm() * i1, -supply_ohm() * i2
    assert near(earthed["mv"][0], v0 + v1 + v2)
    assert near(earthed["mv"][1], v0 + TURN**2 * v1 + TURN * v2)


def test_an_unearthed_fault_lifts_other_phases() -> None:
    supply = {"bus": "mv", "short_circuit_mva": 100.0, "earthed": False}
    at = network(supply=supply).voltages(faults=[ShortCircuit("feeder2/3km", "LG", resistance_ohm=10.0)])
    assert abs(at["mv"][0]) < 1e-4 * MV_V
    assert abs(at["mv"][1]) == pytest.approx(20_000, rel=1e-4)
    assert np.allclose(np.abs(at["lv"]), LV_V, rtol=1e-4)


def test_the_named_phases_are_struck() -> None:
    at = network().voltages(faults=[ShortCircuit("feeder2/1km", "LL", "ca")])["mv"]
    assert near(at[1], MV_V * TURN**2)
    assert abs(at[0]) < 0.9 * MV_V > abs(at[2])


@pytest.mark.parametrize(
    ("group", "lag_deg"),
    [("Dyn11", -30), ("Dyn5", 150), ("YNd1", 30), ("Dd0", 0), ("Yyn6", 180)],
)
def test_a_transformer_turns_by_its_clock_number(group: str, lag_deg: float) -> None:
    transformer = {"id": "t1", "from_bus": "mv", "to_bus": "lv", "rating_kva": 630.0, "vector_group": group}
    at = network(transformer=[transformer | {"tap_pu": 1.025}]).voltages()
    wanted = 1.025 * LV_V * cmath.exp(-1j * math.radians(lag_deg))
    assert near(at["lv"][0], wanted, LV_V)
    assert near(at["lv"][1], wanted * TURN**2, LV_V)


def test_a_tap_set_by_switching_is_a_ratio() -> None:
    at = network().voltages(switching=Switching(taps_pu=(("t1", 0.95),)))
    assert abs(at["lv"][0]) == pytest.approx(0.95 * LV_V, rel=1e-6)


def test_a_standstill_motor_is_an_impedance() -> None:
    grid = network()
    z = grid.thevenin("lv").z1
    wanted = supply_ohm() + line_ohm(4)
    turns = 20_000 / 400
    transformer = 0.04 * 400**2 / 630e3 / math.hypot(1, 4) * complex(1, 4)
    assert z == pytest.approx(wanted / turns**2 + transformer, rel=1e-6)
    motor = Shunt("lv", kw=60.0, kvar=160.0)
    load = 3 * LV_V**2 / complex(60e3, -160e3)
    assert abs(grid.voltages(shunts=[motor])["lv"][0]) == pytest.approx(
        LV_V * abs(load / (load + z)), rel=1e-6
    )
    raised = grid.voltages(shunts=[Shunt("feeder1/4km", kvar=-900.0)])["mv"]
    assert abs(raised[0]) > MV_V


def test_thevenin_of_the_zero_sequence_follows_the_winding() -> None:
    grid = network()
    transformer = 0.04 * 400**2 / 630e3 / math.hypot(1, 4) * complex(1, 4)
    assert grid.thevenin("lv").z0 == pytest.approx(transformer, rel=1e-6)  # Dyn11: the delta is the path
    assert grid.thevenin("feeder2/2.5km").z0 == pytest.approx(supply_ohm(2.0) + line0_ohm(2.5), rel=1e-6)
    isolated = [{"id": "t1", "from_bus": "mv", "to_bus": "lv", "rating_kva": 630.0, "vector_group": "Yd5"}]
    assert abs(network(transformer=isolated).thevenin("lv").z0) > 1e6


def test_a_harmonic_meets_its_orders_impedance() -> None:
    grid = network()
    current = 10.0 * np.exp(2j * np.pi / 3 * np.array([0, 1, -1]))  # the fifth: negative sequence
    at = grid.harmonic_voltages(5, {"lv": current})
    z5 = grid.thevenin("lv", order=5).z2
    assert z5.imag == pytest.approx(5 * grid.thevenin("lv").z2.imag, rel=1e-6)
    assert at["lv"][0] == pytest.approx(10 * z5, rel=1e-6)
    upstream = supply_ohm() + line_ohm(4)
    upstream = complex(upstream.real, 5 * upstream.imag)
    assert abs(at["feeder1/4km"][0]) == pytest.approx(10 / 50 * abs(upstream), rel=1e-6)


def test_a_broken_neutral_follows_millman() -> None:
    loads = [
        {"bus": "lv", "kw": 5.0, "phases": "a"},
        {"bus": "lv", "kw": 1.0, "phases": "b"},
        {"bus": "lv", "kw": 2.0, "phases": "c"},
    ]
    at = network(load=loads).voltages(switching=Switching(open_neutrals=(OpenNeutral("lv"),)))["lv"]
    line = at - at.mean()
    siemens = np.array([5.0, 1.0, 2.0]) * 1e3 / LV_V**2
    source = line - line.mean()
    star = (siemens * source).sum() / siemens.sum()
    assert np.allclose(at, source - star, atol=1e-6 * LV_V)
    assert abs((siemens * at).sum()) < 1e-6  # amperes that must not leave
    assert abs(at[1]) > 1.2 * LV_V > 0.8 * LV_V > abs(at[0])
    whole = network(load=loads).voltages()["lv"]
    assert np.allclose(np.abs(whole), LV_V, rtol=0.01)
    earthed = Switching(open_neutrals=(OpenNeutral("lv", earth_ohm=1e-4),))
    assert np.allclose(np.abs(network(load=loads).voltages(switching=earthed)["lv"]), LV_V, rtol=0.01)


def test_houses_before_a_broken_neutral_are_unaffected() -> None:
    street = {"id": "street", "from_bus": "lv", "km": 0.4, "kind": "cable"}
    feeders = [{"id": "feeder1", "from_bus": "mv", "km": 4.0, **BARE}, street]
    loads = [
        {"bus": "street/0.1km", "kw": 6.0, "phases": "a"},
        {"bus": "street/0.3km", "kw": 6.0, "phases": "a"},
        {"bus": "street/0.4km", "kw": 1.5, "phases": "b"},
    ]
    broken = Switching(open_neutrals=(OpenNeutral("street/0.2km"),))
    at = network(feeder=feeders, load=loads).voltages(switching=broken)
    assert np.allclose(np.abs(at["street/0.1km"]), LV_V, rtol=0.02)
    # the two houses behind it stand in series between phases a and b
    across = math.sqrt(3) * LV_V
    assert abs(at["street/0.3km"][0]) == pytest.approx(across * 1.5 / 7.5, rel=0.05)
    assert abs(at["street/0.4km"][1]) == pytest.approx(across * 6.0 / 7.5, rel=0.02)


def test_what_an_open_switch_cuts_off_is_dead() -> None:
    grid = network()
    opened = grid.voltages(switching=Switching(open_at=frozenset({"feeder1"})))
    assert np.abs(opened["lv"]).max() < 1e-3
    assert near(opened["mv"][0], MV_V)
    halfway = grid.with_places(["feeder2/4km", "feeder2/6km"])
    cut = halfway.voltages(switching=Switching(open_at=frozenset({"feeder2/5km"})))
    assert near(cut["feeder2/4km"][0], MV_V)
    assert np.abs(cut["feeder2/6km"]).max() < 1e-3 * MV_V


def test_generation_gives_its_power_and_feeds_an_island() -> None:
    tables = {
        "generation": [{"id": "diesel", "bus": "lv", "rating_kva": 400.0, "kw": 200.0, "kvar": 50.0}],
        "load": [{"bus": "lv", "kw": 190.0, "kvar": 45.0}],
    }
    grid = network(**tables)
    volts = grid.voltages()["lv"][0]
    load_a = (complex(190e3, 45e3) / 3 / LV_V**2).conjugate() * volts
    high = grid.voltages()["feeder1/4km"][0] / 50 * cmath.exp(1j * math.radians(30))
    transformer = 0.04 * 400**2 / 630e3 / math.hypot(1, 4) * complex(1, 4)
    given_va = 3 * volts * (load_a - (high - volts) / transformer).conjugate()
    assert given_va == pytest.approx(complex(200e3, 50e3), rel=1e-5)
    island = grid.voltages(switching=Switching(open_at=frozenset({"t1"})))
    assert 0.9 * LV_V < abs(island["lv"][0]) < 1.2 * LV_V
    assert np.abs(island["mv"][0]) == pytest.approx(MV_V, rel=1e-3)
    dead = grid.voltages(switching=Switching(open_at=frozenset({"supply", "diesel"})))
    assert all(np.abs(phasors).max() < 1e-6 for phasors in dead.values())


def test_places_distances_and_the_way_from_the_supply() -> None:
    grid = network()
    assert grid.node("feeder2/3.10 km") == "feeder2/3.1km"
    assert grid.node("feeder2/0km") == "mv"
    assert grid.distance_km("feeder2/3.1km", "lv") == pytest.approx(7.1)
    assert grid.distance_km("feeder2/3.1km", "feeder2/8km") == pytest.approx(4.9)
    assert grid.upstream("feeder1/2km", "lv")
    assert not grid.upstream("lv", "feeder1/2km")
    assert not grid.upstream("feeder2/2km", "lv")
    assert not grid.upstream("lv", "lv")
    for wrong in ("feeder3/1km", "feeder2/11km", "mw", "feeder2", "feeder2/-1km", "", "a b"):
        with pytest.raises(PlaceError):
            grid.node(wrong)
    with pytest.raises(PlaceError, match="feeder9"):
        grid.voltages(switching=Switching(open_at=frozenset({"feeder9"})))


def test_more_places_do_not_change_the_voltages() -> None:
    few = network(load=[{"bus": "feeder2/8km", "kw": 500.0}])
    many = few.with_places([f"feeder2/{km}km" for km in range(1, 10)])
    assert np.allclose(few.voltages()["feeder2/8km"], many.voltages()["feeder2/8km"], rtol=1e-7)


def test_answers_do_not_depend_on_history() -> None:
    tables: dict[str, object] = {
        "generation": [{"id": "diesel", "bus": "lv", "rating_kva": 400.0, "kw": 200.0}],
        "load": [{"bus": "lv", "kw": 190.0}],
    }
    fault = ShortCircuit("feeder2/3.3km", "LLG")
    fresh = network(**tables).voltages(faults=[fault])
    used = network(**tables)
    used.voltages()
    used.with_places(["feeder1/1km"]).thevenin("feeder2/3.3km")
    again = used.voltages(faults=[fault])
    assert all(np.array_equal(again[node], phasors) for node, phasors in fresh.items())


FAULTY = """
[supply]
bus = "hv"
x_r = "ten"
[[bus]]
id = "mv"
nominal_kv = 20
[[bus]]
id = "mv"
nominal_kw = 20
[[feeder]]
id = "f1"
from_bus = "mv"
km = 3.0
[[transformer]]
id = "t1"
from_bus = "f1/4km"
to_bus = "lv"
rating_kva = 100.0
vector_group = "Dyn0"
[[load]]
bus = "f2/1km"
"""


def test_all_file_errors_name_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text(FAULTY)
    with pytest.raises(ConfigError) as raised:
        PowerNetwork.from_file(file)
    text = str(raised.value)
    assert text.startswith("net.toml: 9 problems")
    for wanted in (
        "supply.bus ",
        "supply.x_r ",
        "bus[1].id ",
        'did you mean "nominal_kv"?',
        "bus[1].nominal_kv ",
        "transformer[0].from_bus ",
        "f1 is 3 km long",
        "transformer[0].to_bus ",
        "'Dyn0'; its clock number must be odd",
        "load[0].bus ",
    ):
        assert wanted in text, text


SMALL = {"id": "t1", "from_bus": "mv", "to_bus": "lv", "rating_kva": 5.0}
CIRCLE = [
    {"id": "f1", "from_bus": "f2/1km", "km": 2.0},
    {"id": "f2", "from_bus": "f1/1km", "km": 2.0},
]
HANGING: list[tuple[dict[str, object], str]] = [
    ({"bus": [{"id": n, "nominal_kv": 20.0} for n in ("mv", "lv", "x")]}, "nothing joins it to the supply"),
    ({"feeder": CIRCLE, "transformer": [SMALL]}, "is fed by itself"),
    (
        {"feeder": [{"id": "feeder1", "from_bus": "mv", "to_bus": "lv", "km": 4.0}]},
        "has 0.4 kV; from_bus has 20.0 kV",
    ),
]


@pytest.mark.parametrize(("tables", "problem"), HANGING)
def test_a_disconnected_network_is_refused(tables: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        network(**tables)


def test_bad_faults_and_shunts_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="want LG, LL, LLG or LLL"):
        ShortCircuit("mv", "LLLG")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="want such as bc"):
        ShortCircuit("mv", "LL", "a")
    with pytest.raises(ValueError, match="0 or more"):
        ShortCircuit("mv", "LG", resistance_ohm=-1.0)
    with pytest.raises(ValueError, match="want abc"):
        Shunt("mv", kw=1.0, phases="abd")
    with pytest.raises(ValueError, match="above 0"):
        OpenNeutral("mv", earth_ohm=0.0)
