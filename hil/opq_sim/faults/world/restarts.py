"""How parts of a world end and start again: what a terminal, a person or the mains does to them."""

import signal
import time
from typing import Final

from opq_sim.faults.parts.stepped_clock import NOT_SYNCHRONISED
from opq_sim.faults.parts.view_reader import newly_shown
from opq_sim.faults.schedule import Fault
from opq_sim.faults.world.world import FaultWorld

HOLD_S: Final = 240.0
"""Limit of a wait for a fact; an idle machine needs a tenth of it."""
EMULATED_S: Final = 300.0
BACK_S: Final = 600.0
FREE_GATEWAY: Final = "gateway1"
END_SIGNALS: Final = {
    "ctrl_c": signal.SIGTERM,  # `up` gets SIGINT, and sends SIGTERM to all of its processes
    "all_killed": signal.SIGKILL,
    "hung_up": signal.SIGHUP,
    "site_dark": signal.SIGKILL,
}


def originals_dip(world: FaultWorld, *_: object) -> None:
    """Makes the dips of the original Boxes once the cloud hears them."""
    around = world.around
    if not around.originals:
        return
    assert world.view is not None
    world.hold(newly_shown(world.view, tuple(around.originals)), BACK_S, "the cloud hears the original Boxes")
    for each in world.schedule.boxes:
        if each.gateway is None:
            around.dip_of_original(each)


def together(world: FaultWorld, fault: Fault, begins: bool) -> None:
    """All that runs on the gateways' machine ends, and starts again after a pause by all clocks."""
    boxes, processes, around = world.around.restarted, world.processes, world.around
    dark = fault.kind == "site_dark"
    if begins:
        _sampled(world)
        number = END_SIGNALS[fault.kind]
        _end_boxes(world, killed=number == signal.SIGKILL)
        processes.end_together(number)
        world.ended_s = time.monotonic()
        return
    by_ns = max(0, round((fault.pause_s - (time.monotonic() - world.ended_s)) * 1e9))
    processes.skip(by_ns, dark)
    if dark:
        for_s = fault.pause_s
        boxes.go_dark_with_machine(for_s)
        around.start_originals()
    else:
        for box in around.originals.values():
            box.step_clock(by_ns / 1e9)
    processes.start_together()
    _start_boxes(world, dark)
    _wait_until_back(world)


def boxes_killed(world: FaultWorld, _: Fault, begins: bool) -> None:
    """The Boxes' process alone; the Boxes of the original, which are others, reset."""
    if begins:
        _sampled(world)
        _end_boxes(world, killed=True)
    else:
        _start_boxes(world)
        world.around.start_originals()
        originals_dip(world)


def processes_killed(world: FaultWorld, fault: Fault, begins: bool) -> None:
    """The gateways, or the cloud; the Boxes go on."""
    of_cloud = fault.kind == "cloud_killed_alone"
    processes = world.processes
    chosen = processes.services.values() if of_cloud else processes.gateways.values()
    if begins:
        _sampled(world)
        for each in chosen:
            world.kill(each, True)
        return
    processes.start_together()
    world.around.restarted.dip_again()
    _wait_until_back(world)


def boxes_reset(world: FaultWorld, _: Fault, begins: bool) -> None:
    """A person resets all Boxes."""
    if begins:
        _sampled(world)
        world.around.restarted.reset()
    else:
        world.around.restarted.dip_again()
        world.around.start_originals()
        originals_dip(world)


def supply_lost(world: FaultWorld, fault: Fault, begins: bool) -> None:
    """All Boxes on cables lose their supply; the machine has a battery."""
    if begins:
        _sampled(world)
        world.around.restarted.lose_all_supply(fault.for_s)
    else:
        world.around.restarted.dip_again()
        originals_dip(world)


def free_clock_set(world: FaultWorld, fault: Fault, begins: bool) -> None:
    """Sets the clock of the gateway without GPS while it does not run."""
    if begins:
        world.processes.set_clock(FREE_GATEWAY, round(fault.step_s * 1e9), NOT_SYNCHRONISED)


def _end_boxes(world: FaultWorld, killed: bool) -> None:
    """Ends the programs of all Boxes."""
    world.around.restarted.end_program(killed)
    for each in world.processes.emulated:
        each.end(killed)


def _start_boxes(world: FaultWorld, lost_supply: bool = False) -> None:
    boxes = world.around.restarted
    boxes.start_again(boxes.drawn, lost_supply)
    for each in world.processes.emulated:
        each.start()


def _wait_until_back(world: FaultWorld) -> None:
    world.hold(world.processes.not_up, BACK_S, "gateways and cloud are up again")
    originals_dip(world)


def _sampled(world: FaultWorld) -> None:
    """Waits until every Box has sampled the dips of this start."""
    limit_s = EMULATED_S if world.processes.emulated else HOLD_S
    world.hold(world.around.unsampled, limit_s, "all dips are sampled")
