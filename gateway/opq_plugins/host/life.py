"""One life of a worker: its process from start to end, with a wire, its output, and the keeper's report."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from typing import Any

from opq_plugins.worker.wire import Wire

END_S = 2.0
GONE = "gone"
"""The wire ended, and we did not end it: the process says by its status why."""


class Call:
    """What waits for an answer."""

    __slots__ = ("done", "failure", "instance", "value")

    def __init__(self, instance: int) -> None:
        self.instance = instance
        self.done = threading.Event()
        self.value: Any = None
        self.failure: Exception | None = None


class Life:
    """One process from its start to its end."""

    def __init__(self, command: list[str], environment: dict[str, str], facts: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        self.report, report = os.pipe()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(report)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), report),
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        os.close(report)
        os.set_blocking(self.report, False)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(facts).encode() + b"\n")
            self.process.stdin.flush()
        self.wire = Wire(ours, of_host=True)
        self.calls: dict[int, Call] = {}
        self.facts: dict[str, Any] = {}
        self.heard_s = self.started_s = time.monotonic()
        self.why = ""

    def end(self, why: str) -> None:
        """Any thread; the keeper kills the worker and all that it started."""
        self.why = self.why or why
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            if self.why != GONE:
                self.process.stdin.write(b"k")  # at once; an end alone lets it end by itself
            self.process.stdin.close()

    def reports(self) -> dict[str, Any]:
        """What the keeper has told since; the plug-in has no hand in it."""
        told: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in os.read(self.report, 1 << 16).splitlines():
                told |= json.loads(line)
        return told

    def close(self) -> dict[str, Any]:
        """Waits for the keeper and gives its report."""
        self.end("closed")
        try:
            self.process.wait(END_S + 8)
        except subprocess.TimeoutExpired:
            self.process.kill()  # the worker follows: PR_SET_PDEATHSIG
            self.process.wait()
        told = self.reports()
        os.close(self.report)
        self.output.close()
        self.wire.close()
        return told

    def cause(self, report: dict[str, Any], said: str) -> str:
        """Why it ended. `report`: what `close` gave; `said`: the last of its output."""
        if "refused" in report:
            return str(report["refused"])
        if "ended" in report:
            return str(report["ended"])
        code = report.get("code", self.process.returncode)
        why = self.why if self.why and self.why != GONE else f"ended with {_meaning(code)}"
        if not self.facts and (tail := said.strip()):
            why += f"; it said: {tail[-600:]}"
        if report.get("survivors"):
            why += f"; {report['survivors']} processes that it had started were ended"
        return why


def _meaning(code: int | None) -> str:
    if code is None:
        return "an unknown status"
    number = -code if code < 0 else code - 128 if code > 128 else 0
    names = {
        6: "SIGABRT",
        9: "SIGKILL",
        11: "SIGSEGV",
        24: "SIGXCPU (its CPU time)",
        25: "SIGXFSZ (file size)",
    }
    return f"signal {names.get(number, number)}" if number else f"exit code {code}"
