"""Schedule: which faults happen when, drawn from a seed. Pure.

Outages are on a scaled clock, 100 times as fast: ten minutes without a broker are 6 s here. Rates (samples,
Measurements, bits on a wire) and instants (kill -9, a step of the clock) are not scaled.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

SCALE = 100
BROKER_DOWN_S = 600 / SCALE
QUIET_BEFORE_S = 1.5
"""All parts have connected before the first fault."""
LAST_END_S = 9.0
QUIET_AFTER_S = 1.5
"""Clean time after the last fault: nobody could see a gap at the very end of a stream."""
SHARE = 0.6
"""Share of the kinds that a schedule contains; a kill of the gateway is always in it."""

SPANS_S = {
    "broker_down": (BROKER_DOWN_S, BROKER_DOWN_S),
    "broker_silent": (1.0, 4.0),
    "cloud_killed": (0.3, 2.0),
    "packet_loss": (2.0, 5.0),
    "duplicate": (1.0, 4.0),
    "unplugged": (0.2, 4.0),
    "corruption": (1.0, 5.0),
    "disk_full": (0.5, 3.0),
    "clock_stepped": (0.5, 6.0),
    "gateway_killed": (0.05, 1.5),
}
"""Kind -> shortest and longest span. A kill lasts until the process is started again."""
PER_BOX = ("unplugged", "corruption", "duplicate")
STEP_S = 3600


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `at_s` for `for_s`, in seconds of the schedule."""

    kind: str
    at_s: float
    for_s: float
    box_id: str | None = None
    step_s: int = 0
    """Step of the clock; afterwards it is stepped back."""

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s

    def __str__(self) -> str:
        whom = f" of Box {self.box_id}" if self.box_id else ""
        step = f" by {self.step_s:+d} s" if self.step_s else ""
        return f"{self.kind}{whom}{step} at {self.at_s:.2f} s for {self.for_s:.2f} s"


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """Faults in the order of their start; none begins before QUIET_BEFORE_S or lasts beyond LAST_END_S."""

    seed: int
    faults: tuple[Fault, ...]
    length_s: float = LAST_END_S
    """QUIET_AFTER_S follows."""

    def document(self) -> dict[str, object]:
        """The schedule in JSON's types."""
        return {"seed": self.seed, "faults": [asdict(fault) for fault in self.faults]}


def beginnings_and_ends(faults: Sequence[Fault]) -> list[tuple[float, Fault, bool]]:
    """(at_s, fault, True where it begins), in the order in which they happen."""
    moments = [(fault.at_s, number, True) for number, fault in enumerate(faults)]
    moments += [(fault.end_s, number, False) for number, fault in enumerate(faults)]
    return [
        (at_s, faults[number], begins) for at_s, number, begins in sorted(moments, key=lambda one: one[:2])
    ]


def draw(seed: int, box_ids: tuple[str, ...], kinds: tuple[str, ...] = tuple(SPANS_S)) -> FaultSchedule:
    """The schedule of a seed; always the same, wherever it is drawn."""
    chance = random.Random(seed)
    faults = []
    for kind in kinds:
        times = chance.randint(1, 3) if kind == "gateway_killed" else int(chance.random() < SHARE)
        at_s = QUIET_BEFORE_S
        for left in range(times, 0, -1):
            fault = _one(chance, kind, at_s, (LAST_END_S - at_s) / left, box_ids)
            faults.append(fault)
            at_s = fault.end_s + 0.5
    return FaultSchedule(seed, tuple(sorted(faults, key=lambda fault: fault.at_s)))


def _one(chance: random.Random, kind: str, from_s: float, room_s: float, box_ids: tuple[str, ...]) -> Fault:
    shortest_s, longest_s = SPANS_S[kind]
    for_s = chance.uniform(shortest_s, max(shortest_s, min(longest_s, room_s)))
    at_s = from_s + chance.uniform(0, max(0.0, room_s - for_s))
    box_id = chance.choice(box_ids) if kind in PER_BOX else None
    step_s = chance.choice((-STEP_S, STEP_S)) if kind == "clock_stepped" else 0
    return Fault(kind, round(at_s, 3), round(for_s, 3), box_id, step_s)
