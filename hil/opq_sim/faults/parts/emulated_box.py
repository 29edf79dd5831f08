"""The firmware in QEMU as a Box that ends and starts again: a process on the world's clock; its dips' times.

Its GPS shows the world's time of its start, and goes on as fast as the emulator, which a busy machine makes
slow; so it is the start that a dip is known by.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opq_gateway.ring.segment import Segment
from opq_sim.faults.parts.cabled_boxes import RATE_HZ
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.played_service import ServiceProcess
from opq_sim.faults.parts.restarted_boxes import TrueDip
from opq_sim.faults.schedule import RestartedBox

MODULE: Final = "opq_hil.backends.emulated"
EVERY_S: Final = 600
STARTED_EVENT = "box.started"
"""Log event of the emulated Box: it has started."""
DIPPED_EVENT = "box.event_sent"
"""Log event of the emulated Box: a dip has begun in it."""


def flash() -> Path:
    """The firmware that `opq-tools up --box qemu:1` and the tests build into the cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opq"
    return cache / "firmware" / "opqbox" / "flash.bin"


class EmulatedBox:
    """One Box.

    Attributes:
        dips: the truth.
        skipped: why it cannot be played; empty where it can.
    """

    def __init__(
        self,
        drawn: RestartedBox,
        port: Path,
        folder: Path,
        clock: Path,
        server: ForkServer,
        now_ns: Callable[[], int],
    ) -> None:
        folder.mkdir(parents=True)
        self.box_id = drawn.box_id
        self._drawn, self._log, self._now_ns = drawn, folder / "log", now_ns
        options = {
            "box-id": drawn.box_id,
            "flash": flash(),
            "port": port,
            "folder": folder,
            "lead-s": drawn.dips_s[0],
            "every-s": EVERY_S,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        self.process = ServiceProcess("emulated", [MODULE, *words], clock, self._log, server)
        self.dips: list[TrueDip] = []
        self.skipped = "" if flash().exists() else f"{flash()} is not built"
        self._from_ns = 0
        self._starts: list[int] = []
        """The starts whose dip is in the ring."""

    def start(self) -> None:
        """Starts it, with a new seed of its RAM."""
        if not self.skipped:
            self._from_ns = self._now_ns()
            self.process.start()

    def end(self, killed: bool) -> None:
        """Ends it by kill -9, or in order."""
        if not self.skipped:
            self.process.kill() if killed else self.process.stop(signal.SIGTERM)

    def unsampled(self, newest: Segment | None) -> str | None:
        """Says so where it has not had the dip of this start; notes the time of the start meanwhile.

        `newest`: the end of its ring, because the emulator reports a dip when it begins.
        """
        if self.skipped:
            return None
        seen = self._seen()
        starts = self.process.starts
        if len(self.dips) < starts and seen.count(STARTED_EVENT) >= starts:
            now_ns = self._now_ns()
            dip_ns = (self._from_ns + now_ns) // 2 + round(self._drawn.dips_s[0] * 1e9)
            within_ns = (now_ns - self._from_ns) // 2 + 10**9
            drawn = self._drawn
            self.dips.append(
                TrueDip(
                    drawn.box_id, drawn.kind, starts - 1, dip_ns, drawn.residual_percent, within_ns=within_ns
                )
            )
        if not self.process.runs and not seen.count(STARTED_EVENT):
            self.skipped = self.process.last_words or "it ended"
            return None
        if seen.count(DIPPED_EVENT) < starts:
            return "the emulated Box has not had its dip"
        if len(self._starts) < starts:
            # its samples begin two seconds after its start
            goal = self._drawn.dips_s[0] * RATE_HZ
            if newest is None or newest.start_id in self._starts or newest.end_sample < goal:
                return "the gateway does not have the dip of the emulated Box on disk"
            self._starts.append(newest.start_id)
        return None

    def _seen(self) -> list[str]:
        if not self._log.exists():
            return []
        found = []
        for line in self._log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{"):
                found.append(str(json.loads(line)["event"]))
        return found
