"""The systemd units: systemd itself finds nothing wrong with them, what they open is little, and
`opq-tools service` puts them where it looks."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_in_process import run_in_process
from free_ports import free_offset

from opq_proto.kit.system_record import read_record
from opq_tools.system.service.service_command import CLOUD_UNITS, file_of, packaged, unit_of

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze: apt-get install systemd")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("systemd-sysusers"), reason="needs root and systemd-sysusers"
)
MAX_EXPOSURE = 2.0
"""Exposure on a scale of 10; a service without any hardening has 9.6."""
UNITS = ["opq-gateway.service", "opq-cloud@.service"]


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    copy = tmp_path / name
    copy.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", packaged(name)))
    ended = subprocess.run([str(ANALYZE), "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_what_the_unit_leaves_open_is_little(tmp_path: Path, name: str) -> None:
    copy = tmp_path / name
    copy.write_text(packaged(name))
    command = [str(ANALYZE), "security", "--offline=true", str(copy)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", ended.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze looks at no unit off line: {ended.stderr.strip()[:100]}")
    assert float(found.group(1)) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_tells_systemd_what_the_service_does(name: str) -> None:
    text = packaged(name)
    for line in ("Type=notify", "Restart=always", "RestartPreventExitStatus=2", "StateDirectory=opq"):
        assert f"\n{line}\n" in text
    assert "\nWatchdogSec=" in text
    assert ("DeviceAllow=char-ttyACM rw" in text) == (name == "opq-gateway.service")


@needs_systemd
@needs_root
def test_units_install_into_an_offline_system(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run_in_process("service", "install", "gateway", "cloud", "view", "--root", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["units"] == [unit_of(name) for name in ("gateway", *CLOUD_UNITS, "view")]
    unit = (tmp_path / "etc/systemd/system/opq-cloud@.service").read_text()
    program = re.search(r"^ExecStart=(\S+) %i ", unit, re.M)
    assert program is not None and Path(program[1]).exists() and Path(program[1]).name == "opq-cloud"
    gateway = (tmp_path / "etc/systemd/system/opq-gateway.service").read_text()
    program = re.search(r"^ExecStart=/(\S+) run ", gateway, re.M)
    assert program is not None and (tmp_path / program[1]).resolve() == Path(sys.executable).with_name(
        "opq-gateway"
    )
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    assert {each.name for each in wants.iterdir()} == {
        unit_of(name) for name in ("gateway", *CLOUD_UNITS, "view")
    }
    secret = tmp_path / "var/lib/opq/curve/private_keys/opqserver_secret"
    user = next(
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("opq:")
    )
    assert secret.stat().st_uid == int(user.split(":")[2]) and secret.stat().st_mode & 0o077 == 0
    record = secret.parents[2] / "system"
    meant = {each.name: each.health for each in read_record(record.parent).services}
    assert meant == {
        "gateway": "http://127.0.0.1:8913/",
        "cloud": "http://127.0.0.1:8911/",
        "triggering-broker": "http://127.0.0.1:8914/",
        "acquisition-broker": "http://127.0.0.1:8915/",
        "view": "http://127.0.0.1:8888/health",
    }
    assert {each.stat().st_uid for each in (record, *record.iterdir())} == {secret.stat().st_uid}
    made = run_in_process("keygen", "--out", str(secret.parents[1]), "--boxes", "1").stdout.split()
    assert [Path(path).stat().st_uid for path in made] == [secret.stat().st_uid] * 2
    (tmp_path / "etc/opq/cloud.toml").write_text("# filled in\n")
    before = secret.read_bytes()
    assert run_in_process("service", "install", "cloud", "--root", str(tmp_path)).returncode == 0
    assert (tmp_path / "etc/opq/cloud.toml").read_text() == "# filled in\n" and secret.read_bytes() == before
    run_in_process("service", "remove", "view", "--root", str(tmp_path))
    assert (tmp_path / "etc/systemd/system" / file_of("view")).exists(), "cloud uses it still"
    run_in_process("service", "remove", "cloud", "gateway", "--root", str(tmp_path))
    assert [each.name for each in (tmp_path / "etc/systemd/system").glob("*.service")] == []
    assert secret.exists() and (tmp_path / "etc/opq/gateway.toml").exists()
    assert read_record(record.parent).services == () and (record / "id").exists()
    assert not [each for each in (tmp_path / "etc").rglob("*opq*") if each != tmp_path / "etc/opq"]


def test_what_cannot_be_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "which? want one or more of gateway, cloud" in run_in_process("service", "install").stderr
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.executable", "/home/ada/.local/bin/python3")
    told = run_in_process("service", "install", "cloud")
    assert told.returncode == 1 and "a home folder that services cannot read" in told.stderr


class Manager:
    """systemd's side of the notify socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.2)

    def heard_until(self, holds: Callable[[list[str]], bool], within_s: float = 120.0) -> list[str]:
        found: list[str] = []
        until = time.monotonic() + within_s
        while not holds(found):
            assert time.monotonic() < until, found
            try:
                found.append(self._socket.recv(4096).decode())
            except TimeoutError:
                continue
        return found


def test_a_cloud_notifies_ready_and_watchdog(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    data = tmp_path / "data"
    run_in_process("keygen", "--out", str(data / "curve"), "--server")
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    words = [
        sys.executable,
        "-m",
        "opq_cloud",
        "notifications",
        "--data-dir",
        str(data),
        "--port-offset",
        str(free_offset()),
    ]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        well = "STATUS=2 services are well"
        heard = manager.heard_until(
            lambda found: found.count("WATCHDOG=1") >= 3 and any(line.startswith(well) for line in found)
        )
        assert heard[0] == "READY=1"
        process.terminate()
        assert "STOPPING=1" in manager.heard_until(lambda found: "STOPPING=1" in found)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
