"""The store's facts about an event without its samples: its Boxes, its reason, and its state."""

from dataclasses import dataclass, field

from opq_cloud.store.sample_requests import WAITING, NsSpan, StoredSampleRequest

NO_EVENT = -1
"""In place of an event of findings that have no waveform; the original's outages have this number too."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event without its samples."""

    event_id: int
    token: str
    start_ns: int
    end_ns: int
    boxes_triggered: tuple[str, ...]
    boxes_received: tuple[str, ...]
    missing: dict[str, str]
    finished: bool
    analysed: bool
    because: str
    short: dict[str, str] = field(default_factory=dict)
    """Box -> why its waveform does not cover the span; these Boxes are in `boxes_received` too."""
    revision: int = 0
    """Rises with everything that is put into the event, so that an analysis knows whether it had all data."""
    completes: int | None = None
    """The event of the same disturbance's onset; the original's services do not read this one."""
    opened_by: str = ""
    """The Box that detected it first."""
    asked_as: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> Boxes that are asked for it."""
    not_asked: dict[str, int] = field(default_factory=dict)
    """Reason -> number of Boxes that are not asked; `saw` counts Boxes that detected it too."""
    onset_ns: tuple[int, int] | None = None
    """[start, end) of the Measurement on which the trigger decided."""
    onset_sample: int | None = None
    """Index of the first sample of that Measurement, where the Box sends it."""
    decided_ns: int | None = None
    finished_ns: int | None = None
    analysed_ns: int | None = None
    """When (UTC) it was decided, finished and analysed; None where it was not, or by the original."""
    more: dict[int, StoredSampleRequest] = field(default_factory=dict)
    """Number -> request of an analysis for more samples."""
    owed: dict[str, NsSpan] = field(default_factory=dict)
    """Box -> the span it was asked for because of such a request, where this is not the event's own span."""
    half_cycles_ns: NsSpan | None = None
    """The span whose Urms(1/2) the Boxes are asked for, after a long dip or swell."""
    half_cycles: dict[str, str] = field(default_factory=dict)
    """Box -> why it sent none; "" where it is stored (`CloudStore.half_cycles`)."""
    shown_ns: NsSpan | None = None
    """The span whose samples its visitor may see; None: all. It is not stored."""

    starts: dict[str, int] = field(default_factory=dict)
    """Box -> its start when it was asked; of the original, since which arrival its clock was not set back."""

    def span_of(self, box_id: str) -> NsSpan:
        """Returns the span for which a Box was asked last."""
        return self.owed.get(box_id, (self.start_ns, self.end_ns))

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for is stored, or not waited for any more, and is analysed.

        An analysis may ask for more, and the event is not complete then until that has been analysed too. An
        event of a long dip waits for the half cycles of each Box that is not given up. An event of the
        original says nothing of it.
        """
        waits = any(each.state == WAITING for each in self.more.values())
        return self.original or (self.finished and self.analysed and not waits and not self.owes_half_cycles)

    @property
    def owes_half_cycles(self) -> tuple[str, ...]:
        """The Boxes of a long dip or swell that neither sent half cycles nor are given up."""
        if self.half_cycles_ns is None:
            return ()
        return tuple(box_id for box_id in self.boxes_triggered if box_id not in self.half_cycles)

    @property
    def onset_stamp(self) -> tuple[int, int] | None:
        """A sample of the Box that opened it, and its time: this names the clock of the event's times."""
        if self.onset_sample is None or self.onset_ns is None:
            return None
        return self.onset_sample, self.onset_ns[0]

    @property
    def original(self) -> bool:
        """Whether an original event service or Mauka wrote it, so that nothing marks it as complete."""
        return not self.token


SAW = "saw"
"""A reason of `asked_as`: the Box detected the disturbance, as the first or as a further one."""
PERSON_ASKED = "requested"
"""A reason of `asked_as`: the Box has not been asked yet; the event service asks it at once."""
MAUKA_ASKED = "mauka"
"""A reason of `asked_as`: Mauka asks the Box; the event service does so only if Mauka has ended meanwhile."""
