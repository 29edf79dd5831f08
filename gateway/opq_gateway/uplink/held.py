"""Held: what the queue knows of one Box without asking the disk."""

from dataclasses import dataclass, field

from opq_gateway.uplink.queue_file import BoxRow, Stored
from opq_proto.messages import Measurement


@dataclass(frozen=True, slots=True)
class Queued:
    """A Measurement that is in the queue: what is sent is `body` and its numbers."""

    box_id: str
    sequence: int | None
    """None: the disk could reserve no number."""
    body: bytes
    measurement: Measurement


@dataclass(slots=True)
class Held:
    """What is known of one Box without asking the disk."""

    row: BoxRow
    next: int
    oldest: int | None = None
    new: bool = False
    """It began with this start: what was before is not known here."""
    unsaved: dict[int, Stored] = field(default_factory=dict)
    changed: bool = False
    """`row` is newer than the disk's."""
    at_ns: int | None = None
    """End of the newest Measurement, and where that stands on the queue's own axis of age."""
    aged_ns: int = 0
    upto: int | None = None
    """Acknowledged up to there, and not yet deleted on disk."""

    @property
    def waits(self) -> bool:
        """Something is to be written."""
        return self.changed or self.upto is not None or bool(self.unsaved)

    def age(self, end_ns: int, most_ns: int) -> int:
        """Where a Measurement that follows stands: a clock that was set ages by `most_ns` at most."""
        if self.at_ns is None:
            self.aged_ns = max(end_ns, self.aged_ns)
        else:
            self.aged_ns += min(max(0, end_ns - self.at_ns), most_ns)
        self.at_ns = end_ns
        return self.aged_ns

    def written(self) -> None:
        """The disk has all of it."""
        self.changed, self.upto = False, None
        self.unsaved.clear()

    def lowest(self, on_disk: int | None) -> int | None:
        """The oldest sequence of what is in memory and on disk."""
        return min((n for n in (min(self.unsaved, default=None), on_disk) if n is not None), default=None)

    def forget(self, upto: int) -> None:
        """Up to there nothing is held any more."""
        self.upto = max(upto, self.upto or 0)
        for number in [n for n in self.unsaved if n <= upto]:
            del self.unsaved[number]
