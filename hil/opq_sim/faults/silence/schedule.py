"""Schedule: which gateway's Boxes fall silent, when and why, drawn from a seed. Pure.

Each gateway of a world has one trial. In most seeds the gateways have different ones; in some, one fault of
the cloud, or of all networks, is the trial of every gateway.
"""

import random
from dataclasses import asdict, dataclass
from typing import Final

BOXES_OF_GATEWAY: Final = 2
AT_S: Final = (3.0, 8.0)
"""A fault begins in this time after all Boxes are measured."""
DARK_S: Final = (14.0, 60.0)
"""An outage is a loss of supply of 10 s or more (`[mauka.outages] silence_s`)."""
STOPPED_S: Final = (1.0, 60.0)
SPANS_S: Final = {
    "starved": (30.0, 40.0),
    "boxes_stopped": STOPPED_S,
    "gateway_stopped": STOPPED_S,
    "gateway_killed": (2.0, 30.0),
    "line_pulled": (30.0, 30.0),
    "box_dark": DARK_S,
    "gateway_dark": DARK_S,
    "two_gateways_dark": DARK_S,
}
"""Kind of one gateway -> shortest and longest span."""
SHARED_S: Final = {
    "broker_stopped": STOPPED_S,
    "mauka_stopped": STOPPED_S,
    "network_gone": (300.0, 300.0),
}
"""Kind that concerns all gateways."""
DARK: Final = ("box_dark", "gateway_dark", "two_gateways_dark")
QUOTA: Final = (0.1, 0.5)
"""Share of the time in which a starved gateway may run."""


@dataclass(frozen=True, slots=True)
class SilenceTrial:
    """One gateway's fault, from `at_s` for `for_s`, in seconds of the schedule."""

    kind: str
    gateway: int
    at_s: float
    for_s: float
    has_gps: bool
    has_battery: bool
    quota: float = 1.0

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s

    @property
    def box_ids(self) -> tuple[str, ...]:
        """The gateway's Boxes."""
        return box_ids_of(self.gateway)

    @property
    def dark_ids(self) -> tuple[str, ...]:
        """Boxes that lose their supply and their mains."""
        if self.kind not in DARK:
            return ()
        return self.box_ids[:1] if self.kind == "box_dark" else self.box_ids


@dataclass(frozen=True, slots=True)
class SilenceSchedule:
    """The trials of one world, one of each gateway."""

    seed: int
    trials: tuple[SilenceTrial, ...]

    @property
    def length_s(self) -> float:
        return max(trial.end_s for trial in self.trials)

    def document(self) -> dict[str, object]:
        """The schedule in JSON's types."""
        return {"seed": self.seed, "faults": [asdict(trial) for trial in self.trials]}


def box_ids_of(gateway: int) -> tuple[str, ...]:
    """Ids of a gateway's Boxes."""
    return tuple(str(gateway * BOXES_OF_GATEWAY + each) for each in range(1, BOXES_OF_GATEWAY + 1))


def draw_silences(seed: int, gateways: int = 15, longest_s: float = 60.0) -> SilenceSchedule:
    """The schedule of a seed; always the same. Every sixth seed has a fault that concerns all gateways.

    `longest_s`: spans that may vary are cut to this.
    """
    chance = random.Random(seed)
    shared = list(SHARED_S)[seed // 6 % len(SHARED_S)] if seed % 6 == 0 else None
    kinds = [shared] * gateways if shared else _one_of_each(chance, gateways)
    spans = {**SPANS_S, **SHARED_S}
    together: dict[str, tuple[float, float]] = {}
    trials = []
    for gateway, kind in enumerate(kinds):
        shortest_s, most_s = spans[kind]
        own = (
            round(chance.uniform(*AT_S), 3),
            round(chance.uniform(shortest_s, max(shortest_s, min(most_s, longest_s))), 3),
        )
        at_s, for_s = together.setdefault(kind, own) if kind == "two_gateways_dark" or shared else own
        has_gps, has_battery = chance.random() < 0.5, chance.random() < 0.5
        quota = round(chance.uniform(*QUOTA), 2) if kind == "starved" else 1.0
        trials.append(SilenceTrial(kind, gateway, at_s, for_s, has_gps, has_battery, quota))
    return SilenceSchedule(seed, tuple(trials))


def _one_of_each(chance: random.Random, gateways: int) -> list[str]:
    """Kinds in turns, in a random order; two gateways that lose their supply together are neighbours."""
    found: list[str] = []
    while len(found) < gateways:
        kinds = list(SPANS_S)
        chance.shuffle(kinds)
        for kind in kinds:
            found += [kind] * (2 if kind == "two_gateways_dark" else 1)
    return found[:gateways]
