"""What is wrong with the machine: clock, limits, memory, packages, other programs."""

import importlib.metadata
import os
import re
import resource
import shutil
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

from opq_proto.kit.clock import ClockState
from opq_proto.kit.time_daemons import read_clock_state
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_tools.system.doctor.problem import Problem
from opq_tools.system.service.service_command import packaged

LEAST_DESCRIPTORS = 4096
LEAST_MEMORY = 512 << 20
LEAST_PROCESSES = 128
WORST_CLOCK_NS = 100_000_000
UDEV_RULE = Path("etc/udev/rules.d/60-opq-box.rules")
BOX_PORTS = ("9880", "8194", "8196")
ZONE = "Pacific/Honolulu"
"""Any zone but UTC shows whether the zones are here."""
COMMAND_S = 2.0


def check_machine(
    root: Path = Path("/"), clock: ClockState | None = None, bits: int = sys.maxsize.bit_length() + 1
) -> Iterator[Problem]:
    """Yields what is wrong.

    Args:
        root: where /proc, /sys and /etc are read.
        clock: the state of the system's clock; None: it is asked.
        bits: of this Python's addresses.
    """
    yield from _system(bits)
    yield from _clock(read_clock_state() if clock is None else clock)
    yield from _limits(root)
    yield from _packages()
    yield from _port_takers(root)
    yield from _firewall(root)


def _system(bits: int) -> Iterator[Problem]:
    if bits < 64:
        yield Problem(
            "system",
            f"this is a {bits}-bit system; packages that we need, NumPy among them, have no wheels for it",
            "install the 64-bit system: on a Raspberry Pi 3 or newer, its OS (64-bit) or Debian arm64",
        )


def _clock(state: ClockState) -> Iterator[Problem]:
    install = "sudo apt install chrony, and reach a time server (UDP 123)"
    if state.source is TimeSource.FREE:
        yield Problem(
            "clock", "no daemon keeps the clock, so Boxes without GPS are stamped by a crystal", install
        )
    elif WORST_CLOCK_NS < state.uncertainty_ns <= UNKNOWN_UNCERTAINTY_NS:
        yield Problem("clock", f"the clock may be off by {state.uncertainty_ns / 1e9:.3g} s", install)


def _limits(root: Path) -> Iterator[Problem]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= hard < LEAST_DESCRIPTORS:
        fix = "LimitNOFILE=65536 in the unit, or nofile in /etc/security/limits.conf"
        yield Problem("descriptors", f"at most {hard} files and sockets; each Box needs one or two", fix)
    memory = _number(root / "sys/fs/cgroup/memory.max") or _number(
        root / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    )
    if memory is not None and memory < LEAST_MEMORY:
        text = f"this container may use {memory >> 20} MB; a gateway or cloud needs {LEAST_MEMORY >> 20}"
        yield Problem("memory", text, "raise the container's limit (mem_limit, MemoryMax)")
    else:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
        if found and int(found[1]) << 10 < LEAST_MEMORY // 2:
            text = f"{int(found[1]) >> 10} MB of memory are left"
            yield Problem("memory", text, "end other programs, or add memory (docs/plan.md)")
    processes = _number(root / "sys/fs/cgroup/pids.max")
    if processes is not None and processes < LEAST_PROCESSES:
        text = f"this container may have {processes} processes and threads; a cloud has some 60"
        yield Problem("processes", text, "raise the container's limit (pids_limit, TasksMax)")


def _packages() -> Iterator[Problem]:
    try:
        zoneinfo.ZoneInfo(ZONE)
    except zoneinfo.ZoneInfoNotFoundError:
        yield Problem(
            "time zones",
            "the machine has no time zones, so only UTC can be chosen",
            "sudo apt install tzdata",
        )
    try:
        from packaging.requirements import Requirement
    except ImportError:  # no part that serves anything is installed
        return
    wrong = []
    for line in importlib.metadata.requires("opq-toolkit") or ():
        requirement = Requirement(line)
        extras = re.findall(r"extra == ['\"]([a-z]+)['\"]", line)
        if requirement.marker is not None and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        try:
            have = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not extras:
                wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(have, prereleases=True) and extras != ["dev"]:
            wrong.append(f"{requirement.name} is {have}, want {requirement.specifier}")
    if wrong:
        fix = "pip install --upgrade 'opq-toolkit[all]' in this environment"
        yield Problem("packages", "; ".join(sorted(set(wrong))), fix)


def _port_takers(root: Path) -> Iterator[Problem]:
    """Programs that open a Box's port because it might be a modem, a GPS receiver or a Braille display."""
    names = {_text(path).strip() for path in (root / "proc").glob("[0-9]*/comm")}
    rule = root / UDEV_RULE
    stated = _text(rule)  # an administrator may have changed it, so only an absent one is written

    def mend() -> None:
        rule.write_text(packaged(UDEV_RULE.name))
        if shutil.which("udevadm"):
            subprocess.run(["udevadm", "control", "--reload"], check=False, timeout=10)

    install = "sudo opq-tools service install gateway, then plug in again"
    if "ModemManager" in names and "ID_MM_DEVICE_IGNORE" not in stated:
        text = "ModemManager opens each new serial port for 10 s and sends commands into a Box"
        yield Problem("ModemManager", text, install, None if stated else mend)
    if "gpsd" in names and "gpsdctl" not in stated:
        text = "gpsd takes a Box's serial adapter for a GPS receiver: it opens the port and tries baud rates"
        yield Problem("gpsd", text, install, None if stated else mend)
    if "brltty" in names:
        text = "brltty takes a Box's serial adapter for a Braille display, and its /dev/ttyUSB0 vanishes"
        fix = "without such a display: sudo systemctl mask --now brltty.service brltty-udev.service"
        yield Problem("brltty", text, fix)


def _firewall(root: Path) -> Iterator[Problem]:
    fix = f"sudo ufw allow proto tcp to any port {','.join(BOX_PORTS)}"
    if re.search(r"^ENABLED=yes", _text(root / "etc/ufw/ufw.conf"), re.M):
        rules = _text(root / "etc/ufw/user.rules")
        shut = [port for port in BOX_PORTS if not re.search(rf"dports? \S*\b{port}\b", rules)]
        if shut and rules:
            yield Problem("firewall", f"ufw lets no Box reach {', '.join(shut)}", fix)
        return
    if root != Path("/") or os.geteuid() != 0 or not shutil.which("nft"):
        return
    rules = _said("nft", "list", "ruleset")
    if re.search(r"hook input .*policy drop", rules) and not all(port in rules for port in BOX_PORTS):
        fix = f"nft add rule inet filter input tcp dport {{ {', '.join(BOX_PORTS)} }} accept"
        yield Problem("firewall", "nftables drops what comes in, and names no port of the Boxes", fix)


def _said(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() and int(text) < 1 << 60 else None
