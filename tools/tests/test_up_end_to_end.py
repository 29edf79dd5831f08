"""From a dip in the mains to an incident on the page, by the one command, with real processes."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_in_process import run_in_process
from contract_snapshot import GOLDEN, system_text
from free_ports import free_offset
from house_under_test import (
    BOX1,
    BOX4,
    NO_RECORDINGS,
    House,
    get_incident,
    get_json,
    house,
    incident_document,
    processes_with,
    run_up,
    until,
    up_command,
)

from opq_proto.kit.ports import PORTS
from opq_proto.kit.system_place import notes_folder, running_systems
from opq_tools.up.port_claims import PORTS_OF_UP

pytestmark = pytest.mark.timeout(600)
with_recordings = pytest.mark.skipif(not BOX1.exists(), reason=NO_RECORDINGS)


def refused(data_dir: Path, *arguments: str, offset: int | None = None) -> subprocess.CompletedProcess[str]:
    """`opq-tools up` that ends before it starts a process."""
    ports = ["--free-ports"] if offset is None else ["--port-offset", str(offset)]
    return run_in_process("up", "--data-dir", str(data_dir), *ports, *arguments)


@pytest.mark.slow  # the default scenario below always replays both
@with_recordings
def test_real_recordings_show_analyzes_residual(tmp_path: Path) -> None:
    replays = ("--replay", str(BOX1), "--replay", str(BOX4))
    done = run_up(tmp_path, *replays, "--until-incident", "--json", "--timeout-s", "200")
    assert done.returncode == 0, done.stderr
    found = incident_document(done.stdout)
    (dip,) = json.loads(run_in_process("analyze", str(BOX1), "--json").stdout)["events"]
    assert found["incident"]["class"] == dip["class"] == "sag"
    assert found["incident"]["residual_percent"] == pytest.approx(dip["residual_percent"], rel=0.01)
    assert "1" in found["incident"]["box_ids"] and found["boxes"] == 2


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The default scenario, for the next three tests; the last of them ends it."""
    with house(tmp_path_factory.mktemp("default")) as up:
        yield up


def test_the_default_scenario_shows_each_stage(default: House) -> None:
    for stage in (
        "the page is up",
        "Box 1 is sampling",
        f"everything runs; the page: {default.view}",
        "on the page: sag",
    ):
        default.wait_for(stage)
    assert "Boxes 1, 4" in default.lines[0] and default.view in default.lines[0]
    sag = until(lambda: box_1s_that_is_over(default), 45, "the incident of Box 1 is over")
    assert sag["class"] == "sag"
    # The published minimum of Box 1 is 102.2 V of 120 V (recordings' README, per-cycle Vrms).
    assert sag["residual_percent"] == pytest.approx(100 * 102.2 / 120, abs=0.5)
    assert 100 < sag["end_ms"] - sag["start_ms"] < 200
    assert sag["scope"] == ("local" if sag["box_ids"] == ["1"] else "region")  # 1 and 4: two feeders
    boxes = {each["box_id"]: each for each in get_json(f"{default.view}/api/v1/boxes")["items"]}
    assert {each["region"] for each in boxes.values()} == {"island"}
    assert boxes["1"]["location"] == "lightning-dip-harbour"
    assert len(get_json(f"{default.view}/map/state")["marks"]) == 3
    answering = {name for name, port in PORTS.items() if answers(port + default.offset)}
    assert answering == set(PORTS_OF_UP)  # what the check before the start asks for, and no more


def test_a_running_systems_answers_are_unchanged(default: House) -> None:
    """More may be there: some counters appear with the first minute that is over, or the first fault.

    `test_house_contracts.py` has what needs no running system.
    """
    golden = (GOLDEN / "answers/system.txt").read_text(encoding="utf-8").splitlines()
    found = set(system_text(default).splitlines())
    assert [line for line in golden if line not in found] == []


def test_a_second_up_is_refused(default: House) -> None:
    default.wait_for("everything runs")  # it may have just been started, for this test alone
    done = refused(default.data_dir, "--sim", "1", offset=default.offset)  # the same ports too: typed twice
    assert done.returncode == 1 and "another `opq-tools up` or `sim history` works in" in done.stderr
    assert "give another --data-dir and --port-offset" in done.stderr
    assert [each.data_dir for each in running_systems()] == [str(default.data_dir)]
    assert default.end() == 0
    assert processes_with(str(default.data_dir)) == [] and not list(notes_folder().iterdir())


def box_1s_that_is_over(up: House) -> dict[str, Any] | None:
    """Box 4's may be another one: it has its own free clock."""
    for each in get_json(f"{up.view}/api/v1/incidents")["items"]:
        found: dict[str, Any] = get_incident(up.view, each["id"])
        if "1" in found["box_ids"] and found["closed"]:
            return found
    return None


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_busy_port_ends_with_code_1(tmp_path: Path) -> None:
    offset = free_offset()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", PORTS["view"] + offset))
        taken.listen()
        command = up_command(tmp_path, offset)  # a program of its own, to which this test hands its ports
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert f"port {PORTS['view'] + offset} (view) busy" in done.stderr
    assert "--free-ports" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--replay", "{missing}"], 1, "missing.i16"),
        (["--replay", "{odd}"], 1, "odd.i16"),
        (["--scenario", "{odd}"], 2, "odd.i16"),
        (["--config", "{wrong}"], 2, "triggering_brokr"),
        (["--box", "qemu:one"], 2, "not a Box id"),
        (["--json"], 2, "--until-incident"),
        (["--sim", "many"], 2, "--sim"),
        (["--until-incident", "--timeout-s", "nan"], 2, "--timeout-s"),
    ],
)
def test_wrong_use_prints_no_traceback(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    files = {
        "missing": tmp_path / "missing.i16",
        "odd": tmp_path / "odd.i16",
        "wrong": tmp_path / "wrong.toml",
    }
    files["odd"].write_bytes(b"abc")
    files["wrong"].write_text("[cloud.triggering_brokr]\ntrace = true\n")
    done = refused(tmp_path / "data", *(word.format(**files) for word in arguments))
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_configuration_problems_are_reported_at_once(tmp_path: Path) -> None:
    config = tmp_path / "house.toml"
    config.write_text("[gateway]\nring_hour = 1\nmeasurement_cycles = 0\n[cloud.event_service]\nfoo = 1\n")
    done = refused(tmp_path / "data", "--sim", "1", "--config", str(config))
    assert done.returncode == 2
    for key in ("ring_hour ", "measurement_cycles", "event_service.foo"):
        assert key in done.stderr
    assert done.stdout == "" and not (tmp_path / "data" / "log").exists()


def test_a_closed_stdout_is_no_traceback() -> None:
    command = [sys.executable, "-m", "opq_tools.cli", "keygen", "--boxes", "nine"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_no_incident_in_time_ends_with_1(tmp_path: Path) -> None:
    done = run_up(tmp_path, "--sim", "1", "--until-incident", "--json", "--timeout-s", "1")
    assert done.returncode == 1
    assert done.stdout == ""
    # the Box may have started by then, on a fast machine
    assert re.search("no incident on the page within 1 s; seen: [01] Boxes sampling, 0 triggers", done.stderr)
