"""`opq-tools sim show`: the diagram, what happens, and the picture."""

import json
from pathlib import Path

from click.testing import CliRunner

from opq_proto.errors import ConfigError
from opq_tools.sim.show import command

STREET = """
title = "one street"
network.supply = { bus = "mv", short_circuit_mva = 100.0 }
network.bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
network.feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
network.transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
box = [{ id = "1", at = "street" }]
cause = [
    { kind = "fault", at = "line/2km", at_s = 2.0 },
    { kind = "motor_start", at = "street", at_s = 9.0, values = { kw = 40.0 } },
    { kind = "lightning", at = "line/1km", at_s = 20.0, every_s = 60.0 },
    { kind = "ripple_control", at = "mv", at_s = 1531800.0 },
]
process = [{ kind = "arc_furnace", at = ["line/3km"], per_hour = 4.0, hours = [22.0, 6.0] }]
"""


def test_a_scenario_is_drawn_with_its_boxes(tmp_path: Path):
    (tmp_path / "street.toml").write_text(STREET, encoding="utf-8")
    picture = tmp_path / "causes.png"
    done = CliRunner().invoke(command, [str(tmp_path / "street.toml"), "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "one street"
    assert any(line.endswith("+--[] Box 1 on a") for line in lines)
    assert lines[-5:] == [
        "      2 s  fault at line/2km",
        "      9 s  motor_start at street",
        "     20 s  lightning at line/1km, then every 60 s",
        "1531800 s  ripple_control at mv",
        "      4 /h arc_furnace at line/3km, from 22 to 6 o'clock",
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["causes.png", "street.toml"]


def test_a_scenario_as_json_is_one_document(tmp_path: Path):
    (tmp_path / "street.toml").write_text(STREET, encoding="utf-8")
    found = json.loads(CliRunner().invoke(command, [str(tmp_path / "street.toml"), "--json"]).stdout)
    assert found["title"] == "one street" and found["boxes"] == {"street": ["Box 1 on a"]}
    assert len(found["events"]) == 5 and any("street" in line for line in found["diagram"])


def test_a_scenario_without_network_is_not_drawn():
    done = CliRunner().invoke(command, ["lightning_dip"])
    assert isinstance(done.exception, ConfigError)
    assert "no network" in str(done.exception)
