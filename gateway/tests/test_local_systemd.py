"""The systemd unit: systemd itself finds nothing wrong with it, and what it opens is little."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "opq-gateway.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze: apt-get install systemd")
MAX_EXPOSURE = 2.0
"""Exposure on a scale of 10; a service without any hardening has 9.6."""


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    ended = subprocess.run([str(ANALYZE), "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@needs_systemd
def test_what_the_unit_leaves_open_is_little(tmp_path: Path) -> None:
    command = [str(ANALYZE), "security", "--offline=true", str(UNIT)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", ended.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze looks at no unit off line: {ended.stderr.strip()[:100]}")
    assert float(found.group(1)) <= MAX_EXPOSURE


def test_the_unit_tells_systemd_what_the_gateway_does() -> None:
    text = UNIT.read_text()
    for line in ("Type=notify", "WatchdogSec=60", "Restart=always", "RestartPreventExitStatus=2"):
        assert f"\n{line}\n" in text
    assert "DeviceAllow=char-ttyACM rw" in text and "StateDirectory=opq" in text
