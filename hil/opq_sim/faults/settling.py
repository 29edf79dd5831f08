"""Conditions under which a world is quiet again: each makes a question that names what is still missing."""

import time
from collections.abc import Callable, Hashable
from typing import Final

from opq_sim.faults.parts.gateway_disk import backlog, newest_ns, newest_sample, queued_to_ns
from opq_sim.faults.parts.played_service import ServiceError
from opq_sim.faults.parts.store_reader import event_counts
from opq_sim.faults.world.world import Condition, FaultWorld

ANALYSING: Final = ("triggering-service", "event-service", "mauka")
"""What counts events and findings."""
ASK_AGAIN_S: Final = 2.0
"""A command about events reads them all."""
STILL_S: Final = 1.2
"""Nothing changed for this long."""
UNMEASURED_NS: Final = 600_000_000
"""At the end of a run, part of a Measurement and the samples that windows need ahead stay unmeasured."""


def sampled_again(world: FaultWorld) -> Condition:
    """The ring of every Box grows."""
    before = _newest_samples(world)

    def objection() -> str | None:
        still = [box_id for box_id, sample in _newest_samples(world).items() if sample <= before[box_id]]
        return f"no samples of Boxes {', '.join(still)}" if still else None

    return objection


def measured_to_the_end(world: FaultWorld) -> Condition:
    """All that is in the rings is measured, acknowledged, and nothing changes any more."""
    peers = world.around.peers
    assert peers is not None
    places = [
        (world.processes.data_dir(f"gateway{number}"), box_id)
        for number, box_ids in world.layout.gateways.items()
        for box_id in box_ids
    ]
    moves = _changes(lambda: (*world.processes.counters(), len(peers.received), peers.copies))

    def objection() -> str | None:
        still_s = moves()
        for data_dir, _ in places:
            if (waiting := backlog(data_dir)) is None or waiting:
                return f"{len(waiting or ())} Measurements wait in the queue"
        if still_s < STILL_S:
            return "something still changes"
        # queued is enough: the peers, a subscriber, may miss the last one, and the verdict checks that it is
        # stored
        received = list(peers.received.items())
        behind = []
        for data_dir, box_id in places:
            ends_ns = [each.end_ns or 0 for (name, _), each in received if name == box_id]
            if max([*ends_ns, queued_to_ns(data_dir, box_id)]) < newest_ns(data_dir, box_id) - UNMEASURED_NS:
                behind.append(box_id)
        return f"Boxes {', '.join(behind)} are not measured to their end" if behind else None

    return objection


def acknowledged(world: FaultWorld) -> Condition:
    """What the Boxes of a fleet have measured by now is acknowledged."""
    begin_s = time.monotonic()
    goals: dict[str, int] = {}

    def objection() -> str | None:
        fleets = world.around.fleets
        if late := [fleet for fleet in fleets if fleet.worker.reached_s < begin_s]:
            return f"Boxes {', '.join(late[0].box_ids)} have not measured what was due"
        now = {box_id: each for fleet in fleets for box_id, each in fleet.numbers().items()}
        if not goals:
            goals.update({box_id: each.next for box_id, each in now.items()})
        left = {
            box_id: goal - now[box_id].floor for box_id, goal in goals.items() if now[box_id].floor < goal
        }
        if left:
            return f"{sum(left.values())} Measurements of Boxes {', '.join(left)} are not acknowledged"
        return None

    return objection


def analysed(world: FaultWorld, still_s: float) -> Condition:
    """Every event is finished and analysed, and the services counted no new ones, nor findings, for
    `still_s`: health is asked each time, and `events show` once nothing moves."""
    ports = [world.processes.health_port(name) for name in ANALYSING]
    counts: tuple[str, ...] | None = None
    moves = _changes(lambda: counts)
    asked_s = 0.0
    left = ""

    def objection() -> str | None:
        nonlocal asked_s, counts, left
        counts = event_counts(ports)
        quiet_s = moves()
        if counts is None:
            return "the health of a service does not answer"
        if quiet_s < still_s:
            return "something still changes"
        if left and time.monotonic() - asked_s < ASK_AGAIN_S:
            return left
        try:
            events = world.store.events()
        except ServiceError as error:
            left = str(error)
        else:
            open_ = sum(not each["finished"] for each in events)
            waiting = sum(bool(each["finished"] and not each["analysed"]) for each in events)
            left = f"{open_} events are open, {waiting} are not analysed" if open_ or waiting else ""
        asked_s = time.monotonic()
        return left or None

    return objection


def told(world: FaultWorld, still_s: float) -> Condition:
    """The same by what View says; and the measured share of each Box is new, and noted."""
    view, layout = world.view, world.layout
    assert view is not None
    # a time that its clock takes for the future has no share
    known = [each for number in layout.synchronised for each in layout.gateways.get(number, ())]
    box_ids = [box_id for box_id in known if box_id in world.around.boxes.boxes]
    moved_s, before = time.monotonic(), None
    asked_ms = world.processes.now_ns() / 1e6

    def objection() -> str | None:
        nonlocal moved_s, before
        try:
            events, boxes = view.events(), view.boxes()
        except OSError as error:
            return f"View does not answer: {error}"
        now = [(each["id"], each["finished"], each["analysed"]) for each in events]
        if now != before:
            moved_s, before = time.monotonic(), now
        for box_id in box_ids:
            shown = boxes.get(box_id, {}).get("availability", {})
            if shown.get("hour") is not None and shown["until_ms"] > asked_ms:
                world.evidence.shares[box_id] = shown["hour"], round(shown["until_ms"] * 1e6)
        late = [each["id"] for each in events if not (each["finished"] and each["analysed"])]
        if late:
            return f"events {', '.join(map(str, late))} are not finished and analysed"
        if time.monotonic() - moved_s < still_s:
            return "something still changes"
        old = [box_id for box_id in box_ids if box_id not in world.evidence.shares]
        return f"the measured share of Boxes {', '.join(old)} is old" if old else None

    return objection


def delivered(world: FaultWorld) -> Condition:
    """Every Box on a cable is measured to this moment, and what its gateway had queued then acknowledged."""
    since_ns, gateways = time.time_ns(), world.layout.gateways
    is_stored = stored(world)

    def objection() -> str | None:
        for number, box_ids in gateways.items():
            data_dir = world.processes.data_dir(f"gateway{number}")
            if late := [box_id for box_id in box_ids if queued_to_ns(data_dir, box_id) < since_ns]:
                return f"nothing new of Boxes {', '.join(late)}"
        return is_stored()

    return objection


def stored(world: FaultWorld) -> Condition:
    """What the gateways have queued at the first question is acknowledged."""
    waiting: dict[int, set[tuple[str, int]]] = {}

    def objection() -> str | None:
        for number in world.layout.gateways:
            queued = backlog(world.processes.data_dir(f"gateway{number}"))
            if queued is None:
                return f"the queue of gateway{number} cannot be read"
            if left := waiting.setdefault(number, queued) & queued:
                return f"{len(left)} Measurements wait in the queue of gateway{number}"
        return None

    return objection


def _newest_samples(world: FaultWorld) -> dict[str, int]:
    return {
        box_id: newest_sample(world.processes.data_dir(f"gateway{number}"), box_id)
        for number, box_ids in world.layout.gateways.items()
        for box_id in box_ids
    }


def _changes(state: Callable[[], Hashable]) -> Callable[[], float]:
    """Returns how many seconds ago the state was seen to change."""
    moved_s, before = time.monotonic(), state()

    def still_s() -> float:
        nonlocal moved_s, before
        if (now := state()) != before:
            moved_s, before = time.monotonic(), now
        return time.monotonic() - moved_s

    return still_s
