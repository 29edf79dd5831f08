"""`opq-tools box` against a running house: broker, gateway and a simulated Box in their own processes."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_in_process import run_in_process
from flash_under_test import bundle
from free_ports import free_offset
from house_under_test import House, until

from opq_cloud.__main__ import cloud
from opq_gateway.__main__ import main as gateway
from opq_proto.kit.system_place import running_systems
from opq_recordings.reading import read_recording


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    running = House(tmp_path_factory.mktemp("house"), "--sim", "1")
    try:
        words = "box", "settings", "1", "--port-offset", str(running.offset)  # lost before the Box listens
        until(lambda: run_in_process(*words).returncode == 0, 60, "an answer of Box 1 itself")
        yield running
    finally:
        running.end()


def box(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    verb, *others = arguments
    return run_in_process("box", verb, "--timeout-s", "60", *others, "--port-offset", str(house.offset))


def test_every_command_finds_the_running_system(house: House) -> None:
    assert [(each.data_dir, each.port_offset) for each in running_systems()] == [
        (str(house.data_dir), house.offset)
    ]

    def found(*words: str) -> str:
        done = run_in_process(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    assert json.loads(found("box", "info", "1", "--timeout-s", "60", "--json"))["measurement_rate"] == 60
    assert "1" in {row["box_id"] for row in json.loads(found("boxes", "show", "--json"))}
    assert {row["box_id"]: row["connected"] for row in json.loads(found("keys", "list", "--json"))}["1"]
    assert found("limits", "list") and found("incidents", "show") and found("events", "show")
    assert list(json.loads(found("sim", "show", "--json"))["boxes"]) == ["1"]
    assert "AnalysisRunner" in found("mauka", "list-plugins")
    assert found("rules", "show") == "no rules\n"
    assert found("inject", "nothing", "text").endswith(f"{house.data_dir}/sockets/bus-in\n")
    for program in (gateway, cloud):
        words = ["status"] if program is gateway else ["mauka", "graph"]
        done = CliRunner().invoke(program, words)
        assert done.exit_code == 0 and done.stdout, done.output


def test_status_shows_the_system_on_one_screen(house: House) -> None:
    where = ("--data-dir", str(house.data_dir))
    done = run_in_process("status", *where)
    assert f"page        {house.view}" in done.stdout and "gateway     Box 1: " in done.stdout
    found = json.loads(run_in_process("status", "--json", *where).stdout)
    assert (
        found["runs"]
        and {each["name"] for each in found["services"]} == {"cloud", "gateway"}
        and found["port_offset"] == house.offset
    )


def test_info_says_who_it_is(house: House) -> None:
    found = json.loads(box(house, "info", "1", "--json").stdout)
    assert found["measurement_rate"] == 60 and len(found["pub_key"]) == 40
    assert "127.0.0.1:0" in found["ip"] and found["uptime"] > 0
    assert re.search(r"^uptime +\d+ ms$", box(house, "info", "1").stdout, re.M)


def test_a_new_rate_reports_the_old_one(house: House) -> None:
    assert json.loads(box(house, "rate", "1", "30", "--json").stdout) == {"old_cycles": 60, "cycles": 30}
    assert json.loads(box(house, "rate", "1", "60", "--json").stdout)["old_cycles"] == 30
    assert box(house, "rate", "1", "601").returncode == 2


def test_settings_change_in_the_box_itself(house: House) -> None:
    assert box(house, "settings", "1", "gain=1.25").returncode == 0
    assert float(json.loads(box(house, "settings", "1", "--json").stdout)["gain"]) == 1.25
    refused = box(house, "settings", "1", "gain=9")
    assert refused.returncode == 1 and "0.5 to 2" in refused.stderr and "Traceback" not in refused.stderr
    assert box(house, "settings", "1", "gain=1").returncode == 0


def test_a_box_number_changes_only_after_confirmation(house: House) -> None:
    refused = box(house, "settings", "1", "box_id=7")
    assert refused.returncode == 1 and "makes it another Box" in refused.stderr
    assert json.loads(box(house, "settings", "1", "--json").stdout)["box_id"] == "1"
    assert box(house, "settings", "1", "box_id=7", "--force").returncode == 0
    assert json.loads(box(house, "settings", "1", "--json").stdout)["box_id"] == "7"
    words = "Box 7 is on this port: are two cables swapped? Only if it is to become Box 1: opq-tools "

    def status() -> str:
        return run_in_process("status", "--data-dir", str(house.data_dir)).stdout

    told = until(lambda: words in (text := status()) and text, 60, "the gateway's word of another Box")
    assert "Box 1: opq-tools box settings 1 box_id=1 --force" in told
    assert box(house, "settings", "1", "box_id=1", "--force").returncode == 0


def test_samples_waits_for_an_unfinished_span(house: House, tmp_path: Path) -> None:
    start = datetime.now(UTC) + timedelta(seconds=1)
    span = ("--from", start.isoformat(), "--to", (start + timedelta(seconds=1)).isoformat())
    file = tmp_path / "mains.i16"
    found = box(house, "waveform", "1", *span, "--out", str(file), "--wait", "--json")
    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)
    assert 12_000 <= facts["samples"] <= 12_600 and facts["gaps"] == []
    assert abs(facts["start_ns"] - start.timestamp() * 1e9) < 50e6
    assert file.stat().st_size == 2 * facts["samples"]
    recording = read_recording(file)
    assert recording.start_ns == facts["start_ns"] and recording.box_id == "1"
    assert 80 < np.std(recording.volts(0, recording.samples)) < 160
    later = (start + timedelta(hours=1)).isoformat()
    refused = box(house, "waveform", "1", "--from", later, "--to", later, "--out", str(file))
    assert refused.returncode == 1 and "--to is not after --from" in refused.stderr


def test_firmware_is_refused_by_the_box_with_reason(house: House, tmp_path: Path) -> None:
    file = tmp_path / "firmware.opqfw"
    file.write_bytes(bundle())
    refused = box(house, "update", "1", str(file))
    assert refused.returncode == 1 and "a simulated Box has no firmware" in refused.stderr
    for data, why in ((b"OPQW", "not a firmware file"), (bundle(signed_by=None), "not signed")):
        file.write_bytes(data)
        broken = box(house, "update", "1", str(file))
        assert broken.returncode == 1 and why in broken.stderr and "Traceback" not in broken.stderr


def test_nobody_there_is_one_clear_line(house: House) -> None:
    silent = box(house, "info", "77", "--timeout-s", "0.5")
    assert silent.returncode == 1 and "Box 77 does not answer" in silent.stderr
    away = run_in_process("box", "info", "1", "--port-offset", str(free_offset()))
    assert away.returncode == 1 and "is Makai running?" in away.stderr


def test_a_time_and_a_reset_are_acknowledged(house: House) -> None:
    """The last one here: a Box that starts again has no samples meanwhile."""
    said = json.loads(box(house, "time", "1", "--json").stdout)
    assert said["box_id"] == "1" and said["done"]
    assert "starts again" in box(house, "reset", "1").stdout
