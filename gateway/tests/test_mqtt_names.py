"""The name of a gateway at an MQTT broker: new ones are unique, existing ones stay, a copy is another one."""

import json
import socket
from pathlib import Path

import pytest

from opq_gateway.mqtt.gateway_name import gateway_name, machine_mark

HOST = "raspberrypi"


@pytest.fixture(autouse=True)
def one_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)


def folder(path: Path, topics: list[str] | None = None) -> Path:
    path.mkdir(exist_ok=True)
    file = path / "mqtt_topics.json"
    if topics is not None:
        file.write_text(json.dumps({"broker:1883": topics}))
    return file


def test_machines_and_folders_have_names_of_their_own(tmp_path: Path) -> None:
    names = [
        gateway_name("opq", folder(tmp_path / f"{each}{machine}"), machine)
        for each in "ab"
        for machine in ("one", "two")
    ]
    assert len(set(names)) == 4 and all(each.startswith(f"{HOST}-") for each in names)


@pytest.mark.parametrize("machine", ["one", ""])
def test_a_name_stays_at_every_start(machine: str, tmp_path: Path) -> None:
    file = folder(tmp_path / "a")
    first = gateway_name("opq", file, machine)
    folder(tmp_path / "a", [f"opq/{first}/status"])
    assert [gateway_name("opq", file, machine) for _ in range(3)] == [first] * 3


def test_an_existing_installation_keeps_its_name(tmp_path: Path) -> None:
    file = folder(tmp_path / "a", [f"opq/{HOST}/status", f"opq/{HOST}/box3/3s"])
    assert gateway_name("opq", file, "one") == HOST
    folder(tmp_path / "a", [])  # discovery and Boxes went
    assert gateway_name("opq", file, "one") == HOST


def test_another_prefix_is_another_installation(tmp_path: Path) -> None:
    assert gateway_name("opq", folder(tmp_path / "a", [f"power/{HOST}/status"]), "one") != HOST


def test_a_copy_leaves_the_originals_topics(tmp_path: Path) -> None:
    file = folder(tmp_path / "a", [f"opq/{HOST}/status"])
    assert gateway_name("opq", file, "one") == HOST
    copied = gateway_name("opq", file, "two")
    assert copied.startswith(f"{HOST}-") and not file.exists()  # nothing to delete at the broker
    assert gateway_name("opq", file, "two") == copied


def test_a_damaged_file_is_no_name(tmp_path: Path) -> None:
    file = folder(tmp_path / "a")
    file.with_name("mqtt_name.json").write_text("{")
    assert gateway_name("opq", file, "one").startswith(f"{HOST}-")


def test_a_machines_mark_hides_its_id() -> None:
    mark = machine_mark()
    machine_id = Path("/etc/machine-id")
    assert mark == machine_mark()
    assert not machine_id.exists() or machine_id.read_text().strip() not in ("", mark)
