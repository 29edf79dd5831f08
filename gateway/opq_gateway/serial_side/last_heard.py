"""LastHeard: when a Box's samples came, for a gateway that starts again while the machine keeps running.

The system's clock may be set while no gateway runs, but the machine's monotonic clock is not. So for one
sample of each start of the Box a small file has its time by the monotonic clock, with the number of the
machine's start. Together with the end of the ring it gives the time of the last sample. After a start of the
machine the monotonic clock begins again, and the file is not used; so it need not be flushed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.segment import Segment
from opq_proto.kit.whole_file import open_private

MACHINES_START: Final = Path("/proc/sys/kernel/random/boot_id")
KEPT_S: Final = 600.0
"""A crystal that is off by 100 ppm makes 60 ms in this time."""
EARLIER_S: Final = 0.1
"""The first samples after a start may have waited in a buffer. Samples that came this much earlier than the
entry predicts replace it."""


@dataclass(frozen=True, slots=True)
class HeardSample:
    """One sample of a start of the Box, and when it came."""

    machine: str
    """Number of the machine's start."""
    start_id: int
    sample: int
    rate_millihz: int
    at_s: float
    """By the monotonic clock."""

    def at_sample_s(self, sample: int) -> float:
        """When another sample of this start came, or will come."""
        return self.at_s + (sample - self.sample) * 1000 / self.rate_millihz


class LastHeard:
    """The file of one Box; used in the reader's thread."""

    def __init__(self, path: Path, machine: str | None = None) -> None:
        """`machine`: number of the machine's start; None: it is read."""
        self._path = path
        self._machine = _machines_start() if machine is None else machine
        self._kept: HeardSample | None = None

    def ended_s(self, ring: Segment | None) -> float | None:
        """When the last sample of a ring came, by the monotonic clock; None: not known."""
        kept = _read(self._path)
        known = kept is not None and ring is not None and kept.start_id == ring.start_id
        if kept is None or ring is None or not known or not self._machine or kept.machine != self._machine:
            return None
        return kept.at_sample_s(ring.end_sample)

    def note_block(self, block: SampleBlock, now_s: float) -> None:
        """Notes the newest block, which came now; writes it if it is new."""
        kept = self._kept
        if kept is not None and kept.start_id == block.start_id:
            is_late = now_s > kept.at_sample_s(block.end_sample) - EARLIER_S
            if is_late and now_s < kept.at_s + KEPT_S:
                return
        self._kept = HeardSample(self._machine, block.start_id, block.end_sample, block.rate_millihz, now_s)
        if self._machine:
            _write(self._path, self._kept)


def _machines_start() -> str:
    try:
        return MACHINES_START.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""  # not Linux: nothing is kept


def _read(path: Path) -> HeardSample | None:
    try:
        found = json.loads(path.read_bytes())
        kept = HeardSample(
            str(found["machine"]),
            int(found["start_id"]),
            int(found["sample"]),
            int(found["rate_millihz"]),
            float(found["at_s"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None  # the first start
    return kept if kept.rate_millihz > 0 else None


def _write(path: Path, kept: HeardSample) -> None:
    new = path.with_suffix(".new")
    try:
        with os.fdopen(open_private(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(json.dumps(asdict(kept)).encode())
        new.replace(path)
    except OSError:
        pass  # the disk is full or gone, as the ring reports; then only clocks show the time that passed
