"""Two machines that were installed from the wheel: clean roots in name spaces of their own, and a cable."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clean_root import ENTER, INSIDE, make_plain_root, run_step
from house_under_test import ROOT, until

PACKAGES = "python3,python3-venv,ca-certificates,tzdata"
SERVICES = "systemd chrony cron"
"""apt installs them: debootstrap may unpack systemd before what that has to find configured."""
APT = "apt-get -q -o Acquire::Check-Valid-Until=false"
DATA = "/var/lib/opq"
DISK = (
    f'mount -t tmpfs -o mode=755 tmpfs "$root/run"; mkdir -p "$root{DATA}"; '
    f'mount -t tmpfs -o mode=750,size=3g opq "$root{DATA}"; '
)
"""Its own disk, which a test can fill; larger than what `doctor` wants to be free."""
OPQ = "/opt/opq/bin"
AS_OPQ = ("setpriv", "--reuid=opq", "--regid=opq", "--init-groups", "--no-new-privs")
CHANGE = (
    "import sqlite3, sys; opened = sqlite3.connect(sys.argv[1], timeout=240); "
    "opened.execute(sys.argv[2]); opened.commit()"
)
LOCK = (
    "import signal, sqlite3, sys; opened = sqlite3.connect(sys.argv[1], isolation_level=None); "
    "opened.execute('BEGIN IMMEDIATE'); signal.pause()"
)
"""Inside the machine: from outside SQLite resolves the machine's own root to a folder of this one."""
NO_START = "#!/bin/sh\nexit 101\n"
ADDRESS = {"cloud": "192.0.2.1", "gateway": "192.0.2.2"}


def make_root(root: Path, wheel: Path) -> None:
    """A root with the wheel of this clone, as docs/operating.md says; what is there already stays."""
    if not (root / "usr/sbin/cron").exists():
        make_plain_root(root, PACKAGES)
        (root / "usr/sbin/policy-rc.d").write_text(NO_START)
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        run_step(root, f"{APT} update && {APT} install -y --no-install-recommends {SERVICES}")
    shutil.copy(wheel, root / "tmp" / wheel.name)
    if not (root / "opt/opq/bin/pip").exists():
        run_step(root, "python3 -m venv /opt/opq")
    run_step(root, f"/opt/opq/bin/pip install --no-input '/tmp/{wheel.name}[all]'")
    run_step(root, f"/opt/opq/bin/pip install --no-input --no-deps --force-reinstall /tmp/{wheel.name}")


def make_wheel(folder: Path) -> Path:
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(words, check=True)
    (found,) = folder.glob("*.whl")
    return found


class Machine:
    """A running root; its services are started as their units say, by the user opq."""

    def __init__(self, root: Path, name: str, log: Path) -> None:
        self.name, self.network, self._log = name, f"opq-{os.getpid()}-{name}", log
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        subprocess.run(["ip", "netns", "add", self.network], check=True)
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
        script = f'{ENTER}{DISK}exec chroot "$root" sleep infinity'
        words = ["ip", "netns", "exec", self.network, *spaces, "sh", "-c", script, "sh", str(root)]
        self._first = subprocess.Popen(words)
        until(lambda: self._inside().exists(), 10.0, "the machine runs")

    def _inside(self) -> Path:
        """The machine's files, as this one has them."""
        outer = self._first.pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "sleep":
            return Path("/proc/none")
        return Path(f"/proc/{children[0]}/root")

    @property
    def data(self) -> Path:
        return self._inside() / DATA[1:]

    def _enter(self, *words: str) -> list[str]:
        number = self._inside().parent.name
        spaces = ("--mount", "--pid", "--net")
        environment = [f"{name}={value}" for name, value in INSIDE.items()]
        root = str(self._inside())
        return ["nsenter", "--target", number, *spaces, "chroot", root, "env", "-i", *environment, *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self._enter(*words), capture_output=True, text=True, check=False, timeout=240)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def write(self, path: str, text: str) -> None:
        (self._inside() / path[1:]).write_text(text)

    def start(self, name: str, *words: str, user: bool = True) -> None:
        as_user = AS_OPQ if user else ()
        script = f'echo $$ > /run/{name}.pid; exec "$@"'
        with self._log.open("ab") as log:
            self._services[name] = subprocess.Popen(
                self._enter("sh", "-c", script, "sh", *as_user, *words), stdout=log, stderr=log
            )

    def start_unit(self, name: str) -> None:
        """As systemd does, but for its limits."""
        unit, instance = ("opq-gateway.service", "") if name == "gateway" else ("opq-cloud@.service", "all")
        text = (self._inside() / "etc/systemd/system" / unit).read_text()
        line = next(each for each in text.splitlines() if each.startswith("ExecStart="))
        self.start(name, *line.removeprefix("ExecStart=").replace("%i", instance).split())

    def send_signal(self, name: str, number: int) -> None:
        self.run("sh", "-c", f"kill -{number} $(cat /run/{name}.pid)")
        if number == signal.SIGCONT:
            self._services[name].send_signal(number)  # nsenter stops with what it started

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        self.send_signal(name, number)
        self._services.pop(name).wait(240)

    def end_started(self, name: str) -> None:
        """Ends a service that may have ended by itself, because it could not start."""
        self.run("sh", "-c", f"kill $(cat /run/{name}.pid)", check=False)
        self._services.pop(name).wait(240)

    def change(self, path: str, statement: str) -> None:
        """Changes an SQLite file, as the user opq."""
        self.run(*AS_OPQ, f"{OPQ}/python", "-c", CHANGE, path, statement)

    def lock(self, path: str) -> None:
        """Locks an SQLite file against writers until `end("lock")`."""
        self.start("lock", f"{OPQ}/python", "-c", LOCK, path)

    def cable(self, state: str) -> None:
        subprocess.run(["ip", "-n", self.network, "link", "set", "eth0", state], check=True)

    def read(self, path: str) -> str:
        """The text of a file; empty where there is none."""
        with suppress(FileNotFoundError):
            return (self._inside() / path[1:]).read_text()
        return ""

    def status(self) -> tuple[int, dict[str, str]]:
        done = self.run(f"{OPQ}/opq-tools", "status", "--json", "--data-dir", DATA, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, {each["name"]: each["info"] for each in found["not_ok"]}

    def doctor(self) -> tuple[int, list[str]]:
        done = self.run(f"{OPQ}/opq-tools", "doctor", "--json", "--data-dir", DATA, check=False)
        return done.returncode, [each["text"] for each in json.loads(done.stdout)["problems"]]

    def answers(self) -> bool:
        """Whether a cloud answers for the whole."""
        program = "import urllib.request as u; u.urlopen('http://127.0.0.1:8911/', timeout=5).read()"
        return self.run(f"{OPQ}/python", "-c", program, check=False).returncode == 0

    def close(self) -> None:
        self._first.kill()  # and with the first process of its name space all others
        self._first.wait()
        for process in self._services.values():
            process.wait(240)
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "del", self.network], check=True)


@contextmanager
def machines(roots: dict[str, Path], log: Path) -> Iterator[dict[str, Machine]]:
    """Machine by name, joined by a cable."""
    found: dict[str, Machine] = {}
    try:
        for name, root in roots.items():
            found[name] = Machine(root, name, log.with_name(f"{name}.log"))
        ends = [each for name in roots for each in (f"eth-{name}"[:15],)]
        subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
        for end, (name, machine) in zip(ends, found.items(), strict=True):
            inside = ["ip", "-n", machine.network]
            subprocess.run(["ip", "link", "set", end, "netns", machine.network, "name", "eth0"], check=True)
            subprocess.run([*inside, "addr", "add", f"{ADDRESS[name]}/24", "dev", "eth0"], check=True)
            subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
            machine.cable("up")
        yield found
    finally:
        for machine in found.values():
            machine.close()
