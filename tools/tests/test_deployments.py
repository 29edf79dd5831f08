"""Six deployments and twelve faults: what `status`, `doctor`, Health and the page of administration say.

All of them name each fault within 30 s, and nothing else; then all is well again. The whole takes some hours.
The short forms are proto/tests/test_system_verdict.py and tools/tests/test_doctor_folder.py. Clock daemon,
limits and packages are those of the test's machine, and are not judged.
"""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployed_system import APART, BOXES, DeployedSystem
from house_under_test import processes_with, until

from opq_proto.kit.system_record import CLOUD, GATEWAY, read_record
from opq_proto.kit.system_verdict import VERDICT_NAMES
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.plan import UpPlan

NAMED_S, WELL_S = 30.0, 60.0
"""The first one holds on a machine that has nothing else to do; it is judged at the end of each table."""
PAUSE_S = 1.0
DEPLOYMENTS = ("up", "all", "apart", "container", "gateway", "cloud")
MODULES = {CLOUD: "opq_cloud", GATEWAY: "opq_gateway", BOXES: "opq_sim.box"}
BOTH_BOXES = {"Box 1", "Box 2"}
SERVICE_NAMES = {name: service for service, name in VERDICT_NAMES.items()}
OF_THIS_FOLDER = {"store", "clock", "disk"}
"""What `status` itself finds in the folder; a page has no part in it."""
BY_STORE = "clock of the cloud, by the store"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and who names it how."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    status: set[str]
    doctor: tuple[str, ...]
    """Texts, each in one of `doctor`'s lines, and one of them in each line."""


class Deployment(DeployedSystem):
    """A deployed system on which faults are played."""

    def __init__(self, root: Path, deployment: str) -> None:
        super().__init__(root, deployment)
        self.late: list[str] = []
        """Faults that anything named after NAMED_S."""

    @property
    def services(self) -> list[str]:
        """What can be killed and stays so, as `status` names it."""
        here = {"gateway": [GATEWAY], "cloud": [CLOUD], "all": [CLOUD, GATEWAY]}
        return here.get(self.deployment, [] if self.deployment == "up" else [*APART, GATEWAY])

    @property
    def has_view(self) -> bool:
        return self.deployment != "gateway"

    def pid(self, name: str) -> int:
        """Process of a service, also where `up` started it."""
        if name in self.processes:
            return self.processes[name].pid
        ours = set(processes_with(str(self.folder))) & set(processes_with(f"-m {MODULES[name]} "))
        (found,) = ours - set(processes_with("ended_with_parent"))
        return found

    def signal(self, name: str, number: int) -> None:
        os.kill(self.pid(name), number)

    def named_by_page(self) -> dict[str, str]:
        """The concerns of the page and why, but for clock, disk and last hour of the test's machine."""
        names: dict[str, str] = {}
        for what, why in re.findall(r"<strong>(.*?)</strong> <span>(.*?)</span>", self.front_page()):
            if why.startswith(("Clock:", "Measured:")) or what == "Disk":
                continue
            boxes = re.findall(r"\d+", what) if what.startswith("Box") else []
            names |= {f"Box {number}": why for number in boxes} or {what: why}
        return names

    def what_is_wrong(self, fault: Fault, begun_s: float, named_s: dict[str, float]) -> list[object]:
        """What is not as it should be during a fault; empty: all name it, and nothing else. All are asked
        at once, as by several people."""
        has_page = self.has_view and not fault.status & {CLOUD, "view"}
        checks = {"status": self._wrong_in_status, "doctor": self._wrong_in_doctor}
        checks |= {"alerts": self._wrong_in_alerts} if self._has_alerts(fault) else {}
        checks |= {"page": self._wrong_in_page} if has_page else {}

        def check(name: str) -> list[object]:
            wrong = checks[name](fault)
            if wrong:
                named_s.pop(name, None)
                return [name, *wrong]
            named_s.setdefault(name, time.monotonic() - begun_s)
            return []

        with ThreadPoolExecutor(len(checks)) as pool:
            return [found for found in pool.map(check, checks) if found]

    def _has_alerts(self, fault: Fault) -> bool:
        return self.has_view and not fault.status & {CLOUD, "health"}

    def _wrong_in_alerts(self, fault: Fault) -> list[object]:
        alerts = self.alerts()
        ill = {f"Box {each}" if each.isdigit() else SERVICE_NAMES.get(each, each) for each in alerts}
        return [] if ill == fault.status - OF_THIS_FOLDER else [alerts]

    def _wrong_in_status(self, fault: Fault) -> list[object]:
        code, status = self.status()
        right = {each["name"] for each in status["not_ok"]} == fault.status and code == 1
        return [] if right else [status["not_ok"], code]

    def _wrong_in_page(self, fault: Fault) -> list[object]:
        named = self.named_by_page()
        return [] if named.keys() == fault.status - OF_THIS_FOLDER else [named]

    def _wrong_in_doctor(self, fault: Fault) -> list[object]:
        code, texts = self.doctor()
        missed = [wanted for wanted in fault.doctor if not any(wanted in text for text in texts)]
        more = [text for text in texts if not any(wanted in text for wanted in fault.doctor)]
        return [missed, more, code] if missed or more or code != 1 else []

    def what_is_not_well(self) -> list[object]:
        if self.has_view and (ill := self.alerts() or self.named_by_page()):
            return ["alerts or page", ill]
        code, status = self.status()
        meant = {each["name"] for each in status["services"] if each["meant"]}
        is_whole = self.deployment == "up" or meant == set(self.services)
        if code != 0 or not is_whole:
            return ["status", status["not_ok"], code, meant]
        texts = self.doctor()[1]
        return ["doctor", texts] if texts else []

    def wait_until_well(self) -> None:
        last: list[object] = []

        def well() -> bool:
            last[:] = self.what_is_not_well()
            if last:
                time.sleep(PAUSE_S)
            return not last

        try:
            until(well, WELL_S, "all is well")
        except AssertionError as error:
            raise AssertionError(f"{self.deployment}: {error}: {last}") from None

    def play(self, fault: Fault) -> None:
        """Waits until everything names the fault, and nothing else; then until all is well."""
        last: list[object] = []
        named_s: dict[str, float] = {}
        """Since when each says it; whenever it says anything else, the time begins again."""
        begun_s = time.monotonic()

        def named() -> bool:
            # Between the first time and the time at which Health is right, Health alone is asked again.
            if last and self._has_alerts(fault) and (wrong := self._wrong_in_alerts(fault)):
                last[:] = wrong
                named_s.pop("alerts", None)
                time.sleep(PAUSE_S)
                return False
            last[:] = self.what_is_wrong(fault, begun_s, named_s)
            return not last

        fault.begin()
        try:
            until(named, NAMED_S, fault.name)
        except AssertionError as error:
            raise AssertionError(f"{self.deployment}: {error}: {last}") from None
        finally:
            fault.end()
        begun_s = time.monotonic()
        self.wait_until_well()
        well_s = time.monotonic() - begun_s
        names = ", ".join(f"{who} {after_s:.0f} s" for who, after_s in sorted(named_s.items()))
        load = os.getloadavg()[0]
        text = f"{self.deployment:<10} {fault.name}: {names}; well {well_s:.0f} s; load {load:.0f}"
        print(text, file=sys.stderr, flush=True)
        if max(named_s.values()) > NAMED_S:
            self.late.append(text)

    def kill_what_up_starts_again(self) -> None:
        """A killed process of `up` runs again before anybody could be told."""
        for name in (CLOUD, GATEWAY, BOXES):
            before = self.pid(name)
            self.signal(name, signal.SIGKILL)
            until(lambda name=name, before=before: self._runs_anew(name, before), WELL_S, f"{name} again")
            self.wait_until_well()

    def _runs_anew(self, name: str, before: int) -> bool:
        with suppress(ValueError):  # none now, or still two
            return self.pid(name) != before
        return False

    def end_process(self, name: str, number: int) -> None:
        self.signal(name, number)
        self.processes.pop(name).wait(240)

    def start_in_vain(self, name: str) -> None:
        """Starts a service that cannot run, and waits for its end."""
        self.start(name)
        assert self.processes.pop(name).wait(240) not in (0, 127)

    def faults(self) -> Iterator[Fault]:
        for name in self.services:
            ends = [("killed", signal.SIGKILL), ("ended by SIGTERM", signal.SIGTERM)]
            # How it ended is all the same to who finds that it is gone; one of many shows it.
            for words, number in ends if name in (CLOUD, GATEWAY, APART[0]) else ends[:1]:
                yield Fault(
                    f"{name} {words}",
                    lambda name=name, number=number: self.end_process(name, number),  # type: ignore[misc]
                    lambda name=name: self.start(name),  # type: ignore[misc]
                    {name},
                    (f"{name} does not run: ",),
                )
        if self.deployment == "up":
            begin = lambda: self.end_process("up", signal.SIGKILL)  # noqa: E731
            texts = ("cloud does not run: ", "gateway does not run: ")
            yield Fault("up killed", begin, lambda: self.start("up"), {CLOUD, GATEWAY}, texts)
        for name in self.services or (CLOUD, GATEWAY):
            yield self._frozen(name, {name}, (f"{name} does not answer: ",))
        silent = tuple(f"{box} is not well: " for box in sorted(BOTH_BOXES))
        yield self._frozen(BOXES, BOTH_BOXES, silent)
        if self.deployment == "cloud":  # elsewhere, and watched by [health] gateway_endpoint
            yield self._frozen(GATEWAY, {GATEWAY}, ("gateway is not well: ",))
        yield from self._store_faults() if self.has_view else self._queue_faults()
        if os.path.ismount(self.folder):
            yield self._full_disk()
        yield from self._missing_key()
        yield from self._another_system()

    def _frozen(self, name: str, status: set[str], doctor: tuple[str, ...]) -> Fault:
        begin, end = (lambda: self.signal(name, signal.SIGSTOP)), (lambda: self.signal(name, signal.SIGCONT))
        return Fault(f"{name} stands still", begin, end, status, doctor)

    def _store_faults(self) -> Iterator[Fault]:
        lock = sqlite3.connect(self.folder / "opq.db", isolation_level=None)
        yield Fault(
            "store locked",
            lambda: lock.execute("BEGIN IMMEDIATE"),
            lambda: lock.execute("ROLLBACK"),
            {"triggering-service"},
            ("triggering-service is not well: ",),
        )
        lock.close()

        def change(statement: str) -> None:
            with closing(sqlite3.connect(self.folder / "opq.db", timeout=240)) as store, store:
                store.execute(statement)

        ahead_ms = (time.time_ns() // 10**6) + 3_600_000
        yield Fault(
            "clock off, by the store",
            lambda: change(f"INSERT INTO segments VALUES (-1, {ahead_ms}, {ahead_ms}, 0, {ahead_ms})"),
            lambda: change("DELETE FROM segments WHERE segment = -1"),
            {BY_STORE},
            ("behind the newest Measurement",),
        )
        if not self.services:  # `up` starts its cloud again by itself, and says why it ends
            return
        name = CLOUD if CLOUD in self.services else "view"
        with closing(sqlite3.connect(self.folder / "opq.db")) as store:
            (schema,) = store.execute("PRAGMA user_version").fetchone()

        def newer() -> None:
            self.end_process(name, signal.SIGTERM)
            change(f"PRAGMA user_version = {schema + 1}")
            self.start_in_vain(name)

        def older() -> None:
            change(f"PRAGMA user_version = {schema}")
            self.start(name)

        texts = (f"{name} does not run: ", f"has schema {schema + 1}")
        yield Fault("store of a newer schema", newer, older, {name, "store"}, texts)

    def _queue_faults(self) -> Iterator[Fault]:
        """A gateway alone has no store; what it has measured is in its queue."""
        path = self.folder / "gateway/queue.sqlite"

        def change(statement: str) -> None:
            with closing(sqlite3.connect(path, timeout=240)) as queue, queue:
                queue.execute(statement)

        lock = sqlite3.connect(path, isolation_level=None)
        yield Fault(
            "queue locked",
            lambda: lock.execute("BEGIN IMMEDIATE"),
            lambda: lock.execute("ROLLBACK"),
            BOTH_BOXES,
            tuple(f"{box} is not well: " for box in sorted(BOTH_BOXES)),
        )
        lock.close()
        columns = "box, box_id, reserved, last_end_ns, acknowledging, settled, unsent"
        values = f"999, '999', 0, {time.time_ns() + 3600 * 10**9}, 0, 0, ''"
        yield Fault(
            "clock off, by the queue",
            lambda: change(f"INSERT INTO boxes ({columns}) VALUES ({values})"),
            lambda: change("DELETE FROM boxes WHERE box = 999"),
            {"clock"},
            ("behind the newest Measurement",),
        )

    def _full_disk(self) -> Fault:
        filler = self.folder / "filler"

        def fill() -> None:
            space = shutil.disk_usage(self.folder)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, space.free - int(0.045 * space.total))

        status = {"disk of the cloud"} if self.has_view else {"disk"}
        texts = ("disk of the cloud is not well",) if self.has_view else ()
        return Fault("disk full", fill, filler.unlink, status, texts)

    def _missing_key(self) -> Iterator[Fault]:
        """Not with `up`, which makes a key that is missing."""
        if not self.services:
            return
        name = next(each for each in (CLOUD, "triggering-broker", GATEWAY) if each in self.services)
        file = "opqbox1_secret" if name == GATEWAY else "opqserver_secret"
        key = self.folder / "curve/private_keys" / file
        away = key.with_name("away")

        def begin() -> None:
            self.end_process(name, signal.SIGTERM)
            key.rename(away)
            self.start_in_vain(name)

        def end() -> None:
            away.rename(key)
            self.start(name)

        yield Fault("key missing", begin, end, {name}, (f"{name} does not run: ", file))

    def _another_system(self) -> Iterator[Fault]:
        """Not with `up`, which refuses busy ports before it starts."""
        if not self.services:
            return
        name = GATEWAY if GATEWAY in self.services else CLOUD
        other = self.root / "other"
        plan = UpPlan(other, self.offset, plan_fleet(sim=2), (), {}, trace=False)
        plan.prepare()
        self.commands["other"] = plan.commands()[name]

        def begin() -> None:
            self.end_process(name, signal.SIGTERM)
            self.start("other")

        def end() -> None:
            self.end_process("other", signal.SIGTERM)
            self.start(name)

        text = f"{name} does not run here: the system of {other} answers at "
        yield Fault("another system in its place", begin, end, {name}, (text,))


@contextmanager
def disk_of_its_own(folder: Path) -> Iterator[None]:
    """Where tests may mount; otherwise the folder is on the machine's disk, which is not filled."""
    folder.mkdir(parents=True)
    size = ["mount", "-t", "tmpfs", "-o", "size=400m", "opq", str(folder)]
    mounted = (
        os.geteuid() == 0 and shutil.which("mount") and subprocess.run(size, check=False).returncode == 0
    )
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_only_the_played_fault_is_named_everywhere(deployment: str, tmp_path: Path) -> None:
    with disk_of_its_own(tmp_path / "D"):
        system = Deployment(tmp_path, deployment)
        try:
            system.start_all()
            system.wait_until_well()
            if deployment == "up":
                system.kill_what_up_starts_again()
            for fault in system.faults():
                system.play(fault)
            assert not system.late, "\n".join(system.late)
            first = (system.services or ["up"])[0]
            words, known = system.commands[first], system.environment
            again = subprocess.run(words, env=known, capture_output=True, timeout=240, check=False)
            assert again.returncode not in (0, 127), "the same folder a second time"
            system.wait_until_well()
            meant = {each.name for each in read_record(system.folder).services}
            for name in system.services or ["up"]:
                system.end(name, signal.SIGINT)
            assert meant and read_record(system.folder).services == (), "Ctrl-C: nothing is meant any more"
        finally:
            system.end_all()
