"""The five suites: each is a draw, a layout, how it becomes quiet, and the accounts that are checked."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opq_proto.errors import OpqError
from opq_sim.faults import settling
from opq_sim.faults.draws import (
    CLOUD_BOXES,
    GATEWAY_BOXES,
    SLOW_BOX_ID,
    draw_clocks,
    draw_cloud,
    draw_gateway,
    draw_restarts,
    draw_silences,
)
from opq_sim.faults.kinds import FAULTS
from opq_sim.faults.parts import mongo_server
from opq_sim.faults.schedule import FaultSchedule, boxes_of
from opq_sim.faults.verdict import (
    ScheduleVerdict,
    judge_clocks,
    judge_cloud,
    judge_gateway,
    judge_restarts,
    judge_silences,
)
from opq_sim.faults.world import layout as layouts
from opq_sim.faults.world import restarts
from opq_sim.faults.world.layout import SLOW_NETWORK, Layout
from opq_sim.faults.world.world import FaultWorld

SETTLE_S: Final = 600.0
"""Limit that ends what hangs: an idle machine needs a tenth of it."""
CLOUD_SETTLE_S: Final = 40.0
"""Below 60 s: a Box without acknowledgements for that long takes the cloud for an original one."""
CLOCK_SETTLE_S: Final = 600.0
TOLD_S: Final = 540.0
"""FerretDB takes ten seconds for each incident on a machine with a load of 30; SQLite none."""
HEALTH_EVERY_S: Final = 0.5
TOLD_EVERY_S: Final = 2.0
"""FerretDB takes a third of a core for each question a second."""
JUDGED_S: Final = 12.0
"""Mauka looks every 2 s, and what comes from a gateway's disk is judged within some seconds."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A kind of world that plays schedules of faults by seed."""

    shows: str
    draw: Callable[[int], FaultSchedule]
    """Draws the schedule of a seed."""
    layout: Callable[[FaultSchedule], Layout]
    settle: Callable[[FaultWorld], None]
    """Waits until nothing changes any more."""
    judge: Callable[[ScheduleVerdict, FaultWorld], None]
    side_by_side: int
    added: tuple[str, ...]
    """Figures that the tally sums."""
    came_to: str
    """A schedule's figures as a text for `format_map`; a missing figure is 0."""

    def play(self, schedule: FaultSchedule, folder: Path, mounted: bool = False) -> ScheduleVerdict:
        """Plays one schedule; nothing that gateways and services do raises an error."""
        begin_s = time.monotonic()
        verdict = ScheduleVerdict(schedule)
        try:
            with FaultWorld(schedule, self.layout(schedule), folder, mounted) as world:
                verdict.add(world.find_evidence(FAULTS, self.settle))
                self.judge(verdict, world)
                if not verdict.ok and mounted and world.layout.suffers:  # it ends with this process
                    shutil.copytree(folder / "disk", folder / "disk_kept", dirs_exist_ok=True)
        except (OpqError, OSError, sqlite3.Error) as error:
            verdict.problems.append(f"{type(error).__name__}: {error}")
        verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
        return verdict


def _of_gateway(_: FaultSchedule) -> Layout:
    return Layout(
        gateways={0: GATEWAY_BOXES},
        gateway=layouts.SCALED_GATEWAY,
        services=("all",),
        cloud=layouts.SCALED_ALL,
        networks=frozenset({0}),
        suffers="gateway0",
        with_gps=frozenset(GATEWAY_BOXES[:1]),
        in_1970=frozenset(GATEWAY_BOXES[1:2]),
        has_peers=True,
        every_sample=True,
    )


def _of_cloud(schedule: FaultSchedule) -> Layout:
    common = tuple(box_id for box_id in CLOUD_BOXES if box_id != SLOW_BOX_ID)
    return Layout(
        cloud=layouts.SCALED_CLOUD,
        networks=frozenset({0, SLOW_NETWORK}),
        suffers="cloud",
        fleet={0: common, SLOW_NETWORK: (SLOW_BOX_ID,)},
        dips=schedule.dips,
        has_peers=True,
        has_guests=True,
    )


def _of_silences(schedule: FaultSchedule) -> Layout:
    return Layout(
        gateways={fault.gateway: boxes_of(fault.gateway) for fault in schedule.faults},
        gateway=layouts.WITHOUT_FLICKER,
        networks=frozenset(fault.gateway for fault in schedule.faults if fault.kind == "network_gone"),
        with_gps=frozenset(
            box_id for fault in schedule.faults if fault.has_gps for box_id in boxes_of(fault.gateway)
        ),
    )


def _of_clocks(schedule: FaultSchedule) -> Layout:
    trials = schedule.clocks
    own = [trial for trial in trials if trial.kind != "original"]
    return Layout(
        gateways={trial.gateway: trial.box_ids for trial in own},
        gateway=layouts.WITHOUT_FLICKER,
        cloud=layouts.CLOUD_OF_MANY,
        boxes_first=True,
        in_1970=frozenset(box_id for trial in own for box_id in trial.box_ids),
        ahead_s={trial.gateway: trial.ahead_s for trial in own if trial.kind != "own_clock"},
        original={box_id: each.generation for each in trials if each not in own for box_id in each.box_ids},
        box_ahead_s={
            trial.box_ids[0]: trial.ahead_s for trial in trials if trial.kind in ("own_clock", "original")
        },
    )


def _of_restarts(schedule: FaultSchedule) -> Layout:
    cabled = [each for each in schedule.boxes if each.gateway is not None]
    gateways = sorted({each.gateway for each in cabled if each.gateway is not None})
    is_free = schedule.ahead_s is not None
    return Layout(
        gateways={n: tuple(each.box_id for each in cabled if each.gateway == n) for n in gateways},
        gateway=layouts.WITHOUT_FLICKER,
        services=("all",),
        cloud=layouts.CLOUD_OF_MANY,
        synchronised=frozenset(gateways) - ({1} if is_free else frozenset()),
        ahead_s={} if schedule.ahead_s is None else {1: schedule.ahead_s},
        original={each.box_id: each.kind for each in schedule.boxes if each.gateway is None},
        boxes_first=True,
        by_seed=schedule.boxes,
        has_view=True,
        has_mongo=schedule.store == "ferretdb" and mongo_server.program().exists(),
    )


def _settle_gateway(world: FaultWorld) -> None:
    world.wait(settling.sampled_again(world), SETTLE_S, "the gateway takes samples again")
    world.run(1.5)  # a gap at the very end of a stream cannot be seen
    world.around.boxes.end()
    what = "all samples are in and all Measurements acknowledged"
    world.wait(settling.measured_to_the_end(world), SETTLE_S, what)


def _settle_cloud(world: FaultWorld) -> None:
    world.run(2.5)  # the last dip is among them
    world.wait(settling.acknowledged(world), CLOUD_SETTLE_S, "all is acknowledged")
    world.wait(settling.analysed(world, 1.0), SETTLE_S, "all is analysed", HEALTH_EVERY_S)


def _settle_silences(world: FaultWorld) -> None:
    world.wait(settling.delivered(world), SETTLE_S, "all that was measured by now is acknowledged")
    world.wait(settling.analysed(world, JUDGED_S), SETTLE_S, "all is judged", HEALTH_EVERY_S)


def _settle_clocks(world: FaultWorld) -> None:
    world.wait(world.newly_stored(), CLOCK_SETTLE_S, "all Boxes are measured again")
    world.run(JUDGED_S if any(trial.dark for trial in world.schedule.clocks) else 0.0)
    world.wait(settling.analysed(world, 8.0), CLOCK_SETTLE_S, "all events are analysed", HEALTH_EVERY_S)


def _settle_restarts(world: FaultWorld) -> None:
    limit_s = restarts.EMULATED_S if world.processes.emulated else CLOCK_SETTLE_S
    world.wait(world.around.unsampled, limit_s, "all dips are sampled")
    world.wait(settling.told(world, JUDGED_S), TOLD_S, "all is reported", TOLD_EVERY_S)
    world.wait(settling.stored(world), SETTLE_S, "all that was measured by then is stored")
    store = world.schedule.store
    if world.processes.mongo is None and store != "sqlite":
        store = f"sqlite, as {mongo_server.program()} is not built"
    world.evidence.figures["store"] = store
    for emulated in world.processes.emulated:
        world.around.restarted.dips += emulated.dips
        if emulated.skipped:
            world.evidence.figures["emulated"] = f"skipped: {emulated.skipped}"


SUITES: Final[Mapping[str, Suite]] = {
    "gateway-faults": Suite(
        "Faults by seed at a real gateway: each sample in ring or gap, each Measurement stored once.",
        draw_gateway,
        _of_gateway,
        _settle_gateway,
        lambda verdict, world: judge_gateway(verdict, world.evidence, world.around.boxes),
        2,  # a world takes 0.4 of a core; late threads on a busy machine would act as further faults
        (
            "samples_sent",
            "samples_in_ring",
            "samples_in_gaps",
            "received",
            "stored",
            "copies",
            "repeated_by_duplicate",
            "intervals",
        ),
        "{samples_in_ring} + {samples_in_gaps} of {samples_sent} samples in ring + gaps, "
        "{stored} Measurements and {intervals} intervals stored",
    ),
    "cloud-faults": Suite(
        "Faults by seed at a real cloud: each Measurement stored or held, each dip one incident.",
        draw_cloud,
        _of_cloud,
        _settle_cloud,
        lambda verdict, world: judge_cloud(verdict, world.evidence),
        4,  # a world takes a third of a core: it waits for its faults most of the time
        (
            "made",
            "stored",
            "held",
            "backfilled",
            "dips",
            "dips_found",
            "dips_excused",
            "events",
            "incidents",
            "hostile_frames",
            "ended_by_themselves",
        ),
        "{stored} + {held} of {made} Measurements stored + held, "
        "{dips_found} + {dips_excused} of {dips} dips found + excused",
    ),
    "silence-faults": Suite(
        "Faults by seed that make Boxes silent: each outage found, none false, each gap with its reason.",
        draw_silences,
        _of_silences,
        _settle_silences,
        lambda verdict, world: judge_silences(verdict, world.evidence),
        1,  # fifteen gateways and thirty Boxes take most of a core
        ("trials", "outages", "outages_found", "outages_false", "gaps", "gaps_right"),
        "{outages_found} of {outages} outages found, {outages_false} false, "
        "{gaps_right} of {gaps} gaps with the right reason, {trials} trials",
    ),
    "clock-faults": Suite(
        "Clocks that are set by seed, 8 schedules side by side: each dip one incident, nothing false.",
        draw_clocks,
        _of_clocks,
        _settle_clocks,
        lambda verdict, world: judge_clocks(verdict, world.evidence),
        1,  # eight gateways, nine Boxes and a cloud take half a core
        (
            "schedules_played",
            "dips",
            "dips_found",
            "dips_not_sampled",
            "dips_not_shown",
            "outages",
            "outages_found",
            "false",
            "clocks_set",
        ),
        "{dips_found} + {dips_not_sampled} + {dips_not_shown} of {dips} dips found + not sampled + not shown"
        ", {outages_found} of {outages} outages, {false} false, {schedules_played} schedules",
    ),
    "restart-faults": Suite(
        "Ends, pauses and starts by seed: each dip is reported once, at its time, and no false outage.",
        draw_restarts,
        _of_restarts,
        _settle_restarts,
        lambda verdict, world: judge_restarts(verdict, world.evidence, world.around.restarted),
        1,
        (
            "trials",
            "disturbances",
            "told",
            "not_sampled",
            "incidents",
            "missed",
            "merged",
            "doubled",
            "false",
            "outages",
            "outages_told",
            "outages_false",
            "intervals",
        ),
        "{trials} trials, {store}: {told} + {not_sampled} of {disturbances} dips reported + not sampled, "
        "{incidents} incidents, {missed} missed, {merged} merged, {doubled} doubled, {false} false; "
        "{outages_told} of {outages} outages, {outages_false} false; share wrong by {share_error}",
    ),
}
