"""Boxes that fall silent for three reasons, in real services: a battery, none, and a network that is cut."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_in_process import run_in_process
from free_ports import free_port
from house_under_test import House, get_json, house, until

from opq_cloud.store import open_store
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import COMMAND_BOX, RESPONSE_BOX, TRIGGERING_BOX
from opq_proto.measurement.supply_word import SupplyWord, supply_word
from opq_sim.faults.parts.wire import FaultyRelay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BROKERS = {"trigger": TRIGGERING_BOX, "command": COMMAND_BOX, "response": RESPONSE_BOX}
NETWORK = """
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [
  { id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }, { id = "farm", nominal_kv = 0.4 },
]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }, { id = "lane", from_bus = "mv", km = 2.0 }]
transformer = [
  { id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 },
  { id = "t2", from_bus = "lane/2km", to_bus = "farm", rating_kva = 250.0 },
]
"""
LOST = "lost = [[25.0, 30.0]], outlet_dead = true"
HOUSE = f"""
[[box]]
id = "1"
at = "street"
supply = {{ {LOST}, battery_s = 600.0 }}
[[box]]
id = "2"
at = "street"
phase = "b"
supply = {{ {LOST} }}
[[box]]
id = "3"
at = "farm"
"""
CHARGED = """
[[box]]
id = "4"
at = "farm"
supply = { lost = [[90000.0, 1.0]], battery_s = 600.0 }
"""
CONFIG = "[cloud.mauka.outages]\nsilence_s = 6.0\nlook_s = 1.0\n"


@contextmanager
def far_box(up: House, folder: Path) -> Iterator[FaultyRelay]:
    """Box 4 with its own gateway, whose network is the relay."""
    KeyFolder(up.data_dir / "curve").ensure(["4"])
    (folder / "far.toml").write_text(NETWORK + CHARGED)
    listen = {name: free_port() for name in BROKERS}
    endpoints = "".join(f'{name}_endpoint = "tcp://127.0.0.1:{port}"\n' for name, port in listen.items())
    (folder / "far_gateway.toml").write_text(
        f'data_dir = "{folder}/far"\nhealth_endpoint = "127.0.0.1:0"\n'
        f'[[box]]\nid = "4"\nport = "{folder}/far_ports/box4"\n'
        f'[keys]\nfolder = "{up.data_dir}/curve"\n[uplink]\n{endpoints}'
    )
    commands = (
        ["opq_sim.box", "--scenario", f"{folder}/far.toml", "--ports-dir", f"{folder}/far_ports"],
        ["opq_gateway", "run", "--config", f"{folder}/far_gateway.toml"],
    )
    targets = {name: port + up.offset for name, port in BROKERS.items()}
    with FaultyRelay(targets, listen, 1) as wire:
        running = [
            subprocess.Popen([sys.executable, "-m", *each], stderr=subprocess.DEVNULL) for each in commands
        ]
        try:
            yield wire
        finally:
            for each in running:
                each.terminate()
            for each in running:
                each.wait(240)


def test_each_silence_has_its_verdict(tmp_path: Path) -> None:
    (tmp_path / "street.toml").write_text(NETWORK + HOUSE)
    (tmp_path / "config.toml").write_text(CONFIG)
    told = ("--scenario", f"{tmp_path}/street.toml", "--config", f"{tmp_path}/config.toml")
    with house(tmp_path / "house", *told) as up, far_box(up, tmp_path) as wire:

        def said() -> dict[str, Any]:
            done = run_in_process("mauka", "--port-offset", str(up.offset), "status", "OutagePlugin")
            return dict(json.loads(done.stdout or "{}"))

        def outages() -> dict[str, list[dict[str, Any]]]:
            """By Box: what the log of Mauka says of it."""
            lines = (up.data_dir / "log" / "cloud.log").read_text().splitlines()
            told = [json.loads(line) for line in lines if '"outage.' in line and line.endswith("}")]
            return {each: [one for one in told if one["box_id"] == each] for each in "1234"}

        def well() -> bool:
            """Whether Box 4 has said that its battery is there and its supply is well."""
            with closing(open_store(None, up.data_dir)) as store:
                rows = store.measurements("4", 0, time.time_ns() // 10**6, 1000)
            return SupplyWord.WELL in [supply_word(row.metrics) for row in rows]

        up.wait_for("the page is up")
        until(well, 60, "Box 4 and its word are stored")
        run_in_process("boxes", "set", "4", "--feeder", "lane", "--data-dir", str(up.data_dir))
        wire.cut = True
        cut = until(lambda: said().get("silences", {}).get("4"), 60, "what is said of Box 4")
        begun = until(lambda: (found := outages())["1"] and found, 60, "the outage of the Box on its battery")
        assert begun["1"][0]["event"] == "outage.begun", "it is heard, and has no supply"
        assert "its supply failed, and that its battery carries it" in begun["1"][0]["because"]
        assert "of nominal while it sends" in begun["1"][0]["because"]

        def over() -> bool:
            return all((found := outages()[each]) and found[-1]["event"] == "outage.over" for each in "12")

        until(over, 60, "both outages and their ends")
        wire.cut = False
        until(lambda: "4" not in said()["silences"], 60, "Box 4 is heard again")
        found = outages()
        incidents = get_json(f"{up.view}/api/v1/incidents")["items"]
    assert [[each["event"] for each in found[box_id]] for box_id in "1234"] == [
        ["outage.begun", "outage.over"],
        ["outage.over"],
        [],
        [],
    ]
    assert "its gateway reports that it had no supply for" in found["2"][-1]["because"]
    assert cut.startswith("its network, or the Box itself (9") and "its supply is well" in cut
    assert "Box 3 beside it went on at a normal voltage" in cut
    assert {box_id for each in incidents for box_id in each["box_ids"]} == {"1", "2"}
