"""Which clock stamped a Measurement, as a number: what one clock stamped can be compared to a few
milliseconds, however far off that clock is (contracts.md, field 1012).

Without GPS the gateway stamps the samples of all its Boxes by its own clock: one number, drawn once and kept
in `clock_id`. A Box whose own stamps pass through, and one that is held over at its own rate, has another,
derived from it. Not known: a Box's own time that nobody vouches for, and what was stamped before a restart.
"""

import secrets
import zlib
from pathlib import Path

from opq_gateway.status import BoxStatus
from opq_proto import log
from opq_proto.messages import Measurement, TimeSource

LARGEST = 2**63 - 1
"""Also a database's whole number holds it."""


class ClockIds:
    """Of one gateway and its Boxes."""

    def __init__(self, path: Path) -> None:
        """`path`: where the gateway's number is kept; what cannot be read or written there is drawn anew."""
        self._own = _kept(path)
        self._of_boxes: dict[str, int] = {}

    def of(self, measurement: Measurement, status: BoxStatus) -> int | None:
        """None: GPS, which is everybody's, or not known."""
        if measurement.backfilled or measurement.source is TimeSource.GPS:
            return None
        if measurement.source is TimeSource.HOLDOVER:
            return self._of_box(measurement.box_id)
        if status.stamped_here:
            return self._own
        return self._of_box(measurement.box_id) if measurement.source is TimeSource.NTP else None

    def _of_box(self, box_id: str) -> int:
        if box_id not in self._of_boxes:
            # no digest: OpenSSL would be 5 MB of a gateway that needs it for nothing else
            self._of_boxes[box_id] = (self._own ^ zlib.crc32(box_id.encode()) << 31) & LARGEST or 1
        return self._of_boxes[box_id]


def _kept(path: Path) -> int:
    try:
        text = path.read_text().strip()
        if text.isdecimal() and 0 < int(text) <= LARGEST:
            return int(text)
    except (OSError, ValueError):
        pass  # the first start, or no text
    drawn = secrets.randbelow(LARGEST) + 1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(f"{drawn}\n")
        beside.replace(path)
    except OSError as error:
        log.get(service="gateway").warning("clock_id.not_kept", path=str(path), reason=str(error))
    return drawn
