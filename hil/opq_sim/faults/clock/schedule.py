"""Schedule: whose clock is set when and by how much, with dips and a loss of supply among it. Pure.

Each gateway of a world plays a schedule of its own (`ClockTrial`), so that many take the time of one.
"""

import math
import random
from dataclasses import asdict, dataclass
from typing import Final

KINDS: Final = (
    "gps_locks",
    "gps_of_another",
    "chrony_late",
    "set_by_hand",
    "gateway_restarted",
    "own_clock",
    "original",
)
"""Ways in which a clock is set.

gps_locks: the Box learns the time. gps_of_another: another Box at the gateway does, and its GPS then stamps
this Box's samples too. chrony_late: the gateway's clock is synchronised long after its start. set_by_hand: by
somebody, while the gateway runs. gateway_restarted: while it is down. own_clock: a Box that knows its time
sets it. original: so does a Box of the original."""
GATEWAYS: Final = 8
SEEN_S: Final = (10_796.0, -10.6, -3603.0, 4.2)
"""The gateway's clock was 3 h behind, 10 s ahead, 1 h ahead and 4 s behind when the Box's GPS locked."""
STEP_S: Final = (0.1, 86_400.0)
LONGEST_S: Final = 44.0
DARK_S: Final = (12.0, 15.0)
"""An outage is a loss of supply of 10 s or more."""
LOCK_AGAIN_S: Final = (3.0, 6.0)
"""From the end of a loss of supply until the Box's GPS locks again."""
DOWN_S: Final = 1.5
"""For so long a gateway is down: the Box's own ring holds 3.2 s."""
AWAY_S: Final = (3.0, 8.0)
"""No dip from so long before a time without measurement until so long after it."""
APART_S: Final = 4.0
"""From dip to dip."""
RESIDUALS_PERCENT: Final = (40.0, 50.0, 60.0, 70.0, 80.0)
"""Each dip of a schedule has its own, by which it is known again."""
DIP_CYCLES: Final = (6, 12)

COUNTED: Final = (
    "schedules_played",
    "dips",
    "dips_found",
    "dips_not_sampled",
    "dips_not_shown",
    "outages",
    "outages_found",
    "false",
    "clocks_set",
)
"""Figures of a verdict, in sum."""


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A clock is set by `by_s`, forward or back."""

    at_s: float
    by_s: float


@dataclass(frozen=True, slots=True)
class ClockDip:
    """A dip at every Box of the gateway."""

    at_s: float
    residual_percent: float
    cycles: int = 10


@dataclass(frozen=True, slots=True)
class ClockTrial:
    """The schedule of one gateway, in seconds after all Boxes are measured."""

    kind: str
    gateway: int
    steps: tuple[ClockStep, ...]
    dips: tuple[ClockDip, ...]
    dark: tuple[float, float] | None = None
    """(begin, duration) of the loss of supply of the gateway's first Box."""
    lock_again_s: float = 0.0
    generation: str = ""
    """Of an original Box: cur or leg."""

    @property
    def box_ids(self) -> tuple[str, ...]:
        """The gateway's Boxes; the first one is in front of the loss of supply."""
        first = 2 * self.gateway + 1
        return (str(first), str(first + 1)) if self.kind == "gps_of_another" else (str(first),)

    @property
    def ahead_s(self) -> float:
        """The clock at the start: the steps set it right."""
        return -sum(step.by_s for step in self.steps)


@dataclass(frozen=True, slots=True)
class ClockSchedules:
    """Schedules that are played side by side, one at each gateway of a world."""

    seed: int
    trials: tuple[ClockTrial, ...]

    def document(self) -> dict[str, object]:
        """The schedules in JSON's types."""
        return {"seed": self.seed, "faults": [asdict(trial) for trial in self.trials]}


def draw_clocks(seed: int, gateways: int = GATEWAYS) -> ClockSchedules:
    """The schedules of a seed; always the same. Seed 0: the four steps that were seen with a real Box."""
    if seed == 0:
        return ClockSchedules(0, tuple(_seen(number, by_s) for number, by_s in enumerate(SEEN_S)))
    chance = random.Random(seed)
    first = chance.randrange(len(KINDS))
    return ClockSchedules(
        seed, tuple(_trial(chance, KINDS[(first + each) % len(KINDS)], each) for each in range(gateways))
    )


def _seen(gateway: int, by_s: float) -> ClockTrial:
    """The Box's GPS locks between two dips; the stamps of before the step reach beyond the second one."""
    dips = ClockDip(2.0, 60.0), ClockDip(7.0, 70.0)
    return ClockTrial("gps_locks", gateway, (ClockStep(5.0, by_s),), dips)


def _trial(chance: random.Random, kind: str, gateway: int) -> ClockTrial:
    at_s = sorted(round(chance.uniform(2.0, LONGEST_S), 2) for _ in range(chance.randint(1, 2)))
    steps = tuple(ClockStep(each_s, _by_s(chance)) for each_s in at_s)
    away: list[tuple[float, float]] = []
    dark = None
    if kind != "original":  # it cannot report why it was silent
        dark = round(chance.uniform(3.0, 26.0), 2), round(chance.uniform(*DARK_S), 2)
        away.append((dark[0], sum(dark)))
    if kind == "gateway_restarted":
        away += [(each_s, each_s + DOWN_S) for each_s in at_s]
    dips: list[ClockDip] = []
    moments = [tenth / 10 for tenth in range(10, round(10 * LONGEST_S))]
    before_s, after_s = AWAY_S
    free = [at for at in moments if all(not b - before_s < at < e + after_s for b, e in away)]
    for residual_percent in chance.sample(RESIDUALS_PERCENT, 3):
        if free:
            dip_s = chance.choice(free)
            free = [at for at in free if abs(at - dip_s) >= APART_S]
            dips.append(ClockDip(dip_s, residual_percent, chance.randint(*DIP_CYCLES)))
    return ClockTrial(
        kind,
        gateway,
        steps,
        tuple(sorted(dips, key=lambda dip: dip.at_s)),
        dark,
        round(chance.uniform(*LOCK_AGAIN_S), 2),
        chance.choice(("cur", "leg")) if kind == "original" else "",
    )


def _by_s(chance: random.Random) -> float:
    """As many small steps as large ones."""
    lowest, highest = STEP_S
    size_s = lowest * math.exp(math.log(highest / lowest) * chance.random())
    return round(size_s * chance.choice((-1, 1)), 3)
