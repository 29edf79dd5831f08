"""ClockIds: a number for the clock that stamped a Measurement. Times by one clock can be compared to a few
milliseconds, however far off that clock is (docs/reference/contracts.md, field 1012).

Without GPS the gateway stamps the samples of all its Boxes by its own clock: one number, drawn once and kept
in the file `clock_id`. Boxes whose own time follows that clock share it. Boxes that are stamped by another
Box's GPS share a second number, for the gateway's own clock may be seconds away from GPS. A Box whose own NTP
stamps pass through, or that is in holdover at its own rate, has its own number, derived from the
gateway's. The list of Boxes that share the gateway's clock is stored next to the number, because samples
measured from the ring after a restart were stamped in that earlier state. Other unsynchronised time has no
number.

The number of the gateway's clock is also the gateway's (field 1013): Boxes with the same number fall silent
together when their gateway stops.
"""

import os
import zlib
from pathlib import Path

from opq_gateway.gateway_status import BoxStatus
from opq_proto.kit import log
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file
from opq_proto.messages import Measurement, TimeSource

SAID_EVERY_NS = 3600 * 10**9
LARGEST = 2**63 - 1
"""Also fits a database's signed integer."""


class ClockIds:
    """The clock ids of one gateway and its Boxes, kept on disk."""

    def __init__(self, path: Path) -> None:
        """Reads the gateway's number from `path`, and from `sharing_boxes` next to it the Boxes that share
        its clock; a number that cannot be read is drawn again."""
        self._own = _read_number(path)
        self._sharing_path = path.with_name("sharing_boxes")
        self._shared_before = _read_boxes(self._sharing_path)
        self._sharing = set(self._shared_before)
        self._of_boxes: dict[str, int] = {}
        self._said_ns: dict[str, int] = {}
        """Box -> end of the last Measurement with the gateway's number."""

    def gateway_of(self, measurement: Measurement) -> int | None:
        """The gateway's number where it has to be sent: at first, and once an hour."""
        said_ns, end_ns = self._said_ns.get(measurement.box_id), measurement.end_ns or 0
        recent = said_ns is not None and 0 <= end_ns - said_ns < SAID_EVERY_NS
        if recent or measurement.crossing or measurement.backfilled:
            return None
        self._said_ns[measurement.box_id] = end_ns
        return self._own

    def of(self, measurement: Measurement, status: BoxStatus) -> int | None:
        """The clock's id; None for GPS, which all Boxes share, and for an unknown clock."""
        box_id, source = measurement.box_id, measurement.source
        if source is TimeSource.GPS:
            return None
        if measurement.backfilled:  # from the ring: stamped before this start, its holdover's rate unknown
            shared_then = box_id in self._shared_before and source is not TimeSource.HOLDOVER
            return self._own if shared_then else None
        if source is TimeSource.HOLDOVER:
            return self._of_box(box_id)
        self._store(box_id, status.shares_clock and not status.by_gps)
        if status.shares_clock:
            return self._of_box("gps") if status.by_gps else self._own
        return self._of_box(box_id) if source is TimeSource.NTP else None

    def _store(self, box_id: str, shares_clock: bool) -> None:
        """Writes which Boxes share the gateway's clock when that changes, for the next start."""
        if (box_id in self._sharing) == shares_clock:
            return
        self._sharing ^= {box_id}
        _write(self._sharing_path, "".join(f"{one}\n" for one in sorted(self._sharing)))

    def _of_box(self, box_id: str) -> int:
        if box_id not in self._of_boxes:
            # crc32 and not a digest, because OpenSSL would cost 5 MB for this alone
            self._of_boxes[box_id] = (self._own ^ zlib.crc32(box_id.encode()) << 31) & LARGEST or 1
        return self._of_boxes[box_id]


def _read_number(path: Path) -> int:
    try:
        text = path.read_text().strip()
        if text.isdecimal() and 0 < int(text) <= LARGEST:
            return int(text)
    except (OSError, ValueError):
        pass  # the first start, or the file is not text
    drawn = int.from_bytes(os.urandom(8)) >> 1 or 1  # `secrets` would load OpenSSL
    _write(path, f"{drawn}\n")
    return drawn


def _read_boxes(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text().split())
    except (OSError, ValueError):
        return frozenset()  # the first start, or the file is not text


def _write(path: Path, text: str) -> None:
    try:
        private_folder(path.parent)
        write_whole_file(path, [text.encode()], PRIVATE_MODE)
    except OSError as error:
        log.get(service="gateway").warning("clock_id.not_kept", path=str(path), reason=str(error))
