"""Sealer: seals the ended segments of all rings with one child process, one segment at a time.

The newest segments are sealed first, because their saving lasts longest. On a machine that cannot keep up the
oldest stay raw until they are deleted. When a child dies, hangs or cannot seal a file, only the saving is
lost.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from opq_gateway.counters import BoxCounters
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_gateway.ring.segment_catalogue import SEALING
from opq_proto.kit import log
from opq_proto.kit.backoff import Backoff, doubling

POLL_S = 1.0
ANSWER_S = 900.0
"""Ten minutes of samples take some 10 s of a core, and a child on a busy machine gets little of it."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
RAW_SEGMENTS_KEPT = 2
"""Number of newest ended segments of a ring that stay raw. Most requests are for the last minutes, and ten
seconds of raw samples are read in 1 ms instead of 6 to 9."""
SEALING_TRIES = 2
"""A segment stays raw after this many failures of the child."""
IDLE_S = 60.0
"""A child without work for this long ends. One Box needs it for some seconds of ten minutes; it takes 40 MB,
and a new start 0.2 s of a core."""
STOP_S = 0.5


class ChildFailedError(Exception):
    """The child ended, or did not answer in time."""


class Sealer:
    """Seals the segments of all rings; `run` in one thread."""

    def __init__(
        self,
        rings: Mapping[str, Ring],
        counters: Mapping[str, BoxCounters],
        answer_s: float = ANSWER_S,
        poll_s: float = POLL_S,
        first_wait_s: float = FIRST_WAIT_S,
        stay_raw: int = RAW_SEGMENTS_KEPT,
        idle_s: float = IDLE_S,
        command: tuple[str, ...] = (sys.executable, "-m", "opq_gateway.ring.sealing"),
    ) -> None:
        self._rings = rings
        self._counters = counters
        self._answer_s = answer_s
        self._poll_s = poll_s
        self._first_wait_s = first_wait_s
        self._stay_raw = stay_raw
        self._idle_s = idle_s
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._failed: dict[Path, int] = {}
        self._log = log.get(service="gateway")

    def run(self, stop: threading.Event) -> None:
        """Seals segments until `stop`; then ends the child."""
        waits, idle_s = Backoff(doubling(self._first_wait_s, LONGEST_WAIT_S)), 0.0
        try:
            while not stop.is_set():
                box_id, segment = self._next()
                if segment is None:
                    stop.wait(self._poll_s)
                    idle_s += self._poll_s
                    if idle_s >= self._idle_s:
                        self._end_child()
                    continue
                idle_s = 0.0
                if self._sealed(box_id, segment, stop):
                    waits.record_success()
                else:
                    stop.wait(waits.record_failure())
        finally:
            self._end_child()

    def _next(self) -> tuple[str, Segment | None]:
        """The newest segment that may be sealed, from the ring with the most waiting."""
        best: tuple[str, Segment | None] = ("", None)
        most = 0
        there: set[Path] = set()
        for box_id, ring in self._rings.items():
            unsealed = ring.unsealed()
            there.update(segment.path for segment in unsealed)
            due = unsealed[: max(0, len(unsealed) - self._stay_raw)]
            waiting = [segment for segment in due if self._failed.get(segment.path, 0) < SEALING_TRIES]
            if len(waiting) > most:
                most, best = len(waiting), (box_id, waiting[-1])
        self._failed = {path: count for path, count in self._failed.items() if path in there}
        return best

    def _sealed(self, box_id: str, segment: Segment, stop: threading.Event) -> bool:
        """Seals a segment. True: the next may follow at once; False: the child or the disk needs time."""
        try:
            answer = self._request_seal(segment.path, stop)
            if "made" in answer:
                self._replace(box_id, segment, Path(answer["made"]))
            elif "problem" in answer:
                self._failure(box_id, segment, answer["problem"])
        except (ChildFailedError, OSError) as error:
            self._end_child()
            if not stop.is_set():
                self._failure(box_id, segment, str(error))
            return False
        if "refused" in answer:  # a full disk does not count as a failure of the segment
            self._failure(box_id, segment, answer["refused"], tried=0)
        return "refused" not in answer

    def _replace(self, box_id: str, segment: Segment, made: Path) -> None:
        before_bytes = segment.file_bytes
        if self._rings[box_id].replace(segment, made):
            self._counters[box_id].add("ring_sealed_segments")
            self._counters[box_id].add("ring_saved_bytes", max(0, before_bytes - segment.file_bytes))
        else:
            made.unlink(missing_ok=True)

    def _failure(self, box_id: str, segment: Segment, reason: str, tried: int = 1) -> None:
        self._counters[box_id].add("ring_sealing_failed")
        count = self._failed[segment.path] = self._failed.get(segment.path, 0) + tried
        segment.path.with_suffix(SEALING).unlink(missing_ok=True)
        self._log.warning(
            "ring.not_sealed", box_id=box_id, path=str(segment.path), tries=count, reason=reason
        )

    def _request_seal(self, path: Path, stop: threading.Event) -> dict[str, str]:
        """The child's answer, "made", "problem" or "refused"; empty when stopped meanwhile."""
        if self._child is None:
            self._child = subprocess.Popen(  # Ctrl-C must not reach the child, which ends with this process
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        child = self._child
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(os.fsencode(path) + b"\n")
        child.stdin.flush()
        line = b""
        left_s = self._answer_s
        while not line.endswith(b"\n"):
            if stop.is_set():
                return {}
            if left_s <= 0:
                raise ChildFailedError(f"the sealing process did not answer within {self._answer_s:g} s")
            step_s = min(0.2, left_s)
            if not select.select([child.stdout], [], [], step_s)[0]:
                left_s -= step_s
                continue
            more = os.read(child.stdout.fileno(), 65536)
            if not more:
                raise ChildFailedError("the sealing process ended")
            line += more
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ChildFailedError(f"the sealing process answered {line[:80]!r}; want a JSON object")
        return found

    def _end_child(self) -> None:
        """Kills the child, which is safe because it replaces no file. On a busy machine it may die a little
        later."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S)
        child.stdout.close()
        with contextlib.suppress(OSError):  # the child did not read some bytes
            child.stdin.close()
