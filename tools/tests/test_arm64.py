"""A gateway on arm64, which a Raspberry Pi is: from wheels only; its data open here, and ours there.

The root is Debian's, of `debootstrap --foreign`, whose packages are unpacked only: no second stage is needed.
proot runs its programs by qemu-user, without support of the kernel, so that it is a test of the wheels and of
what is kept, not of speed. OPQ_ARM64_ROOT names a folder in which the root stays for the next run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from clean_root import make_plain_root
from free_ports import free_offset
from house_under_test import ROOT

NEEDED = ("debootstrap", "dpkg-deb", "proot", "qemu-aarch64-static")
MISSING = [name for name in NEEDED if not shutil.which(name)] + ["root"] * (os.geteuid() != 0)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(bool(MISSING), reason=f"cannot make an arm64 root here: no {', '.join(MISSING)}"),
]
PACKAGES = "python3,python3-venv,ca-certificates"
PLAYER = ROOT / "tools/tests/arm64_player.py"
EXTRAS = "gateway,rules,cloud,hil"
CALLS_S = 3600.0
CPU = "cortex-a72"
"""A Raspberry Pi 4's. As its default, `max`, qemu 7.2 computes wrong products with OpenBLAS' SVE code."""


class Machine:
    """A folder, and a Python of one processor that works in it."""

    def __init__(self, folder: Path, python: list[str], environment: dict[str, str] | None = None) -> None:
        self.folder, self._python, self._environment = folder, python, environment
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, *words: object) -> str:
        process = subprocess.Popen(
            [*self._python, *map(str, words)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=CALLS_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # proot leaves what it runs behind
        assert process.returncode == 0, f"{words}\n{stdout[-2000:]}\n{stderr[-4000:]}"
        return stdout

    def play(self, *words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(PLAYER, *words))
        return found

    def tools(self, *words: object) -> str:
        return self.run("-m", "opq_tools.cli", *words)


def make_root(root: Path) -> None:
    make_plain_root(root, PACKAGES, "--foreign", "--arch=arm64")
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    certificates = (root / "usr/share/ca-certificates/mozilla").glob("*.crt")  # what its postinst does
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text(
        "".join(path.read_text() for path in certificates)
    )


def in_root(place: Path, program: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment that run a program of the root; `place` has the same path in both.

    proot 5.1 passes faccessat2 and statx on untranslated: a path that both have gets the right answer.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment.pop("PIP_FIND_LINKS", None)
    environment |= {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "QEMU_CPU": CPU,
    }
    if certificate := environment.get("PIP_CERT"):
        shutil.copy(certificate, place / "index.crt")
        environment["PIP_CERT"] = str(place / "index.crt")
    bound = ("/proc", "/dev", "/etc/resolv.conf", "/etc/hosts", str(place), str(ROOT))
    words = [
        "proot",
        "-q",
        "qemu-aarch64-static",
        "-r",
        str(place / "root"),
        "-w",
        str(place),
    ]
    return [*words, *(word for path in bound for word in ("-b", path)), program], environment


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the root, of its virtual environment with our wheel, and of the machine's data."""
    kept = os.environ.get("OPQ_ARM64_ROOT")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("arm64")
    if not (folder / "root/usr/bin/python3").exists():
        make_root(folder / "root")
    wheels = folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)], check=True
    )
    (wheel,) = wheels.glob("*.whl")
    if not (folder / "venv/bin/python3").is_symlink():
        words, environment = in_root(folder, "/usr/bin/python3")
        Machine(folder, words, environment).run("-m", "venv", folder / "venv")
    install = ["-m", "pip", "install", "-q", "--no-compile", "--only-binary", ":all:"]
    machine = arm_in(folder, folder)
    machine.run(*install, f"{wheel}[{EXTRAS}]")
    machine.run(*install, "--no-deps", "--force-reinstall", wheel)  # of a root that was kept
    return folder


def arm_in(place: Path, folder: Path) -> Machine:
    words, environment = in_root(place, str(place / "venv/bin/python3"))
    return Machine(folder, words, environment)


@pytest.fixture(scope="module")
def machines(place: Path) -> Iterator[tuple[Machine, Machine]]:
    """arm64 and this one, each with the data of a gateway below its folder."""
    shutil.rmtree(place / "data", ignore_errors=True)
    arm, own = arm_in(place, place / "data/arm64"), Machine(place / "data/own", [sys.executable])
    found = arm.play("measure", arm.folder / "gateway", free_offset())
    assert found["machine"] == "aarch64" and found["bits"] == 64
    assert found["measurements"] >= 5 and found["gateway_ended_with"] == 0
    own.play("measure", own.folder / "gateway", free_offset())
    yield arm, own


def test_the_golden_vectors_are_equal(place: Path) -> None:
    found = arm_in(place, place / "data/golden").play("golden", ROOT / "proto/golden")
    assert found["machine"] == "aarch64" and found["files"] > 60 and found["different"] == []


def test_a_ring_opens_on_the_other_machine(machines: tuple[Machine, Machine]) -> None:
    for maker in machines:
        found = [each.play("ring", maker.folder / "gateway") for each in machines]
        assert [each.pop("machine") == "aarch64" for each in found] == [True, False]
        rms_lsb = [each.pop("rms_lsb") for each in found]
        assert found[0] == found[1] and found[0]["samples"] > 5 * 12_000
        assert rms_lsb[0] == pytest.approx(rms_lsb[1], rel=1e-12)


def test_a_back_up_restores_on_the_other_machine(machines: tuple[Machine, Machine]) -> None:
    for maker, other in (machines, machines[::-1]):
        archive = maker.folder / "copy.tar.gz"
        made = json.loads(
            maker.tools("backup", archive, "--rings", "--data-dir", maker.folder / "gateway", "--json")
        )
        back = other.folder / "restored"
        restored = json.loads(other.tools("restore", archive, "--data-dir", back, "--json"))
        assert restored["files"] == made["files"] > 3
        assert other.play("ring", back)["sha256"] == maker.play("ring", maker.folder / "gateway")["sha256"]


def test_the_figures_of_a_recording_agree(machines: tuple[Machine, Machine]) -> None:
    file = machines[1].folder / "dip.csv"
    machines[1].run("-c", WRITTEN, file)
    found = [json.loads(each.tools("analyze", file, "--json")) for each in machines]
    names = ("rms_v", "frequency_hz", "thd_percent")
    for name in names:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-9, abs=1e-6), name
    assert [each["class"] for each in found[0]["events"]] == [each["class"] for each in found[1]["events"]]
    assert found[0]["events"]


WRITTEN = """
import sys, numpy as np
t = np.arange(24_000) / 12_000
volts = 170 * np.sin(2 * np.pi * 60 * t) * np.where((t > 0.5) & (t < 0.7), 0.6, 1.0)
rows = np.column_stack((t, volts))
np.savetxt(sys.argv[1], rows, delimiter=",", header="time (s),voltage (V)", comments="")
"""
