"""A real gateway process, the content of its rings, and the cost of kills: for suites that end at the
gateway.

It reaches no cloud: its uplink points to sockets in its own folder on which nothing listens.
"""

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import tomli_w

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.ring import Ring
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_sim.box.box import RING_SAMPLES

STOP_S = 10.0
BACK_S = 240.0
"""Limit that ends a hanging start: a start takes 1 s, and on a machine that is busy with 25 others half a
minute.
"""
CAUGHT_UP_S = 1.5
"""Shortest time from the first new sample to the next kill; the longest is CAUGHT_UP_MORE_S more. A line has
2.7 times the room of live samples, and data from QEMU's pty arrive up to 1 s after it was opened. After
faster kills the delays add up until a Box gets its request too late.
"""
CAUGHT_UP_MORE_S = 1.0
RESTART_S = 0.1
"""Pause between a kill and the next start: RestartSec of the unit."""
RATE_HZ = 12_000
HELD_S = RING_SAMPLES / RATE_HZ
"""A Box that reads a request within this time sends all that it sampled since."""
UNREAD_S = 0.2
"""Time from the gateway's newest block at its request until a simulated Box reads the request."""
UNREAD_EMULATED_S = 0.6
"""The same for an emulated Box on a busy machine, in its own time."""
LATEST_NS = int(np.iinfo(np.int64).max)


def longest_s(kills: int) -> float:
    """A longer `GatewayProcess.survive_kills`, with its start and end, must be hanging."""
    return BACK_S + kills * (CAUGHT_UP_S + CAUGHT_UP_MORE_S + RESTART_S + BACK_S) + STOP_S


class GatewayFailedError(OpqError):
    """The gateway ended by itself, or did not do the awaited thing in time."""


@dataclass(frozen=True, slots=True)
class Kills:
    """The kills of a run.

    `recovery_s`: for each kill, from the newest sample on disk until the last Box got its request for the
    held samples, plus the time for which this machine delayed Boxes that it plays itself meanwhile.

    A gateway that a busy machine delayed is late when it is killed: data that it had not read are lost.
    """

    recovery_s: tuple[float, ...]
    unread_s: float = UNREAD_S

    @property
    def excused_samples(self) -> int:
        """Samples per Box that it no longer held when a busy machine requested them."""
        held_s = HELD_S - self.unread_s
        return sum(max(0, round((recovery_s - held_s) * RATE_HZ)) for recovery_s in self.recovery_s)


class GatewayProcess:
    """`opq-gateway run` for the `with` block; `ports` by Box id; `now_s`: the time of emulated Boxes, used
    for waits.

    `held_up_s`: how long in all the Boxes were delayed, where this machine plays them without an emulator.
    """

    def __init__(
        self,
        ports: Mapping[str, str | Path],
        folder: Path,
        now_s: Callable[[], float] | None = None,
        held_up_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.folder = folder
        self.health_endpoint = ""
        self._now_s, self._held_up_s = now_s or time.monotonic, held_up_s
        self._unread_s = UNREAD_EMULATED_S if now_s else UNREAD_S
        self._ports = {box_id: str(port) for box_id, port in ports.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._rings: dict[str, Ring] = {}

    def __enter__(self) -> "GatewayProcess":
        self.folder.mkdir(parents=True, exist_ok=True)
        KeyFolder(self.folder / "curve").ensure(list(self._ports))
        nowhere = {
            name: f"ipc://{self.folder / name[0]}"  # a socket's path has 107 bytes at most
            for name in ("trigger_endpoint", "command_endpoint", "response_endpoint")
        }
        self.health_endpoint = f"127.0.0.1:{_free_port()}"
        config = self.folder / "gateway.toml"
        settings = {
            "data_dir": str(self.folder),
            "health_endpoint": self.health_endpoint,
            "box": [{"id": box_id, "port": port} for box_id, port in self._ports.items()],
            "uplink": nowhere,
        }
        config.write_text(tomli_w.dumps(settings), encoding="utf-8")
        self._log = (self.folder / "gateway.log").open("wb")
        self._command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        self.start()
        return self

    def start(self) -> None:
        """Starts it, also again after a kill."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Waits, in the Boxes' time, for a condition that the gateway should bring about.

        Raises:
            GatewayFailedError: it ended, or the time is over.
            BackendError: the Boxes' time stops.
        """
        end = self._now_s() + timeout_s
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None or self._now_s() > end:
                words = (self.folder / "gateway.log").read_text(errors="replace").splitlines()[-3:]
                raise GatewayFailedError(f"not within {timeout_s:g} s: {what}; gateway: {' | '.join(words)}")
            time.sleep(0.1)

    def pass_time(self, seconds: float) -> None:
        """Lets it work for so many seconds, in its own time and in that of the Boxes; it must not end.

        Both count, because an emulator that was late catches up faster than real time.
        """
        end, box_end = time.monotonic() + seconds, self._now_s() + seconds
        self.wait_until(
            lambda: time.monotonic() >= end and self._now_s() >= box_end,
            float("inf"),
            f"{seconds:g} s of work",
        )

    def blocks(self, box_id: str = "1") -> list[SampleBlock]:
        """All blocks in the ring of a Box now, in the order in which they were written."""
        ring = self._ring(box_id)
        return [] if ring is None else ring.read_blocks(0, LATEST_NS)

    def samples(self, box_id: str = "1") -> int:
        """How many samples the ring of a Box holds."""
        return sum(len(block.counts) for block in self.blocks(box_id))

    def end_sample(self, box_id: str) -> int:
        """The sample after the last one in the ring of a Box; 0: it is empty."""
        ring = self._ring(box_id)
        newest = None if ring is None else ring.newest()
        return 0 if newest is None else newest.end_sample

    def lost(self, box_id: str) -> int:
        """Samples that are missing between the first and the last in the ring of a Box."""
        blocks = self.blocks(box_id)
        return sum(after.first_sample - before.end_sample for before, after in pairwise(blocks))

    def survive_kills(self, kills: int) -> "Kills":
        """Kills it again and again, each time after it has caught up, and starts it again.

        Raises:
            GatewayFailedError: it did not come back.
        """
        chance = random.Random(1)
        self._wait_for_more()
        recovery_s: list[float] = []
        for _ in range(kills):
            self.pass_time(chance.uniform(CAUGHT_UP_S, CAUGHT_UP_S + CAUGHT_UP_MORE_S))
            self.kill()
            killed_ns, held_up_s = time.monotonic_ns(), self._held_up_s()
            ends = {box_id: self.end_sample(box_id) for box_id in self._ports}
            time.sleep(max(0.0, RESTART_S - (time.monotonic_ns() - killed_ns) / 1e9))
            self.start()
            self._wait_for_more()
            log, held_up_s = self.folder / "gateway.log", self._held_up_s() - held_up_s
            recovery_s.append(
                max(recovery_since_s(log, *each, killed_ns) for each in ends.items()) + held_up_s
            )
        return Kills(tuple(recovery_s), self._unread_s)

    def _wait_for_more(self) -> None:
        before = {box_id: self.end_sample(box_id) for box_id in self._ports}
        self.wait_until(
            lambda: all(self.end_sample(box_id) > end for box_id, end in before.items()),
            BACK_S,
            "samples of every Box",
        )

    def _ring(self, box_id: str) -> Ring | None:
        """One reader for all requests: a new one opens every file, and each kill adds a file."""
        folder = self.folder / "gateway" / f"box{box_id}" / "ring"
        if box_id not in self._rings and folder.exists():
            self._rings[box_id] = Ring(folder, box_id, 24.0)
        return self._rings.get(box_id)


def recovery_since_s(log: Path, box_id: str, end_sample: int, killed_ns: int) -> float:
    """Age of `end_sample`, the newest on disk at a kill, when the gateway requested the samples after it.

    Read from the log of the gateway that was started next. Counted in the Box's own samples, because stamps
    and clocks are wrong by as much as an emulator is slower than real time. Without a request at that start:
    time since the kill.
    """
    for text in log.read_text(errors="replace").splitlines():
        if '"serial.opened"' in text:
            facts = json.loads(text)
            if facts["box_id"] == box_id and facts["monotonic_ns"] > killed_ns:
                if "early_sample" not in facts:
                    return float(facts["monotonic_ns"] - killed_ns) / 1e9
                return float((facts["early_sample"] - end_sample) / RATE_HZ)
    return (time.monotonic_ns() - killed_ns) / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
