"""Every kind of fault, those that are drawn and those that the trials of clocks are made of: how it begins
and ends."""

import signal
from collections.abc import Callable, Mapping
from typing import Final

from opq_proto.messages import TimeSource
from opq_sim.faults.parts.hostile_peers import FRAMES_REORDERED, HostileTraffic
from opq_sim.faults.parts.played_service import ServiceProcess
from opq_sim.faults.parts.stepped_clock import NOT_SYNCHRONISED, put_step_ns
from opq_sim.faults.schedule import Fault
from opq_sim.faults.world import restarts
from opq_sim.faults.world.layout import SLOW_NETWORK
from opq_sim.faults.world.processes import SYNCHRONISED_NS
from opq_sim.faults.world.world import Act, FaultWorld


def _once(act: Callable[[FaultWorld, Fault], object]) -> Act:
    """What is done and does not end."""
    return lambda world, fault, begins: act(world, fault) if begins else None


def _network(how: str, number: int | None = None) -> Act:
    """`number`: the network; None: that of the fault's gateway."""
    return lambda world, fault, begins: setattr(
        world.around.wires[fault.gateway if number is None else number], how, begins
    )


def _killed(service: str) -> Act:
    return lambda world, _, begins: world.kill(world.processes.services[service], begins)


def _stopped(service: str) -> Act:
    return lambda world, _, begins: _stop(world.processes.services[service], begins)


def _stop(process: ServiceProcess, begins: bool) -> None:
    process.send_signal(signal.SIGSTOP if begins else signal.SIGCONT)


def _gateway(world: FaultWorld, fault: Fault) -> ServiceProcess:
    return world.processes.gateways[fault.gateway]


def _starved(world: FaultWorld, fault: Fault, begins: bool) -> None:
    if begins:
        world.starved[fault.gateway] = fault.quota
    else:
        world.starved.pop(fault.gateway)
    _stop(_gateway(world, fault), False)


def _guest(guest: str) -> Act:
    return lambda world, _, begins: (world.processes.join if begins else world.processes.leave)(guest)


def _locked(how: str) -> Act:
    return lambda world, _, begins: setattr(world.around.lock, how, begins)


def _traffic(world: FaultWorld) -> HostileTraffic:
    assert world.around.peers is not None
    return world.around.peers.traffic


def _peer(what: str) -> Act:
    return lambda world, fault, begins: setattr(
        _traffic(world), what, (fault.box_id or True) if begins else None
    )


def _repeated(held_back: int) -> Act:
    def act(world: FaultWorld, fault: Fault, begins: bool) -> None:
        traffic, (box_id,) = _traffic(world), fault.boxes
        traffic.held_back = held_back
        traffic.repeated = (box_id, world.processes.pair(box_id)) if begins else None

    return act


def _clock_stepped(world: FaultWorld, fault: Fault, begins: bool) -> None:
    put_step_ns(world.processes.clock(world.layout.suffers), round(fault.step_s * 1e9) * begins)


def _gateway_clock(bound_ns: int) -> Act:
    return _once(
        lambda world, fault: world.processes.set_clock(
            f"gateway{fault.gateway}", round(fault.step_s * 1e9), bound_ns
        )
    )


def _box_clock(source: TimeSource) -> Act:
    return _once(lambda world, fault: world.around.boxes.set_clock(fault.boxes[0], source, fault.step_s))


FAULTS: Final[Mapping[str, Act]] = {
    **dict.fromkeys(("broker_down", "broker_cut", "network_gone"), _network("cut")),
    "broker_silent": _network("silent"),
    "packet_loss": _network("lossy"),
    "slow_box": _network("silent", SLOW_NETWORK),
    "cloud_killed": _killed("all"),
    "triggering_broker_killed": _killed("triggering-broker"),
    "acquisition_broker_killed": _killed("acquisition-broker"),
    "triggering_service_killed": _killed("triggering-service"),
    "event_service_killed": _killed("event-service"),
    "mauka_killed": _killed("mauka"),
    "broker_stopped": _stopped("triggering-broker"),
    "mauka_stopped": _stopped("mauka"),
    "second_makai": _guest("second"),
    "other_makai": _guest("other"),
    "database_locked": _locked("locked"),
    "database_slow": _locked("slow"),
    "disk_full": lambda world, _, begins: world.processes.fill_disk(begins),
    "clock_stepped": _clock_stepped,
    "garbage_box": _peer("garbage"),
    "unknown_key": _peer("unknown_key"),
    "borrowed_id": _peer("borrowed_id"),
    "duplicate": _repeated(1),
    "frames_repeated": _repeated(FRAMES_REORDERED),
    "gateway_killed": lambda world, fault, begins: world.kill(_gateway(world, fault), begins),
    "gateway_stopped": lambda world, fault, begins: _stop(_gateway(world, fault), begins),
    "starved": _starved,
    **dict.fromkeys(
        ("unplugged", "line_pulled"),
        lambda world, fault, begins: world.around.boxes.pull_line(fault.boxes, begins),
    ),
    "corruption": lambda world, fault, begins: world.around.boxes.disturb(
        fault.boxes, world.schedule.seed if begins else None
    ),
    "boxes_stopped": lambda world, fault, begins: world.around.boxes.stand_still(fault.boxes, begins),
    **dict.fromkeys(
        ("box_dark", "gateway_dark", "two_gateways_dark"),
        _once(
            lambda world, fault: world.around.boxes.lose_supply(fault.boxes, fault.for_s, fault.has_battery)
        ),
    ),
    "dip": _once(lambda world, fault: world.around.dip(fault)),
    "gateway_clock_set": _gateway_clock(NOT_SYNCHRONISED),
    "gateway_clock_synchronised": _gateway_clock(SYNCHRONISED_NS),
    "box_has_gps": _box_clock(TimeSource.GPS),
    "box_has_ntp": _box_clock(TimeSource.NTP),
    "box_knows_no_time": _box_clock(TimeSource.FREE),
    **dict.fromkeys(("ctrl_c", "all_killed", "hung_up", "site_dark"), restarts.together),
    "boxes_killed": restarts.boxes_killed,
    **dict.fromkeys(("gateway_killed_alone", "cloud_killed_alone"), restarts.processes_killed),
    "boxes_reset": restarts.boxes_reset,
    "supply_lost": restarts.supply_lost,
    "free_clock_set": restarts.free_clock_set,
    "originals_dip": _once(restarts.originals_dip),
    "original_clock_set": _once(
        lambda world, fault: world.around.originals[fault.boxes[0]].step_clock(fault.step_s)
    ),
}
