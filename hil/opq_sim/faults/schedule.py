"""Schedule: which faults begin and end when, as they were drawn from a seed. Pure.

    draws -> FaultSchedule (what was drawn: faults, trials of a clock, dips) -> Fault, Fault, ... -> world

Each of many gateways has a fault or its own trial, so that many take the time of one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

FAULT_KEYS: Final = ("kind", "at_s", "for_s", "box_id", "step_s")
TRIAL_KEYS: Final = ("kind", "gateway", "at_s", "for_s", "has_gps", "has_battery", "quota")
"""What a document says of a drawn fault: one of several, or that of one of many gateways."""
DOWN_S: Final = 1.5
"""How long a gateway is down while its clock is set: the Box's own ring holds 3.2 s."""


@dataclass(frozen=True, slots=True)
class ClockDip:
    """A dip at every Box of the gateway."""

    at_s: float
    residual_percent: float
    cycles: int = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a kind (`kinds.FAULTS`), from `at_s` for `for_s`, in seconds of the schedule."""

    kind: str
    at_s: float
    for_s: float = 0.0
    box_id: str | None = None
    step_s: float = 0
    """How far a clock is set from the true time; that of an original Box: from what it shows."""
    gateway: int = 0
    box_ids: tuple[str, ...] = ()
    has_gps: bool = False
    has_battery: bool = False
    """Whether the Boxes of the gateway have them."""
    quota: float = 1.0
    """Share of the time in which a starved gateway may run."""
    dip: ClockDip | None = None
    pause_s: float = 0.0
    """How long a pause is by the clocks, where it is longer than it takes."""

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def boxes(self) -> tuple[str, ...]:
        """The Boxes that it hits."""
        return self.box_ids if self.box_id is None else (self.box_id,)

    @property
    def faults(self) -> tuple["Fault", ...]:
        return (self,)

    def document(self) -> dict[str, object]:
        """The fault in JSON's types."""
        return {key: getattr(self, key) for key in (TRIAL_KEYS if self.box_ids else FAULT_KEYS)}


def boxes_of(gateway: int) -> tuple[str, str]:
    """Ids of the Boxes at one of many gateways."""
    return str(2 * gateway + 1), str(2 * gateway + 2)


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A clock is set by `by_s`, forward or back."""

    at_s: float
    by_s: float


@dataclass(frozen=True, slots=True)
class ClockTrial:
    """A clock that is set in one of `draws.CLOCK_KINDS`, with dips and a loss of supply meanwhile."""

    kind: str
    gateway: int
    steps: tuple[ClockStep, ...]
    dips: tuple[ClockDip, ...]
    dark: tuple[float, float] | None = None
    """(begin, duration) of the loss of supply of the gateway's first Box."""
    lock_again_s: float = 0.0
    """From the end of the loss of supply until the Box's GPS locks again."""
    generation: str = ""
    """Of an original Box: cur or leg."""

    @property
    def box_ids(self) -> tuple[str, ...]:
        """The gateway's Boxes; the first one is in front of the loss of supply."""
        both = boxes_of(self.gateway)
        return both if self.kind == "gps_of_another" else both[:1]

    @property
    def dark_ids(self) -> tuple[str, ...]:
        """Boxes that lose their supply."""
        return () if self.dark is None else self.box_ids[:1]

    @property
    def ahead_s(self) -> float:
        """The clock at the start: the steps set it right."""
        return -sum(step.by_s for step in self.steps)

    @property
    def faults(self) -> tuple[Fault, ...]:
        found = [Fault("dip", dip.at_s, box_ids=self.box_ids, dip=dip) for dip in self.dips]
        ahead_s = self.ahead_s
        for step in self.steps:
            ahead_s += step.by_s
            found += self._set(step, ahead_s, step is self.steps[-1])
        if self.dark is not None:
            at_s, for_s = self.dark
            found.append(Fault("box_dark", at_s, for_s, box_ids=self.dark_ids))
            if self.kind.startswith("gps"):
                lock_s = max(self.steps[-1].at_s, at_s + for_s + self.lock_again_s)
                found.append(Fault("box_knows_no_time", at_s + for_s / 2, box_ids=self.dark_ids))
                found.append(Fault("box_has_gps", lock_s, box_ids=self.dark_ids))
        return tuple(found)

    def document(self) -> dict[str, object]:
        """The trial in JSON's types."""
        return asdict(self)

    def _set(self, step: ClockStep, ahead_s: float, is_last: bool) -> list[Fault]:
        """How the clock is set; `ahead_s`: how far it is ahead then."""
        at_s, first = step.at_s, self.box_ids[:1]
        if self.kind == "original":
            return [Fault("original_clock_set", at_s, step_s=step.by_s, box_ids=first)]
        if self.kind == "own_clock":
            return [Fault("box_has_ntp", at_s, step_s=ahead_s, box_ids=first)]
        if self.kind.startswith("gps") and is_last:
            has_no_supply = self.dark is not None and self.dark[0] < at_s < sum(self.dark)
            return [] if has_no_supply else [Fault("box_has_gps", at_s, box_ids=first)]
        synchronised = self.kind == "chrony_late" and is_last
        kind = "gateway_clock_synchronised" if synchronised else "gateway_clock_set"
        found = [Fault(kind, at_s, step_s=ahead_s, gateway=self.gateway)]
        if self.kind == "gateway_restarted":
            found.append(Fault("gateway_killed", at_s - 0.1, 0.1 + DOWN_S, gateway=self.gateway))
        return found


@dataclass(frozen=True, slots=True)
class RestartedBox:
    """A Box that starts again and again, with the same samples in each start."""

    box_id: str
    kind: str
    """One of `draws.RESTARTED`."""
    gateway: int | None
    """None: a Box of the original, on the brokers."""
    dips_s: tuple[float, ...]
    """Seconds from its start, or from the point at which it goes on, to each dip."""
    residual_percent: float
    cycles: int


@dataclass(frozen=True, slots=True)
class Restart:
    """An end of parts of the system, a pause, and their next start; the trial of each Box."""

    kind: str
    at_s: float
    """The end comes at this time or later, when the Boxes' dips are sampled."""
    for_s: float
    """How long the pause is."""
    pause_s: float
    """How long the pause is by the clocks."""
    ahead_s: float | None = None
    """How far the clock of the gateway without GPS is ahead in the next start; None: it stays as it is."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        found = [Fault(self.kind, self.at_s, self.for_s, pause_s=self.pause_s)]
        if self.ahead_s is not None:
            found.append(Fault("free_clock_set", self.at_s + self.for_s / 2, step_s=self.ahead_s))
        return tuple(found)

    def document(self) -> dict[str, object]:
        """The restart in JSON's types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DrawnDip:
    """A dip of the mains, seen by some of the Boxes at one instant."""

    at_s: float
    """Seconds after the schedule's begin; the dip begins with the next cycle."""
    cycles: int
    depth: float
    box_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """Faults in the order of their start, or one of each gateway; and dips of the mains meanwhile."""

    seed: int
    drawn: tuple[Fault | ClockTrial | Restart, ...]
    length_s: float = 0.0
    """Its shortest length."""
    dips: tuple[DrawnDip, ...] = ()
    boxes: tuple[RestartedBox, ...] = ()
    store: str = "sqlite"
    """`sqlite` or `ferretdb`."""
    ahead_s: float | None = None
    """How far the clock of the gateway without GPS is ahead at the start; None: it is synchronised."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Every fault; Boxes of the original see their first dips once the cloud hears them."""
        first = (Fault("originals_dip", 0.0),) if self.boxes else ()
        return (*first, *(fault for each in self.drawn for fault in each.faults))

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of what was drawn."""
        return frozenset(each.kind for each in self.drawn)

    @property
    def clocks(self) -> tuple[ClockTrial, ...]:
        return tuple(each for each in self.drawn if isinstance(each, ClockTrial))

    @property
    def restarts(self) -> tuple[Restart, ...]:
        return tuple(each for each in self.drawn if isinstance(each, Restart))

    def document(self) -> dict[str, object]:
        """The schedule in JSON's types."""
        dips = {"dips": [asdict(dip) for dip in self.dips]} if self.dips else {}
        boxes = {"boxes": [asdict(box) for box in self.boxes], "store": self.store} if self.boxes else {}
        return {"seed": self.seed, "faults": [each.document() for each in self.drawn], **dips, **boxes}


def beginnings_and_ends(faults: Sequence[Fault]) -> list[tuple[float, Fault, bool]]:
    """(at_s, fault, True where it begins), in the order in which they happen."""
    moments = [(fault.at_s, number, True) for number, fault in enumerate(faults)]
    moments += [(fault.end_s, number, False) for number, fault in enumerate(faults)]
    return [
        (at_s, faults[number], begins) for at_s, number, begins in sorted(moments, key=lambda one: one[:2])
    ]
