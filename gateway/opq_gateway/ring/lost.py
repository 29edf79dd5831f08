"""Lost: samples of one Box that the ring does not have, with the reason.

Every hole in the sample indices is recorded with the samples as soon as it is known: samples that the Box or
the line lost (reported to `Ring.gap`), that the disk did not take, or that were taken while no gateway ran.
So a hole without a record is damage of the disk.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

from opq_proto.measurement.continuity import GapReason
from opq_proto.messages import Gap

NOT_RUNNING = "the gateway was not running, or ended before it could keep them"
BEFORE_CONTACT = "sampled before the gateway heard this start of the Box"
OVERRUN = "the Box's converter overran"
NOT_RESENT = "lost between Box and gateway; the Box did not send them again"
ENDED = "lost between Box and gateway, which ended before the Box had sent them again"
MACHINE_PAUSED = "lost between Box and gateway while the gateway stood still"
NOT_ON_DISK = "not on the disk: damaged, or not written back before a power cut"
GAP_REASONS = {OVERRUN: GapReason.OVERRUN, NOT_RESENT: GapReason.LINE}
"""Text -> reason of the loss; with any other text the gateway lost the samples."""
_PAYLOAD = struct.Struct("<QQqqH")


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples first_sample .. end_sample - 1 of one start; [start_ns, end_ns) is their time."""

    start_id: int
    first_sample: int
    samples: int
    start_ns: int
    end_ns: int
    reason: str

    @property
    def end_sample(self) -> int:
        return self.first_sample + self.samples

    def joined(self, later: "Lost") -> "Lost":
        """Both as one loss, with the later reason; they must adjoin."""
        samples = later.end_sample - self.first_sample
        end_ns = max(self.end_ns, later.end_ns)
        return replace(self, samples=samples, end_ns=end_ns, reason=later.reason)


def loss_to_bytes(lost: Lost, most_bytes: int) -> bytes:
    """A record's payload; the reason is cut where the payload would be longer than `most_bytes`."""
    reason = lost.reason.encode()[: most_bytes - _PAYLOAD.size]
    end_ns = max(lost.start_ns, lost.end_ns)
    return _PAYLOAD.pack(lost.start_id, lost.samples, lost.start_ns, end_ns, len(reason)) + reason


def loss_from_bytes(data: bytes, first_sample: int) -> Lost:
    """The loss in the payload of a record whose head has `first_sample`.

    Raises:
        struct.error: too short to be one.
    """
    start_id, samples, start_ns, end_ns, length = _PAYLOAD.unpack_from(data)
    reason = data[_PAYLOAD.size : _PAYLOAD.size + length].decode(errors="replace")
    return Lost(start_id, first_sample, samples, start_ns, end_ns, reason)


def completed(position: int, end_sample: int, recorded: Iterable[Gap], reason: str) -> list[Gap]:
    """The gaps that fill [position, end_sample): the recorded ones clipped to it, the rest with `reason`."""
    found: list[Gap] = []
    for gap in sorted(recorded, key=lambda gap: gap.first_sample):
        first = max(gap.first_sample, position)
        end = min(gap.first_sample + gap.samples, end_sample)
        if first >= end:
            continue
        if first > position:
            found.append(Gap(position, first - position, reason))
        found.append(Gap(first, end - first, gap.reason))
        position = end
    if position < end_sample:
        found.append(Gap(position, end_sample - position, reason))
    return found
