"""A running system, compact or with each service apart, whose alerts a webhook gets; and faults in it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from free_ports import free_offset
from house_under_test import until

from opq_cloud.store import open_store
from opq_cloud.store.records.accounts.notifications import (
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
)
from opq_proto.kit.http_server import HttpServer, ReplyHandler
from opq_proto.kit.ports import PORTS
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.plan import UpPlan

APART = (
    *("triggering-broker", "acquisition-broker", "event-service", "triggering-service", "mauka", "view"),
    *("notifications", "health"),
)
ALERT_S, WELL_S = 30.0, 60.0
LASTS_S = 25.0
"""So long a fault lasts after its alert: what follows from it is not its own alert."""
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
MEBI = 1 << 20


class WatchedSystem:
    """Processes of one system, with a webhook that takes all that is ill."""

    def __init__(self, folder: Path, apart: bool, opened: ExitStack, mongo_uri: str | None = None) -> None:
        self.folder, self.offset, self.mongo_uri = folder, free_offset(), mongo_uri
        self.received: list[tuple[float, str, bool]] = []
        """When, what, and whether it is well again."""
        self.pings: list[float] = []
        self.deaf = threading.Event()
        """While it is set, the other address of the webhook takes nothing."""
        self.clock = folder.parent / "clock"
        self.clock.write_text("+0s")
        hook = HttpServer("hook", "127.0.0.1:0", self._handler())
        hook.start()
        opened.callback(hook.end)
        url = f"http://127.0.0.1:{hook.port}"
        watched = 8912 if apart else 8911
        cloud = {
            "notifications": {
                "private_hosts": ["127.0.0.1"],
                "watched_endpoint": f"127.0.0.1:{watched + self.offset}",
            },
            "health": {"ping_url": f"{url}/ping"},
            "store": {} if mongo_uri is None else {"mongo_uri": mongo_uri},
        }
        plan = UpPlan(folder, self.offset, plan_fleet(sim=2), (), {"cloud": cloud}, trace=False)
        plan.prepare()
        self._add_rules(f"{url}/hook")
        self.commands = plan.commands()
        if apart:
            whole = self.commands.pop("cloud")
            place = whole.index("all")
            self.commands = {
                name: [*whole[:place], name, *whole[place + 1 :]] for name in APART
            } | self.commands
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        opened.callback(self.end)
        for name in self.commands:
            self.start(name)

    def start(self, name: str) -> None:
        environment = dict(os.environ)
        if name == "gateway" and FAKETIME is not None and "cloud" in self.commands:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "2",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        with (self.folder.parent / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name], env=environment, stderr=log, stdout=log
            )

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(240)
            process.kill()
            process.wait()

    def verdicts(self) -> dict[str, bool]:
        """What `/alerts` says."""
        port = PORTS["health" if "health" in self.commands else "mauka_health"] + self.offset
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/alerts", timeout=240) as answer,
        ):
            return {each["name"]: each["ok"] for each in json.loads(answer.read())["subcomponents"]}
        return {}

    def wait_until_well(self) -> None:
        expected = {"1", "2", "gateway", "notifications", "clock of gateway", "disk of the cloud"}
        found: dict[str, bool] = {}

        def well() -> bool:
            found.clear()
            found.update(self.verdicts())
            late = sum(1 if ok else -1 for _, _, ok in self.received)  # recoveries still to come
            return expected <= found.keys() and all(found.values()) and not late

        try:
            until(well, 90, "all is well")
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}, {self.received}") from None

    def fault(self, begin: Callable[[], object], end: Callable[[], object], *names: str) -> None:
        """Makes something ill, then well; each of `names`, and nothing else, is reported once each way."""
        first, begun_s = len(self.received), time.monotonic()
        begin()
        try:
            until(lambda: len(self.received) >= first + len(names), 30, f"alerts of {names}")
            ill_s = self.received[-1][0] - begun_s
            time.sleep(LASTS_S)
        finally:
            end()
        ended_s = time.monotonic()
        until(lambda: len(self.received) >= first + 2 * len(names), 30, f"recoveries of {names}")
        well_s = self.received[-1][0] - ended_s
        time.sleep(10)  # for what should not come
        found = [(name, ok) for _, name, ok in self.received[first:]]
        print(f"{names}: alert after {ill_s:.1f} s, recovery after {well_s:.1f} s", file=sys.stderr)
        assert sorted(found) == sorted([(name, ok) for name in names for ok in (False, True)])
        assert [ok for _, ok in found] == [False] * len(names) + [True] * len(names)
        assert ill_s < ALERT_S and well_s < WELL_S

    def kill(self, name: str, *names: str) -> None:
        def begin() -> None:
            self.processes[name].kill()
            self.processes[name].wait()

        self.fault(begin, lambda: self.start(name), *names)

    def freeze(self, name: str, *names: str) -> None:
        process = self.processes[name]
        self.fault(
            lambda: process.send_signal(signal.SIGSTOP), lambda: process.send_signal(signal.SIGCONT), *names
        )

    def _add_rules(self, url: str) -> None:
        store = open_store(self.mongo_uri, self.folder)
        account = store.people.add_account("root@example.org", "root", "admin", "no-hash")
        assert account is not None
        records = NotificationRecords(store.people.documents)
        for about, to in (("silence", url), ("health", url), ("incident", f"{url}/deaf")):
            records.put_rule(
                NotificationRule(
                    about,
                    account.account_id,
                    about,
                    about,
                    "webhook",
                    0,
                    after_s=0,
                    updates=True,
                    url=to,
                    secret="secret",
                )
            )
        self.account_id = account.account_id
        store.close()

    def add_messages(self) -> None:
        """Adds messages to an address that takes none, due for a minute."""
        self.deaf.set()
        store = open_store(self.mongo_uri, self.folder)
        records, due_ms = NotificationRecords(store.people.documents), time.time_ns() // 1_000_000 - 60_000
        for number in range(10):
            records.add_entry(
                NotificationEntry(
                    f"{number:032d}",
                    self.account_id,
                    "incident",
                    "incident",
                    "webhook",
                    "test",
                    "text",
                    due_ms,
                    due_ms,
                )
            )
        store.close()

    def _handler(self) -> type[ReplyHandler]:
        received, pings, deaf = self.received, self.pings, self.deaf

        class Hook(ReplyHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if facts := message.get("health"):
                    received.append((time.monotonic(), facts["name"], facts["ok"]))
                refused = self.path.endswith("/deaf") and deaf.is_set()
                self.send_reply((503 if refused else 204, "text/plain", b""))

            def do_GET(self) -> None:
                pings.append(time.monotonic())
                self.send_reply((204, "text/plain", b""))

        return Hook


@contextmanager
def running(tmp_path: Path, apart: bool, mongo_uri: str | None = None) -> Iterator[WatchedSystem]:
    with ExitStack() as opened:
        folder = tmp_path / "D"
        folder.mkdir()
        if os.geteuid() == 0 and shutil.which("mount"):
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "opq", folder], check=False)
            if mounted.returncode == 0:
                opened.callback(subprocess.run, ["umount", "-l", folder], check=False)
        system = WatchedSystem(folder, apart, opened, mongo_uri)
        system.wait_until_well()
        yield system
