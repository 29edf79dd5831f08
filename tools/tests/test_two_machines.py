"""A cloud alone and a gateway alone, each on a clean root, from the wheel: well, then each fault.

Each machine's `status` and `doctor` judge what is meant there, and end with 0; then each fault is named by
whom it concerns, and nothing else; then all is well again. OPQ_CLEAN_ROOTS names a folder in which the roots
stay for the next run. systemd does not run in them: what its units start, the test starts as they say.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from house_under_test import ROOT, until
from two_machines import ADDRESS, AS_OPQ, DATA, OPQ, Machine, machines, make_root, make_wheel

NEEDED = ("debootstrap", "unshare", "nsenter", "setpriv", "ip")
MISSING = [name for name in NEEDED if not shutil.which(name)] + ["root"] * (os.geteuid() != 0)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(bool(MISSING), reason=f"cannot make clean roots here: no {', '.join(MISSING)}"),
]
NAMED_S, WELL_S = 30.0, 60.0
"""The first one holds on machines that have nothing else to do; it is judged at the end."""
PAUSE_S = 1.0
BOXES = {"Box 1", "Box 2"}
CLOUD_CONFIG = f"""
[triggering_broker]
box_endpoint = "tcp://*:9880"
[acquisition_broker]
command_endpoint = "tcp://*:8194"
response_endpoint = "tcp://*:8196"
[health]
gateway_endpoint = "{ADDRESS["gateway"]}:8913"
"""
GATEWAY_CONFIG = f"""health_endpoint = "{ADDRESS["gateway"]}:8913"
[[box]]
id = "1"
port = "/run/boxes/box1"
[[box]]
id = "2"
port = "/run/boxes/box2"
[uplink]
trigger_endpoint = "tcp://{ADDRESS["cloud"]}:9880"
command_endpoint = "tcp://{ADDRESS["cloud"]}:8194"
response_endpoint = "tcp://{ADDRESS["cloud"]}:8196"
"""
CLOCKS = {
    "cloud": "local stratum 8\nallow 192.0.2.0/24\n",
    "gateway": f"server {ADDRESS['cloud']} iburst minpoll 2 maxpoll 3\n",
}
"""Of chrony: the gateway's machine has its time from the cloud's; neither sets the clock of this machine."""
NOT_SET = "makestep 0 0\ndriftfile /run/chrony.drift\n"


CRON_LINE = re.compile(r"^    \*/5 (\* \* \* \* root /opt/opq/.*)$", re.M)
CRON_LINE_OF_UP = re.compile(r"^    \*/5 (\* \* \* \* ~/.*)$", re.M)
"""In docs/operating.md, of units and of who runs `up`; here they run each minute."""
USER, HOME = "ada", "/run/ada"
MAIL = "/run/mail"
SENDMAIL = f"#!/bin/sh\ncat >> {MAIL}\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """`status`: machine -> what its `status` names, and each line of its `doctor` with it."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    status: dict[str, set[str]] = field(default_factory=dict)
    doctor: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts that `doctor` has beside the names."""


def start_chrony(machine: Machine, name: str) -> None:
    machine.write("/etc/chrony/chrony.conf", CLOCKS[name] + NOT_SET)
    machine.run("mkdir", "-p", "/run/chrony")
    machine.start("chronyd", "chronyd", "-x", "-d", user=False)


def start_cron(machine: Machine) -> None:
    """cron's own daemon; what it mails is in MAIL."""
    machine.write("/usr/sbin/sendmail", SENDMAIL)
    machine.run("chmod", "755", "/usr/sbin/sendmail")
    machine.write(MAIL, "")
    machine.run("chmod", "666", MAIL)
    machine.start("cron", "cron", "-f", user=False)


class Pair:
    """The two machines as docs/operating.md and docs/gateway.md set them up."""

    def __init__(self, both: dict[str, Machine]) -> None:
        self.cloud, self.gateway = both["cloud"], both["gateway"]
        self.both = both
        self.late: list[str] = []
        """Faults that anything named after NAMED_S."""

    def install(self) -> None:
        for name, machine in self.both.items():
            machine.run("mkdir", "-p", "/image")
            machine.run("mount", "--rbind", "/", "/image")  # the root as a folder: no running system
            machine.run(f"{OPQ}/opq-tools", "service", "install", name, "--root", "/image")
            machine.run("umount", "-l", "/image")
            start_chrony(machine, name)
        self.cloud.write("/etc/opq/cloud.toml", CLOUD_CONFIG)
        self.gateway.write("/etc/opq/gateway.toml", GATEWAY_CONFIG)
        keygen = (f"{OPQ}/opq-tools", "keygen", "--out", f"{DATA}/curve", "--boxes", "1,2")
        self.cloud.run(*keygen)
        there, here = self.cloud.data / "curve", self.gateway.data / "curve"
        folders = [DATA, *(f"{DATA}/curve{each}" for each in ("", "/private_keys", "/public_keys"))]
        self.gateway.run("install", "-d", "-o", "opq", "-g", "opq", "-m", "700", *folders)
        for box_id in ("1", "2"):
            name = f"private_keys/opqbox{box_id}_secret"
            (here / name).write_bytes((there / name).read_bytes())
            (there / name).unlink()
        (here / "public_keys/opqserver.key").write_bytes((there / "public_keys/opqserver.key").read_bytes())
        self.gateway.run("sh", "-c", f"chown -R opq:opq {DATA}; chmod 600 {DATA}/curve/private_keys/*")

    def start(self) -> None:
        self.gateway.run("install", "-d", "-o", "opq", "/run/boxes")
        words = ("-m", "opq_sim.box", "--ports-dir", "/run/boxes", "--sim", "2")
        self.gateway.start("boxes", f"{OPQ}/python", *words)
        self.cloud.start_unit("cloud")
        self.gateway.start_unit("gateway")

    def use_cron(self) -> None:
        """The documented line: no mail while all is well; then one that names the fault."""
        (line,) = CRON_LINE.findall((ROOT / "docs/operating.md").read_text())
        for machine in self.both.values():
            machine.write("/etc/cron.d/opq", f"* {line}\n")
            machine.run("rm", "-f", "/run/opq-status")
            start_cron(machine)
        every = list(self.both.values())
        until(lambda: all(": well" in each.read("/run/opq-status") for each in every), 120.0, "cron")
        assert [each.read(MAIL) for each in every] == ["", ""]
        self.gateway.end("gateway", signal.SIGKILL)
        until(lambda: all("not well    gateway: " in each.read(MAIL) for each in every), 120.0, "mails")
        for machine in every:
            machine.end("cron")
        self.gateway.start_unit("gateway")

    def ill(self) -> dict[str, object]:
        """What is not well, by machine; empty: `status` and `doctor` end with 0 on both."""
        found: dict[str, object] = {}
        for name, machine in self.both.items():
            code, not_ok = machine.status()
            if code or not_ok:
                found[name] = code, not_ok
                continue
            code, texts = machine.doctor()
            if code or texts:
                found[name] = code, texts
        return found

    def wait_until_well(self) -> None:
        last: dict[str, object] = {}

        def well() -> bool:
            last.clear()
            last.update(self.ill())
            return not last

        try:
            until(well, WELL_S, "both machines are well")
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}") from None

    def wrong(self, fault: Fault, begun_s: float, named_s: dict[str, float]) -> list[object]:
        """What is not as it should be during a fault; all four commands are asked at once."""
        checks = {
            f"{command} of the {name}": (check, name)
            for name in self.both
            for command, check in (("status", self._wrong_in_status), ("doctor", self._wrong_in_doctor))
        }

        def check(what: str) -> list[object]:
            wrong_in, name = checks[what]
            if wrong := wrong_in(name, fault):
                named_s.pop(what, None)
                return [what, *wrong]
            named_s.setdefault(what, time.monotonic() - begun_s)
            return []

        with ThreadPoolExecutor(len(checks)) as pool:
            return [found for found in pool.map(check, checks) if found]

    def _wrong_in_status(self, name: str, fault: Fault) -> list[object]:
        wanted = fault.status.get(name, set())
        code, not_ok = self.both[name].status()
        return [] if set(not_ok) == wanted and code == bool(wanted) else [code, not_ok]

    def _wrong_in_doctor(self, name: str, fault: Fault) -> list[object]:
        wanted, more_texts = fault.status.get(name, set()), fault.doctor.get(name, ())
        code, texts = self.both[name].doctor()
        words = (*(f"{each} " for each in wanted), *more_texts)
        unknown = [text for text in texts if not any(word in text for word in words)]
        missed = [word for word in words if word != "disk " and not any(word in text for text in texts)]
        return [code, unknown, missed] if unknown or missed or code != bool(wanted) else []

    def play(self, fault: Fault) -> None:
        last: list[object] = []
        named_s: dict[str, float] = {}
        """Since when each says it; whenever it says anything else, the time begins again."""

        def named() -> bool:
            if last:
                time.sleep(PAUSE_S)
            last[:] = self.wrong(fault, begun_s, named_s)
            return not last

        fault.begin()
        begun_s = time.monotonic()
        try:
            until(named, NAMED_S, fault.name)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}") from None
        finally:
            fault.end()
        begun_s = time.monotonic()
        self.wait_until_well()
        well_s, load = time.monotonic() - begun_s, os.getloadavg()[0]
        names = ", ".join(f"{who} {after_s:.0f} s" for who, after_s in sorted(named_s.items()))
        text = f"two machines: {fault.name}: {names}; well {well_s:.0f} s; load {load:.0f}"
        print(text, file=sys.stderr, flush=True)
        if max(named_s.values()) > NAMED_S:
            self.late.append(text)

    def faults(self) -> Iterator[Fault]:
        no_uplink = {"gateway": BOXES}
        for machine, name, status in (
            (self.cloud, "cloud", {"cloud": {"cloud"}, **no_uplink}),
            (self.gateway, "gateway", {"cloud": {"gateway"}, "gateway": {"gateway"}}),
        ):
            for words, number in (("killed", signal.SIGKILL), ("ended by SIGTERM", signal.SIGTERM)):
                yield Fault(
                    f"{name} {words}",
                    lambda m=machine, n=name, s=number: m.end(n, s),  # type: ignore[misc]
                    lambda m=machine, n=name: m.start_unit(n),  # type: ignore[misc]
                    status,
                )
            yield Fault(
                f"{name} stands still",
                lambda m=machine, n=name: m.send_signal(n, signal.SIGSTOP),  # type: ignore[misc]
                lambda m=machine, n=name: m.send_signal(n, signal.SIGCONT),  # type: ignore[misc]
                status,
            )
            yield self._key_missing(machine, name, status)
        yield Fault(
            "Boxes silent",
            lambda: self.gateway.send_signal("boxes", signal.SIGSTOP),
            lambda: self.gateway.send_signal("boxes", signal.SIGCONT),
            {"cloud": BOXES, "gateway": BOXES},
        )
        yield Fault(
            "cable cut",
            lambda: self.gateway.cable("down"),
            lambda: self.gateway.cable("up"),
            {"cloud": {"gateway"}, **no_uplink},
        )
        for name, machine in self.both.items():
            yield self._full_disk(name, machine)
        yield from self._store_faults()
        yield self._another_system()

    def _key_missing(self, machine: Machine, name: str, status: dict[str, set[str]]) -> Fault:
        file = "opqbox1_secret" if name == "gateway" else "opqserver_secret"
        key = machine.data / "curve/private_keys" / file

        def begin() -> None:
            machine.end(name)
            key.rename(key.with_name("away"))
            machine.start_unit(name)

        def end() -> None:
            key.with_name("away").rename(key)
            machine.end_started(name)
            machine.start_unit(name)

        return Fault(f"key of the {name} missing", begin, end, status, {name: (file,)})

    def _full_disk(self, name: str, machine: Machine) -> Fault:
        filler = machine.data / "filler"

        def fill() -> None:
            space = os.statvfs(machine.data)
            size = space.f_bfree * space.f_frsize - int(0.045 * space.f_blocks * space.f_frsize)
            with filler.open("wb") as file:
                owner = machine.data.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)  # another owner is its own fault
                os.posix_fallocate(file.fileno(), 0, size)

        what = {"cloud": "disk of the cloud", "gateway": "disk"}[name]
        return Fault(
            f"disk of the {name}'s machine full", fill, filler.unlink, {name: {what}}, {name: ("GB",)}
        )

    def _store_faults(self) -> Iterator[Fault]:
        store, queue = f"{DATA}/opq.db", f"{DATA}/gateway/queue.sqlite"
        yield Fault(
            "store locked",
            lambda: self.cloud.lock(store),
            lambda: self.cloud.end("lock"),
            {"cloud": {"triggering-service"}},
        )
        ahead_ms = (time.time_ns() // 10**6) + 3_600_000
        row = f"(-1, {ahead_ms}, {ahead_ms}, 0, {ahead_ms})"
        yield Fault(
            "clock of the cloud's machine off",
            lambda: self.cloud.change(store, f"INSERT INTO segments VALUES {row}"),
            lambda: self.cloud.change(store, "DELETE FROM segments WHERE segment = -1"),
            {"cloud": {"clock of the cloud, by the store"}},
            {"cloud": ("behind the newest Measurement",)},
        )
        columns = "box, box_id, reserved, last_end_ns, acknowledging, settled, unsent"
        values = f"999, '999', 0, {ahead_ms * 10**6}, 0, 0, ''"
        yield Fault(
            "clock of the gateway's machine off",
            lambda: self.gateway.change(queue, f"INSERT INTO boxes ({columns}) VALUES ({values})"),
            lambda: self.gateway.change(queue, "DELETE FROM boxes WHERE box = 999"),
            {"gateway": {"clock"}},
            {"gateway": ("behind the newest Measurement",)},
        )

    def _another_system(self) -> Fault:
        other = "/srv/other"

        def begin() -> None:
            self.cloud.end("cloud")
            self.cloud.run("install", "-d", "-o", "opq", other)
            keygen = (f"{OPQ}/opq-tools", "keygen", "--out", f"{other}/curve", "--server")
            if self.cloud.run("test", "-e", f"{other}/curve", check=False).returncode:
                self.cloud.run(*AS_OPQ, *keygen)
            words = (f"{OPQ}/opq-cloud", "all", "--config", "/etc/opq/cloud.toml", "--data-dir", other)
            self.cloud.start("other", *words)
            until(self.cloud.answers, 60.0, "the other system answers")

        def end() -> None:
            self.cloud.end("other")
            self.cloud.start_unit("cloud")

        return Fault(
            "another system in the cloud's place",
            begin,
            end,
            {"cloud": {"cloud"}, "gateway": BOXES},
            {"cloud": (f"the system of {other} answers",)},
        )


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    wheel = make_wheel(tmp_path_factory.mktemp("wheel"))
    folder = Path(os.environ.get("OPQ_CLEAN_ROOTS") or tmp_path_factory.mktemp("roots"))
    cloud, gateway = folder / "cloud", folder / "gateway"
    make_root(cloud, wheel)
    if not gateway.exists():
        subprocess.run(("cp", "-a", cloud, gateway), check=True)
    make_root(gateway, wheel)
    return {"cloud": cloud, "gateway": gateway}


@pytest.fixture
def pair(roots: dict[str, Path], tmp_path: Path) -> Iterator[Pair]:
    probe = subprocess.run(
        ("ip", "netns", "add", f"opq-{os.getpid()}-probe"), capture_output=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"the kernel makes no network name spaces here: {probe.stderr.decode().strip()}")
    subprocess.run(("ip", "netns", "del", f"opq-{os.getpid()}-probe"), check=True)
    with machines(roots, tmp_path / "log") as both:
        yield Pair(both)


def test_two_machines_name_each_fault(pair: Pair) -> None:
    pair.install()
    pair.start()
    pair.wait_until_well()
    pair.use_cron()
    pair.wait_until_well()
    for fault in pair.faults():
        pair.play(fault)
    assert not pair.late, "\n".join(pair.late)


def test_cron_mails_about_a_dead_up(pair: Pair) -> None:
    """As a user with pipx has it: the program in ~/.local/bin, the line in the own crontab."""
    machine = pair.cloud
    (line,) = CRON_LINE_OF_UP.findall((ROOT / "docs/operating.md").read_text())
    start_chrony(machine, "cloud")
    machine.run("sh", "-c", f"id {USER} || useradd --no-create-home --home-dir {HOME} {USER}")
    machine.run("install", "-d", "-o", USER, "-g", USER, HOME, f"{HOME}/.local", f"{HOME}/.local/bin")
    machine.run("ln", "-s", f"{OPQ}/opq-tools", f"{HOME}/.local/bin/opq-tools")
    as_user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "env", f"HOME={HOME}")
    words = (f"{HOME}/.local/bin/opq-tools", "up", "--sim", "2")
    machine.start("up", *as_user, *words, user=False)
    machine.run("sh", "-c", f"echo '* {line}' | crontab -u {USER} -")
    start_cron(machine)
    until(lambda: ": well" in machine.read(f"{HOME}/.opq-status"), 120.0, "cron finds all well")
    before = machine.read(MAIL)
    machine.end("up", signal.SIGKILL)
    until(lambda: "not well    cloud: does not run" in machine.read(MAIL), 120.0, "a mail")
    machine.end("cron")
    assert "To: ada" in machine.read(MAIL)
    # A minute that began before the page was up may have been mailed; none once all was well.
    assert "not well" not in before or machine.read(MAIL).startswith(before)
