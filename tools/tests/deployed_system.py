"""A system in each of its deployments, as an operator starts it, and what the operator is shown.

One folder has the gateway and the cloud, or each of both has one; simulated Boxes run beside them.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from free_ports import free_offset

from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import PORTS
from opq_proto.kit.system_record import CLOUD, GATEWAY
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.plan import UpPlan

ROOT = Path(__file__).resolve().parents[2]
APART = (
    *("triggering-broker", "acquisition-broker", "event-service", "triggering-service", "mauka", "view"),
    *("notifications", "health"),
)
BOXES = "boxes"


class DeployedSystem:
    """Processes of one or two data folders."""

    def __init__(self, root: Path, deployment: str) -> None:
        """`deployment`: up, all, apart, container, gateway or cloud; of the last two the other part has a
        folder of its own."""
        self.root, self.deployment, self.offset = root, deployment, free_offset()
        self.folder = root / "D"
        self.elsewhere = root / "elsewhere" if deployment in ("gateway", "cloud") else self.folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands = self._commands()

    def _plan(self, folder: Path) -> UpPlan:
        plan = UpPlan(folder, self.offset, plan_fleet(sim=2), (), {}, trace=False)
        plan.prepare()
        return plan

    def _commands(self) -> dict[str, list[str]]:
        if self.deployment == "up":
            where = ["--data-dir", str(self.folder), "--port-offset", str(self.offset), "--sim", "2"]
            return {"up": [sys.executable, "-m", "opq_tools.cli", "up", *where]}
        found = self._plan(self.folder).commands()
        offset = ["--port-offset", str(self.offset)]
        if self.elsewhere != self.folder:
            other = self._plan(self.elsewhere).commands()
            self._share_keys()
            moved = [CLOUD] if self.deployment == "gateway" else [GATEWAY, BOXES]
            found |= {name: other[name] for name in moved}
            (self.folder / f"config/{moved[0]}.toml").unlink()  # what is not here has no configuration here
        if self.deployment in ("all", "gateway", "cloud"):
            return found
        del found[CLOUD]
        config = str(self.folder / "config/cloud.toml")
        if self.deployment == "container":  # as its image starts it
            apart = {name: ["sh", str(ROOT / "deploy/start"), name, *offset] for name in APART}
        else:
            python = [sys.executable, "-m", "opq_cloud"]
            apart = {name: [*python, name, "--config", config, *offset] for name in APART}
        return apart | found

    def _share_keys(self) -> None:
        """Each part gets what it has to know of the other's keys."""
        here, there = KeyFolder(self.folder / "curve"), KeyFolder(self.elsewhere / "curve")
        cloud, gateway = (there, here) if self.deployment == "gateway" else (here, there)
        gateway.server_public.write_bytes(cloud.server_public.read_bytes())
        gateway.server_secret.unlink()
        for box_id in ("1", "2"):
            cloud.box_public(box_id).write_bytes(gateway.box_public(box_id).read_bytes())
            cloud.box_secret(box_id).unlink()

    def start_all(self) -> None:
        for name in self.commands:
            self.start(name)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "OPQ_DATA": str(self.folder),
            "OPQ_CONFIG": str(self.folder / "config/cloud.toml"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start(self, name: str) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(240)
        finally:
            process.kill()
            process.wait()

    def end_all(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(240)
            process.kill()
            process.wait()
        self.processes.clear()

    def _tool(self, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "opq_tools.cli", *words, "--data-dir", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        return done.returncode, done.stdout

    def status(self) -> tuple[int, dict[str, Any]]:
        """Exit code and document of `opq-tools status`."""
        code, text = self._tool("status", "--json")
        found: dict[str, Any] = json.loads(text)
        return code, found

    def doctor(self) -> tuple[int, list[str]]:
        """Exit code and texts of `opq-tools doctor`, but for what is of the machine that runs the tests."""
        code, text = self._tool("doctor", "--json")
        return code, of_the_system(json.loads(text)["problems"])

    def alerts(self) -> dict[str, str]:
        """What Health says is ill."""
        port = PORTS["health" if "health" in self.commands else "mauka_health"] + self.offset
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/alerts", timeout=240) as answer,
        ):
            parts = json.load(answer)["subcomponents"] or ()
            return {each["name"]: str(each["info"]) for each in parts if not each["ok"]}
        return {}

    def front_page(self) -> str:
        """The text of /admin, for who opens it on this machine; empty where it does not answer."""
        url = f"http://127.0.0.1:{PORTS['view'] + self.offset}/admin"
        with suppress(OSError), urllib.request.urlopen(url, timeout=240) as answer:
            text: str = answer.read().decode()
            return text
        return ""


def of_the_system(problems: Sequence[dict[str, Any]]) -> list[str]:
    """What `doctor` says but of the machine that runs the tests, and of the size of its disk."""
    machine = {"descriptors", "memory", "processes", "time zones", "packages", "firewall"}
    texts = ("GB are free at ", "to keep a page", "no daemon keeps the clock", "the clock may be off")
    return [
        str(each["text"])
        for each in problems
        if each["what"] not in machine and not any(text in each["text"] for text in texts)
    ]
