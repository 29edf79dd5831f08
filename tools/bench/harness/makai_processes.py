"""Makai's services as `opq-cloud NAME` runs them, a process each, and their figures from `/metrics`."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.harness.own_processes import cpu_s, end_process
from opq_cloud.core.stage_times import BOUNDS_S, quantile_s
from opq_gateway.uplink.connection import Endpoints
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.http_client import fetch
from opq_proto.kit.ports import PORTS
from opq_tools.up.children import ended_with_this

SERVICES = {"triggering-broker": 8914, "acquisition-broker": 8915, "triggering-service": 8080}
"""Service -> port of its health."""
CONFIG = """
[triggering_service.asking]
bytes_per_min = 1000000000000
bytes_per_min_of_box = 1000000000000
bytes_per_min_by_box = 1000000000000
"""
"""Settings without budgets, so that each crossing of a bench causes a command."""
BENCH_FOLDER = Path(__file__).resolve().parents[2]
START_S = 60.0
FIRST_BOX = 1000


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """State of a process at one moment: CPU seconds since its start, bytes of memory, counters, stages."""

    cpu_s: float
    rss_bytes: float
    counters: dict[str, float]
    stages: dict[str, list[float]]
    """Stage -> cumulative counts by the bounds of `StageTimes`."""


@dataclass(slots=True)
class OrderedProcess:
    """A process of the bench that takes a JSON line and answers with one."""

    process: "subprocess.Popen[str]" = field(repr=False)

    def answer(self, **order: object) -> dict[str, Any]:
        """Sends an order, if any, and returns the answer. Raises RuntimeError: the process has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if order:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the bench ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class MakaiProcesses:
    """A data directory with keys, and the processes (`pids`); `close` ends them."""

    def __init__(self, folder: Path, boxes: int, offset: int, first_box: int = FIRST_BOX) -> None:
        self._opened = ExitStack()
        self._folder, self.offset, self.boxes = folder, offset, boxes
        self.pids: dict[str, int] = {}
        self._commands: dict[str, list[str]] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.curve = folder / "curve"
        KeyFolder(self.curve).create(True, [str(first_box + number) for number in range(boxes)])
        config = folder / "cloud.toml"
        config.write_text(CONFIG, encoding="utf-8")
        for name in SERVICES:
            places = ["--data-dir", str(folder), "--port-offset", str(offset), "--config", str(config)]
            self._commands[name] = [sys.executable, "-m", "opq_cloud", name, *places]
        self.start(*SERVICES)

    def start(self, *names: str) -> None:
        """Starts services and waits for them. Raises RuntimeError: one does not answer."""
        for name in names:
            self._running[name] = self._start(self._commands[name], self._folder / f"{name}.log")
            self.pids[name] = self._running[name].pid
        until_s = time.monotonic() + START_S
        for name in names:
            while not self._answers(name):
                if time.monotonic() > until_s:
                    raise RuntimeError(f"{name} does not answer: {self._folder / f'{name}.log'}")
                time.sleep(0.1)

    def restart(self, *names: str) -> None:
        """Kills services by SIGKILL and starts them again."""
        for name in names:
            self._running[name].kill()
            self._running[name].wait()
        self.start(*names)

    def figures(self, name: str) -> ProcessFigures:
        """Reads the present figures of a service."""
        values: dict[str, float] = {}
        stages: dict[str, list[float]] = {}
        for family in text_string_to_metric_families(self._read(name, "/metrics")):
            for sample in family.samples:
                if sample.name == "opq_stage_seconds_bucket":
                    stages.setdefault(sample.labels["stage"], []).append(sample.value)
                else:
                    values[sample.name] = values.get(sample.name, 0.0) + sample.value
        return ProcessFigures(cpu_s(self.pids[name]), values["process_resident_memory_bytes"], values, stages)

    def boxes_reporting(self) -> int:
        """Boxes that sent lately, by the health of the triggering service; 0 where it does not answer."""
        try:
            text = self._read("triggering-service", "/")
        except OSError:
            return 0
        return len(set(re.findall(r'"name": ?"([0-9]+)", ?"ok": ?true', text)))

    def box_load(self) -> OrderedProcess:
        """Starts the process of all Boxes, not yet connected."""
        names = "triggering_box", "command_box", "response_box"
        ends = [f"tcp://127.0.0.1:{PORTS[name] + self.offset}" for name in names]
        return self.load_at(Endpoints(*ends), self.boxes)

    def load_at(self, endpoints: Endpoints, boxes: int) -> OrderedProcess:
        """Starts a process of `boxes` Boxes for the given endpoints."""
        plan = self._folder / f"plan{len(list(self._folder.glob('plan*')))}.json"
        ends = {name: getattr(endpoints, name) for name in ("trigger", "command", "response")}
        plan.write_text(json.dumps({"boxes": boxes, "curve": str(self.curve), "endpoints": ends}))
        return self.ordered("bench.harness.box_load", str(plan))

    def ordered(self, module: str, *arguments: str) -> OrderedProcess:
        """Starts a process of the bench's own."""
        made = self._start([sys.executable, "-m", module, *arguments], self._folder / f"{module}.log")
        return OrderedProcess(made)

    def close(self) -> None:
        """Ends all started processes."""
        self._opened.close()

    def _start(self, arguments: Sequence[str], log: Path) -> "subprocess.Popen[str]":
        paths = [str(BENCH_FOLDER), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with log.open("ab") as errors:
            made = subprocess.Popen(
                ended_with_this(arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,
            )
        self._opened.callback(_end, made)
        return made

    def _answers(self, name: str) -> bool:
        try:
            return bool(json.loads(self._read(name, "/"))["ok"])
        except OSError:
            return False

    def _read(self, name: str, path: str) -> str:
        url = f"http://127.0.0.1:{SERVICES[name] + self.offset}{path}"
        return fetch(url, 20).decode()


def stage_quantile_s(before: ProcessFigures, after: ProcessFigures, stage: str, share: float) -> float:
    """Upper end of the bucket that holds this share of the times taken between both."""
    counts = after.stages.get(stage, [0.0] * (len(BOUNDS_S) + 1))
    earlier = before.stages.get(stage, [0.0] * len(counts))
    return quantile_s([round(now - was) for now, was in zip(counts, earlier, strict=True)], share)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    end_process(process)
