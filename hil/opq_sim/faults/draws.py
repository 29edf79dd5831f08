"""Draws of schedules from a seed: always the same, wherever they are drawn. Pure.

Outages at one gateway and at the cloud are on a scaled clock, 100 times as fast: ten minutes without a
broker are 6 s there. Rates (samples, Measurements, bits on a wire) and instants (kill -9, a step of the
clock, a dip) are not scaled, nor are silences and the clocks of many gateways.
"""

import math
import random
from typing import Final

from opq_sim.faults.schedule import (
    DOWN_S,
    ClockDip,
    ClockStep,
    ClockTrial,
    DrawnDip,
    Fault,
    FaultSchedule,
    Restart,
    RestartedBox,
    boxes_of,
)

GATEWAY_BOXES: Final = ("1", "10", "12")
"""Some are prefixes of others, as ZeroMQ subscriptions are."""
SLOW_BOX_ID: Final = "20"
"""It has its own network, which may delay its answers."""
CLOUD_BOXES: Final = (*GATEWAY_BOXES, "4", SLOW_BOX_ID)
LAST_END_S: Final = 9.0
"""The faults at one gateway or at the cloud end by then."""
STEP_S: Final = 3600
BOX_FAULTS: Final = ("unplugged", "corruption", "duplicate", "borrowed_id", "frames_repeated")

GATEWAY_FIRST_S: Final = 1.5
"""All parts have connected before the first fault."""
GATEWAY_SHARE: Final = 0.6
"""Share of the kinds that a schedule contains; a kill of the gateway is always in it."""
GATEWAY_SPANS_S: Final = {
    "broker_down": (6.0, 6.0),
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

CLOUD_FIRST_S: Final = 0.5
CLOUD_SHARE: Final = 0.35
CLOUD_SPANS_S: Final = {
    "triggering_broker_killed": (0.1, 3.0),
    "acquisition_broker_killed": (0.1, 3.0),
    "triggering_service_killed": (0.1, 3.0),
    "event_service_killed": (0.1, 3.0),
    "mauka_killed": (0.1, 3.0),
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
SLOT_S: Final = 2.2
"""There is one dip in each slot."""
DIPS: Final = 5
DIP_AT_S: Final = (0.6, 1.0)
"""Time within its slot: two dips are so far apart that they are not one compound disturbance (1 s)."""
DEPTHS: Final = (0.2, 0.5)
"""Share of the voltage that is lost."""
CLOUD_DIP_CYCLES: Final = (6, 18)

SILENCE_AT_S: Final = (3.0, 8.0)
DARK_S: Final = (14.0, 60.0)
"""An outage is a loss of supply of 10 s or more (`[mauka.outages] silence_s`)."""
STOPPED_S: Final = (1.0, 60.0)
SILENCE_SPANS_S: Final = {
    "starved": (30.0, 40.0),
    "boxes_stopped": STOPPED_S,
    "gateway_stopped": STOPPED_S,
    "gateway_killed": (2.0, 30.0),
    "line_pulled": (30.0, 30.0),
    "box_dark": DARK_S,
    "gateway_dark": DARK_S,
    "two_gateways_dark": DARK_S,
}
SHARED_S: Final = {
    "broker_stopped": STOPPED_S,
    "mauka_stopped": STOPPED_S,
    "network_gone": (300.0, 300.0),
}
"""Kind that concerns all gateways."""
QUOTA: Final = (0.1, 0.5)

CLOCK_KINDS: Final = (
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
SEEN_S: Final = (10_796.0, -10.6, -3603.0, 4.2)
"""The gateway's clock was 3 h behind, 10 s ahead, 1 h ahead and 4 s behind when the Box's GPS locked."""
CLOCK_STEP_S: Final = (0.1, 86_400.0)
LONGEST_S: Final = 44.0
CLOCK_DARK_S: Final = (12.0, 15.0)
LOCK_AGAIN_S: Final = (3.0, 6.0)
AWAY_S: Final = (3.0, 8.0)
"""Dips keep this distance from a time without measurement."""
APART_S: Final = 4.0
"""Shortest time from dip to dip."""
RESIDUALS_PERCENT: Final = (40.0, 50.0, 60.0, 70.0, 80.0)
"""Each dip of a schedule has its own, by which it is known again."""
CLOCK_DIP_CYCLES: Final = (6, 12)

RESTARTED: Final = {
    "gps": 0,
    "ntp": 0,
    "replayed": 0,
    "free": 1,
    "quiet": 1,
    "voltage": 1,
    "cur": None,
    "leg": None,
    "emulated": 2,
}
"""Kind of a Box that starts again -> its gateway; None: it is of the original, of that generation.

replayed: plays a recording. free: does not even know the year. quiet: the same sine without noise, two equal
dips in each start, and one boot id for ever. voltage: another nominal voltage in each start. emulated: the
firmware in QEMU, in some seeds beside few others: it takes a core and comes late on a busy machine."""
EMULATED_EVERY: Final = 12
"""One seed in so many has the emulated Box."""
EMULATED_DIP_S: Final = 30.0
EMULATED_RESIDUAL: Final = 70.0
EMULATED_CYCLES: Final = 10
"""What `opq_hil.backends.emulated` plays."""
TOGETHER: Final = ("ctrl_c", "all_killed", "hung_up", "site_dark")
"""Ends of everything that runs on the gateways' machine; their pause may be scaled. hung_up: by SIGHUP.
site_dark: the machine and all Boxes lose their supply."""
ALONE: Final = ("boxes_killed", "gateway_killed_alone", "cloud_killed_alone", "boxes_reset", "supply_lost")
"""Ends of one part beside others that go on; their pause takes as long as it is."""
PAUSE_S: Final = (1.0, 3600.0)
PAUSED_S: Final = 1.0
"""Length of a scaled pause."""
ALONE_PAUSE_S: Final = (1.0, 6.0)
SUPPLY_S: Final = (13.0, 16.0)
AMBIGUOUS_S: Final = (6.0, 14.0)
"""A loss of supply of about `[mauka.outages] silence_s` is not drawn."""
FERRETDB_EVERY: Final = 4
"""Seeds, because it takes several times as long."""
FERRETDB_KINDS: Final = (("gps", "quiet", "voltage", "cur"), ("ntp", "replayed", "free", "leg"))
"""Of the Boxes there, by turns: it reads a whole collection at each query, waveforms too, so that of eight
it would take minutes longer than they run."""
DIP_FIRST_S: Final = 6.0
DIP_GAP_S: Final = 1.8
START_S: Final = 8.0
"""From one start to the earliest next end; the dips, which are waited for, take longer."""
RESTART_STEP_S: Final = (1.0, 7200.0)
RESTART_RESIDUALS: Final = (40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0)
RESTART_CYCLES: Final = (14, 20)
"""So long that means of ten cycles show the dip."""


def draw_restarts(
    seed: int, restarts: int | None = None, kinds: tuple[str, ...] | None = None
) -> FaultSchedule:
    """Two or three ends and starts of a system with a Box of each kind. Some seeds have FerretDB.

    Args:
        restarts: how many; None: it is drawn.
        kinds: of the Boxes; None: one of each, or half of them with FerretDB.
    """
    chance = random.Random(seed)
    emulated = kinds is None and seed % EMULATED_EVERY == 0
    count = restarts or (2 if emulated else chance.choice((2, 2, 3)))
    ends = (*TOGETHER, *ALONE)
    chosen = [ends[(seed + 4 * each) % len(ends)] for each in range(count)]  # each as often as any other
    has_ferretdb = seed % FERRETDB_EVERY == 1
    few = FERRETDB_KINDS[seed // FERRETDB_EVERY % len(FERRETDB_KINDS)] if has_ferretdb else None
    wanted = kinds or few or tuple(kind for kind in RESTARTED if kind != "emulated")
    if emulated:
        chosen, wanted = ["ctrl_c", "boxes_killed"], ("quiet", "cur", "emulated")
    in_order = [kind for kind in wanted if RESTARTED[kind] is None]
    cabled = [kind for kind in wanted if RESTARTED[kind] is not None and kind != "emulated"]
    chance.shuffle(cabled)
    boxes = _restarted_boxes(chance, in_order, cabled)
    if "emulated" in wanted:
        own = str(1 + list(RESTARTED).index("emulated")), "emulated", RESTARTED["emulated"]
        boxes = (*boxes, RestartedBox(*own, (EMULATED_DIP_S,), EMULATED_RESIDUAL, EMULATED_CYCLES))
    ahead_s = None if chance.random() < 0.4 else round(_of_size(chance, RESTART_STEP_S), 3)
    found, at_s = [], START_S
    for kind in chosen:
        for_s, pause_s = _pause(chance, kind)
        sets = ahead_s is not None and kind in TOGETHER and chance.random() < 0.6
        ahead = round(_of_size(chance, RESTART_STEP_S), 3) if sets else None
        found.append(Restart(kind, round(at_s, 3), for_s, pause_s, ahead))
        at_s += for_s + START_S
    return FaultSchedule(
        seed,
        tuple(found),
        round(at_s, 3),
        boxes=boxes,
        store="ferretdb" if has_ferretdb else "sqlite",
        ahead_s=ahead_s,
    )


def _restarted_boxes(
    chance: random.Random, originals: list[str], cabled: list[str]
) -> tuple[RestartedBox, ...]:
    """Ids by kind; each dip has its own slot, those of original Boxes the first ones."""
    residuals = chance.sample(RESTART_RESIDUALS, len(RESTART_RESIDUALS))
    twice = [kind for kind in cabled if kind == "quiet"]  # as far apart as it goes
    slots = [*originals, *twice, *(kind for kind in cabled if kind not in twice), *twice]
    found = []
    for number, kind in enumerate(RESTARTED):
        if kind not in slots:
            continue
        places = [place for place, one in enumerate(slots) if one == kind]
        if kind in originals:
            dips = tuple(round(0.6 + place * DIP_GAP_S, 3) for place in places)
        else:
            dips = tuple(round(DIP_FIRST_S + (place - len(originals)) * DIP_GAP_S, 3) for place in places)
        residual = min(residuals[number], 55.0) if kind == "leg" else residuals[number]
        cycles = chance.randint(*RESTART_CYCLES)
        found.append(RestartedBox(str(number + 1), kind, RESTARTED[kind], dips, residual, cycles))
    return tuple(found)


def _pause(chance: random.Random, kind: str) -> tuple[float, float]:
    """The length of the pause, and its length by the clocks."""
    if kind == "boxes_reset":
        return 0.1, 0.1
    if kind == "supply_lost":
        for_s = round(chance.uniform(*SUPPLY_S), 3)
        return for_s, for_s
    if kind in ALONE:
        for_s = round(chance.uniform(*ALONE_PAUSE_S), 3)
        return for_s, for_s
    lowest, highest = PAUSE_S
    pause_s = lowest * math.exp(math.log(highest / lowest) * chance.random())
    if kind == "site_dark" and AMBIGUOUS_S[0] < pause_s < AMBIGUOUS_S[1]:
        pause_s = AMBIGUOUS_S[1] + pause_s
    return PAUSED_S, round(max(pause_s, PAUSED_S), 3)


def draw_gateway(seed: int) -> FaultSchedule:
    """Faults at one gateway."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    for kind, (shortest_s, longest_s) in GATEWAY_SPANS_S.items():
        times = chance.randint(1, 3) if kind == "gateway_killed" else int(chance.random() < GATEWAY_SHARE)
        from_s = GATEWAY_FIRST_S
        for left in range(times, 0, -1):
            room_s = (LAST_END_S - from_s) / left
            for_s = chance.uniform(shortest_s, max(shortest_s, min(longest_s, room_s)))
            at_s = from_s + chance.uniform(0, max(0.0, room_s - for_s))
            box_id = chance.choice(GATEWAY_BOXES) if kind in BOX_FAULTS else None
            step_s = chance.choice((-STEP_S, STEP_S)) if kind == "clock_stepped" else 0
            faults.append(Fault(kind, round(at_s, 3), round(for_s, 3), box_id, step_s))
            from_s = faults[-1].end_s + 0.5
    faults.sort(key=lambda fault: fault.at_s)
    return FaultSchedule(seed, tuple(faults), LAST_END_S)


def draw_cloud(seed: int) -> FaultSchedule:
    """Faults at the cloud, and dips, the last one after all faults."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    for kind, (shortest_s, longest_s) in CLOUD_SPANS_S.items():
        wanted = chance.random() < CLOUD_SHARE
        for_s = chance.uniform(shortest_s, longest_s)
        at_s = chance.uniform(CLOUD_FIRST_S, LAST_END_S - for_s)
        box_id, step_s = chance.choice(CLOUD_BOXES), chance.choice((-STEP_S, STEP_S))
        if wanted:
            own_id = box_id if kind in BOX_FAULTS else None
            own_step_s = step_s if kind == "clock_stepped" else 0
            faults.append(Fault(kind, round(at_s, 3), round(for_s, 3), own_id, own_step_s))
    faults.sort(key=lambda fault: fault.at_s)
    dips = tuple(_cloud_dip(chance, number) for number in range(DIPS))
    return FaultSchedule(seed, tuple(faults), LAST_END_S, dips)


def _cloud_dip(chance: random.Random, number: int) -> DrawnDip:
    at_s = number * SLOT_S + chance.uniform(*DIP_AT_S)
    seen = tuple(sorted(chance.sample(CLOUD_BOXES, chance.randint(1, len(CLOUD_BOXES))), key=int))
    return DrawnDip(
        round(at_s, 3), chance.randint(*CLOUD_DIP_CYCLES), round(chance.uniform(*DEPTHS), 3), seen
    )


def draw_silences(seed: int, gateways: int = 15, longest_s: float = 60.0) -> FaultSchedule:
    """One fault of each gateway. Every sixth seed has a fault that concerns all gateways.

    `longest_s`: spans that may vary are cut to this.
    """
    chance = random.Random(seed)
    shared = list(SHARED_S)[seed // 6 % len(SHARED_S)] if seed % 6 == 0 else None
    kinds = [shared] * gateways if shared else _one_of_each(chance, gateways)
    spans = {**SILENCE_SPANS_S, **SHARED_S}
    together: dict[str, tuple[float, float]] = {}
    faults = []
    for gateway, kind in enumerate(kinds):
        shortest_s, most_s = spans[kind]
        own = (
            round(chance.uniform(*SILENCE_AT_S), 3),
            round(chance.uniform(shortest_s, max(shortest_s, min(most_s, longest_s))), 3),
        )
        at_s, for_s = together.setdefault(kind, own) if kind == "two_gateways_dark" or shared else own
        has_gps, has_battery = chance.random() < 0.5, chance.random() < 0.5
        quota = round(chance.uniform(*QUOTA), 2) if kind == "starved" else 1.0
        box_ids = boxes_of(gateway)[: 1 if kind == "box_dark" else 2]
        faults.append(Fault(kind, at_s, for_s, None, 0, gateway, box_ids, has_gps, has_battery, quota))
    return FaultSchedule(seed, tuple(faults))


def _one_of_each(chance: random.Random, gateways: int) -> list[str]:
    """Kinds in turns, in a random order; two gateways that lose their supply together are neighbours."""
    found: list[str] = []
    while len(found) < gateways:
        kinds = list(SILENCE_SPANS_S)
        chance.shuffle(kinds)
        for kind in kinds:
            found += [kind] * (2 if kind == "two_gateways_dark" else 1)
    return found[:gateways]


def draw_clocks(seed: int, gateways: int = 8) -> FaultSchedule:
    """One trial of each gateway. Seed 0: the four steps that were seen with a real Box."""
    if seed == 0:
        dips = ClockDip(2.0, 60.0), ClockDip(7.0, 70.0)  # stamps of before the step reach beyond the second
        return FaultSchedule(
            0,
            tuple(ClockTrial("gps_locks", n, (ClockStep(5.0, by_s),), dips) for n, by_s in enumerate(SEEN_S)),
        )
    chance = random.Random(seed)
    first = chance.randrange(len(CLOCK_KINDS))
    kinds = [CLOCK_KINDS[(first + each) % len(CLOCK_KINDS)] for each in range(gateways)]
    return FaultSchedule(seed, tuple(_clock_trial(chance, kind, each) for each, kind in enumerate(kinds)))


def _clock_trial(chance: random.Random, kind: str, gateway: int) -> ClockTrial:
    at_s = sorted(round(chance.uniform(2.0, LONGEST_S), 2) for _ in range(chance.randint(1, 2)))
    steps = tuple(ClockStep(each_s, _by_s(chance)) for each_s in at_s)
    away: list[tuple[float, float]] = []
    dark = None
    if kind != "original":  # it cannot report why it was silent
        dark = round(chance.uniform(3.0, 26.0), 2), round(chance.uniform(*CLOCK_DARK_S), 2)
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
            dips.append(ClockDip(dip_s, residual_percent, chance.randint(*CLOCK_DIP_CYCLES)))
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
    return round(_of_size(chance, CLOCK_STEP_S), 3)


def _of_size(chance: random.Random, sizes_s: tuple[float, float]) -> float:
    """Forward or back; as many small steps as large ones."""
    lowest, highest = sizes_s
    size_s = lowest * math.exp(math.log(highest / lowest) * chance.random())
    return size_s * chance.choice((-1, 1))
