"""A Box by Sim, its gateway and the cloud as processes; the gateway's ledger beside what the cloud stored."""

import json
import math
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import IO, Any

import numpy as np
from command_in_process import run_in_process
from free_ports import free_offset
from house_under_test import until

from opq_gateway.measuring.ledger import Ledger
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_proto.messages import known_uncertainty_ns
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.faults.parts.fork_server import ForkedProcess, ForkServer
from opq_sim.faults.parts.stepped_clock import put_step_ns
from opq_tools.up.plan import UpPlan

BOX = "1"
NOMINAL_V = 230.0
DISTURBANCES = ("dip", "swell", "interruption")
MODULES = (
    "opq_cloud.__main__",
    "opq_cloud.serving",
    "opq_cloud.makai.makai_service",
    "opq_cloud.mauka.mauka_service",
    "opq_gateway.__main__",
)
END_S = 240.0
STILL_S = 3.0
"""Longer than a gateway takes to measure and write what it has received."""
QUESTION_S = 0.5
"""Between two questions to the store, which reads all that it has."""
ORDERED = {"harmonics_v": ("h", 1), "interharmonics_v": ("i", 0)}
AT_INSTANTS = {"angles_deg": "angle_{}_deg", "phasors_v": "phasor_{}_v"}
SCENARIO = """
nominal_v = 230.0
nominal_hz = 50.0
lead_s = 7.0
every_s = 40.0

[grid]
frequency_hz = 49.985
wander_hz = 0.01
wander_s = 47.0

[[box]]
id = "1"
v_per_lsb = 0.02
fundamental_v = 230.0
noise_v = 0.03
harmonics = [[3, 1.0, 30.0], [5, 2.0, 160.0], [7, 1.0, 90.0]]

[[box.event]]
kind = "sag"
depth = 0.35
cycles = 10.0
"""
"""A dip in every few intervals, so that some are flagged."""
Row = Mapping[str, Any]
"""An interval in the columns of `export intervals`; without those that are null."""


class ClassASystem:
    """The processes for the `with` block; `apart`: the cloud is a process for each of these services."""

    def __init__(
        self,
        folder: Path,
        intervals: Sequence[str],
        cloud: Mapping[str, Any] | None = None,
        apart: Sequence[str] = (),
        gateway: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.data_dir = folder, folder / "D"
        folder.mkdir(parents=True, exist_ok=True)
        scenario = folder / "one.toml"
        scenario.write_text(SCENARIO)
        settings = {
            "gateway": {"measuring": {"intervals": list(intervals)}, **(gateway or {})},
            "cloud": dict(cloud or {}),
        }
        fleet = plan_fleet(scenario=scenario)
        self.offset = free_offset()
        plan = UpPlan(self.data_dir, self.offset, fleet, (), settings, trace=False)
        plan.prepare()
        self.commands = plan.commands()
        if apart:
            whole = self.commands.pop("cloud")
            at = whole.index("all")
            self.commands |= {name: [*whole[:at], name, *whole[at + 1 :]] for name in apart}
        self.processes: dict[str, ForkedProcess] = {}
        self._clock = folder / "clock"
        self.mongo_uri = settings["cloud"].get("store", {}).get("mongo_uri")

    def __enter__(self) -> "ClassASystem":
        put_step_ns(self._clock, 0)
        with ExitStack() as opened:
            self._server = opened.enter_context(ForkServer(MODULES))
            opened.callback(self._end_all)
            for name in self.commands:
                self.start(name)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _end_all(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name in list(self.processes):
            self.end(name)

    def start(self, name: str) -> None:
        """Starts the module of a command, forked from a process that has loaded it."""
        process = self.processes[name] = self._server.start(self._clock, self.commands[name][2:])
        Thread(target=self._write_log, args=(process.stderr, name), daemon=True).start()

    def _write_log(self, stderr: IO[bytes], name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            shutil.copyfileobj(stderr, log)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        if not process.ended(END_S):
            process.send_signal(signal.SIGKILL)
            process.ended()

    def kill(self, name: str) -> None:
        self.end(name, signal.SIGKILL)

    def check_that_all_run(self) -> None:
        """No process may end by itself."""
        ended = [name for name, process in self.processes.items() if not process.runs]
        assert not ended, [(name, (self.folder / f"{name}.log").read_text()[-2000:]) for name in ended]

    def export(self, *words: str) -> str:
        """What `opq-tools export` writes, which reads the store beside the cloud; empty where it cannot."""
        out = self.folder / "exported"
        where = ["--data-dir", str(self.data_dir), "--out", str(out)]
        where += ["--mongo-uri", self.mongo_uri] if self.mongo_uri else []
        done = run_in_process("export", *words, *where)
        return out.read_text() if done.returncode == 0 else ""

    def _rows(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.export(*words, "--format", "jsonl").splitlines()]

    def sequences(self) -> list[int]:
        """The numbers of the stored Measurements."""
        found = json.loads(self.export("measurements", "--format", "json"))["measurements"]
        return [row["sequence"] for row in found if row["sequence"] is not None]

    def stored(self, kind: str) -> list[Row]:
        """The intervals of one length in the store, without the names of what is not known.

        Raises:
            AssertionError: a row has no number of its own.
        """
        rows = self._rows("intervals", "--length", kind)
        parts = [(row.pop("sequence"), row.pop("flicker_sequence")) for row in rows]
        numbers = [number for two in parts for number in two if number is not None]
        assert all(set(two) != {None} for two in parts) and len(set(numbers)) == len(numbers)
        assert all((row.pop("box_id"), row.pop("length_ms")) == (BOX, LENGTH_NAMES[kind]) for row in rows)
        assert {row.pop("nominal_v") for row in rows} <= {NOMINAL_V}
        return [{name: _single(value) for name, value in row.items() if value is not None} for row in rows]

    def wait_for_first(self, kind: str) -> None:
        """Waits for the first stored interval of a length."""

        def there() -> bool:
            found = bool(self.stored(kind))
            time.sleep(0.0 if found else QUESTION_S)
            return found

        until(there, 60, f"the first interval of {kind} in the store")

    def stored_disturbances(self) -> list[tuple[Any, ...]]:
        """Class, start, end and residual voltage."""
        return [
            (row["class"], row["start_ns"], row["end_ns"], row["residual_v"])
            for row in self._rows("disturbances", "--box", BOX)
        ]

    def ledger(self, kind: str) -> list[tuple[int, Row]]:
        """Start and columns of the rows of a length as the wire carries them, in the order of writing.

        A start comes more than once: flicker is a row of its own, and what was measured in two parts.
        """
        return [
            (
                row.start_ns,
                {
                    **_columns(row.values),
                    "start_ns": row.start_ns,
                    "end_ns": row.end_ns,
                    "flagged": row.flagged,
                    **({} if bound is None else {"uncertainty_ns": bound}),
                },
            )
            for row in self._read(kind)
            for bound in [known_uncertainty_ns(row.uncertainty_ns)]
        ]

    def settle_ledger(self, kinds: Sequence[str]) -> None:
        """Waits until the gateway writes nothing more: its Box has ended."""
        seen: list[int] = []

        def still() -> bool:
            now = [len(self._read(kind)) for kind in (*kinds, *DISTURBANCES)]
            same, seen[:] = now == seen, now
            time.sleep(0.0 if same else STILL_S)
            return same

        until(still, 60, "the ledger does not grow any more")

    def ledger_disturbances(self) -> list[tuple[Any, ...]]:
        """As `stored_disturbances`, the last row of each."""
        found: dict[int, tuple[Any, ...]] = {}
        for kind in DISTURBANCES:
            for row in self._read(kind):
                found[row.start_ns] = kind, row.start_ns, row.end_ns, row.values["residual_v"]
        return [found[start_ns] for start_ns in sorted(found)]

    def _read(self, kind: str) -> list[Any]:
        folder = self.data_dir / "gateway" / f"box{BOX}" / "ledger"
        return list(Ledger(folder, BOX, 24.0, 30.0).read(kind, 0, 2**62)) if folder.exists() else []


def _single(value: object) -> object:
    """A number is written with the digits that single precision needs."""
    return float(np.float32(value)) if isinstance(value, float) else value


def _columns(values: Mapping[str, float | tuple[float, ...]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple) and name in AT_INSTANTS:
            names = [AT_INSTANTS[name].format(number) for number in range(1, len(value) + 1)]
            known = zip(names, value, strict=True)
            found |= {column: float(np.float32(each)) for column, each in known if not math.isnan(each)}
        elif isinstance(value, tuple):
            letter, first = ORDERED[name]
            found |= {f"{letter}{first + at}_v": float(np.float32(each)) for at, each in enumerate(value)}
        elif not math.isnan(value):
            found["coverage" if name == "coverage_ratio" else name] = float(np.float32(value))
    return found


def whole_rows(parts: Sequence[tuple[int, Row]]) -> list[Row]:
    """The rows of a ledger, one for each start: its flicker joins the windows' row, whose flag counts.

    Raises:
        AssertionError: the windows of one interval were measured in two parts.
    """
    windows = {start_ns: row for start_ns, row in parts if "coverage" in row}
    assert len(windows) == sum("coverage" in row for _, row in parts), "an interval in two parts"
    found: dict[int, Row] = {}
    for start_ns, row in parts:
        found[start_ns] = {**found.get(start_ns, {}), **row, **windows.get(start_ns, {})}
    return [found[start_ns] for start_ns in sorted(found)]
