"""Schedule: which faults happen when, and which dips the mains have meanwhile, drawn from a seed. Pure.

Outages are on the clock of `gateway_faults`, 100 times as fast. Rates and instants (Measurements, kill -9, a
step of the clock, a dip) are not scaled.
"""

import random
from dataclasses import asdict, dataclass
from typing import Final

from opq_sim.faults.gateway.schedule import STEP_S, Fault

SLOW_BOX_ID: Final = "20"
"""It has a network of its own, which may delay its answers."""
BOX_IDS: Final = ("1", "10", "12", "4", SLOW_BOX_ID)
"""Some are prefixes of others, as ZeroMQ subscriptions are."""

FIRST_S: Final = 0.5
LAST_END_S: Final = 9.0
QUIET_AFTER_S: Final = 2.5
"""Seconds after the last fault; the last dip is among them."""
SHARE: Final = 0.35
"""Share of the kinds that a schedule contains."""
SLOT_S: Final = 2.2
"""There is one dip in each slot."""
DIPS: Final = 5
DIP_AT_S: Final = (0.6, 1.0)
"""Time within its slot: two dips are so far apart that they are no compound disturbance (1 s)."""
DEPTHS: Final = (0.2, 0.5)
"""Share of the voltage that is lost."""
DIP_CYCLES: Final = (6, 18)

SERVICES: Final = ("triggering-broker", "acquisition-broker", "triggering-service", "event-service", "mauka")
KILL: Final = "_killed"
SPANS_S: Final = {
    **{service.replace("-", "_") + KILL: (0.1, 3.0) for service in SERVICES},
    "database_locked": (0.5, 6.0),
    "database_slow": (1.0, 6.0),
    "disk_full": (0.5, 3.0),
    "clock_stepped": (0.5, 6.0),
    "broker_cut": (1.0, 6.0),
    "broker_silent": (1.0, 4.0),
    "slow_box": (1.0, 8.4),
    "garbage_box": (1.0, 5.0),
    "unknown_key": (1.0, 5.0),
    "borrowed_id": (1.0, 5.0),
    "frames_repeated": (1.0, 6.0),
    "second_makai": (2.0, 7.0),
    "other_makai": (2.0, 7.0),
}
"""Kind -> shortest and longest span. A kill lasts until the process is started again."""
PER_BOX: Final = ("borrowed_id", "frames_repeated")


@dataclass(frozen=True, slots=True)
class DrawnDip:
    """A dip of the mains, seen by some of the Boxes at one instant."""

    at_s: float
    """Seconds after the schedule's begin; the dip begins with the next cycle."""
    cycles: int
    depth: float
    box_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloudFaultSchedule:
    """Faults in the order of their start, none beyond LAST_END_S, and dips, the last one after all faults."""

    seed: int
    faults: tuple[Fault, ...]
    dips: tuple[DrawnDip, ...]
    length_s: float = LAST_END_S
    """QUIET_AFTER_S follows."""

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of fault in the schedule."""
        return frozenset(fault.kind for fault in self.faults)

    def document(self) -> dict[str, object]:
        """The schedule in JSON's types."""
        return {
            "seed": self.seed,
            "faults": [asdict(fault) for fault in self.faults],
            "dips": [asdict(dip) for dip in self.dips],
        }


def draw_cloud(seed: int) -> CloudFaultSchedule:
    """The schedule of a seed; always the same, wherever it is drawn."""
    chance = random.Random(seed)
    faults = []
    for kind, (shortest_s, longest_s) in SPANS_S.items():
        wanted = chance.random() < SHARE
        for_s = chance.uniform(shortest_s, longest_s)
        at_s = chance.uniform(FIRST_S, LAST_END_S - for_s)
        box_id = chance.choice(BOX_IDS)
        step_s = chance.choice((-STEP_S, STEP_S))
        if wanted:
            faults.append(
                Fault(
                    kind,
                    round(at_s, 3),
                    round(for_s, 3),
                    box_id if kind in PER_BOX else None,
                    step_s if kind == "clock_stepped" else 0,
                )
            )
    dips = tuple(_dip(chance, number) for number in range(DIPS))
    return CloudFaultSchedule(seed, tuple(sorted(faults, key=lambda fault: fault.at_s)), dips)


def _dip(chance: random.Random, number: int) -> DrawnDip:
    at_s = number * SLOT_S + chance.uniform(*DIP_AT_S)
    seen = tuple(sorted(chance.sample(BOX_IDS, chance.randint(1, len(BOX_IDS))), key=int))
    return DrawnDip(round(at_s, 3), chance.randint(*DIP_CYCLES), round(chance.uniform(*DEPTHS), 3), seen)
