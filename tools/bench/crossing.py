"""`opq-tools bench crossing`: a dip behind a gateway of 64 Boxes: its command, and its stored waveforms.

    Boxes on ptys --> gateway --CURVE--> broker --> triggering service --> event --> command --> gateway
                         +------------------------- waveform --> event service --> store

Each part is a process, as on a real system: one gateway, both brokers, both services, the embedded store.
`crossing to its command` is from the Crossing's last byte at the Box to the arrival of the request for its
samples at the gateway, which has them. `last sample to stored` is from the moment when the last requested
sample was taken (or the decision, if that is later) to the waveform in the store.
The dips are at one Box, where Makai requests 50 Boxes, or at all Boxes in the same moment.

Baseline: one bare CurveZMQ hop of a Measurement's size in the same run; a command takes at least three.
"""

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import click

from bench.gateway.house import BenchHouse, house
from bench.pipeline import HOPS, bare_hop_ms
from bench.result import Baseline, BenchCase, BenchResult, case, percentile
from opq_cloud.store import open_store

BOXES, QUICK_BOXES = 64, 8
DIPS, QUICK_DIPS = (100, 30), (1, 1)
"""Number of dips at one Box, and at all."""
APART_S = 4.37
"""Time from dip to dip: longer than an event's span, and not a whole number of windows."""
SERVICES = "triggering-broker", "acquisition-broker", "triggering-service", "event-service"
SETTLE_S = 5.0
SOON_S = 3.5
"""A request that comes later is no answer to the crossing; all waveforms are stored by then."""
COMMAND_MS, STORED_MS = 100.0, 250.0
"""Limits of the 99th percentiles."""


@dataclass(slots=True)
class CrossingTimes:
    """Times of all dips of one kind."""

    crossings: int = 0
    command_ms: list[float] = field(default_factory=list)
    """For each crossing that a request followed."""
    events: int = 0
    own_stored_ms: list[float] = field(default_factory=list)
    """For the waveform of the Box that caused the event."""
    stored_ms: list[float] = field(default_factory=list)
    """For each waveform."""
    missing: int = 0
    """Requested waveforms that were not stored."""


def run(quick: bool) -> BenchResult:
    """Takes some 11 minutes; `quick` one."""
    bare = bare_hop_ms(HOPS)
    boxes = QUICK_BOXES if quick else BOXES
    rows: list[BenchCase] = []
    medians = []
    for at_once, dips in zip((1, boxes), QUICK_DIPS if quick else DIPS, strict=True):
        name = f"{boxes} Boxes, dips at {'one' if at_once == 1 else 'all at once'}"
        click.echo(f"{name}: {dips}, some {dips * APART_S:.0f} s ...", err=True)
        times = crossing_times(boxes, at_once, dips)
        medians.append(statistics.median(times.command_ms))
        rows += _rows(name, times)
    floor = statistics.median(bare)
    name = "crossing to its command, at one, median: one bare CURVE hop (pyzmq)"
    return BenchResult(tuple(rows), Baseline(name, floor, "ms"), medians[0] / floor)


def _rows(name: str, times: CrossingTimes) -> Iterator[BenchCase]:
    without = times.crossings - len(times.command_ms)
    late, stored = f"{without} of {times.crossings} not requested", f"{times.events} events"
    for stage, found, limit_ms, why in (
        ("crossing to its command", times.command_ms, COMMAND_MS, late),
        ("last sample to stored, Box that saw it", times.own_stored_ms, STORED_MS, stored),
        ("last sample to stored, all", times.stored_ms, STORED_MS, f"{stored}, {times.missing} not stored"),
    ):
        found = found or [math.inf]
        yield case(f"{name}: {stage}, median", "ms", found)
        yield case(f"{name}: {stage}, p99", "ms", found, percentile(found, 0.99), limit_ms, because=why)


def crossing_times(boxes: int, at_once: int, dips: int) -> CrossingTimes:
    """Lives through `dips` dips, each at `at_once` Boxes."""
    times = CrossingTimes()
    with house(boxes, sag_every_s=APART_S, at_once=at_once, services=SERVICES, debug=True) as up:
        up.rest(SETTLE_S)
        begin_ns = time.time_ns()
        open_ns: dict[str, int] = {}
        until_s = time.monotonic() + (dips + 3) * APART_S
        while time.monotonic() < until_s:
            line = up.line(0.1)
            if line is None:
                continue
            box_id, event = str(line.facts.get("box_id")), line.facts.get("event")
            if event == "box.crossing_sent":
                open_ns[box_id] = int(line.facts["monotonic_ns"])
                times.crossings += 1
                if times.crossings >= dips * at_once:
                    until_s = time.monotonic() + SOON_S  # before the next dip
            elif event == "request.received" and box_id in open_ns:
                waited_s = (int(line.facts["monotonic_ns"]) - open_ns.pop(box_id)) / 1e9
                if waited_s < SOON_S:
                    times.command_ms.append(waited_s * 1e3)
        _read_events(up, begin_ns, times)
    return times


def _read_events(up: BenchHouse, since_ns: int, times: CrossingTimes) -> None:
    with closing(open_store(None, up.folder)) as store:
        for record in store.events(limit=10_000):
            if record.decided_ns is None or record.decided_ns < since_ns:
                continue  # a dip while all was starting
            times.events += 1
            stored_ns = store.waveform_times(record.event_id)
            begin_ns = max(record.end_ns, record.decided_ns)
            times.stored_ms += [(each - begin_ns) / 1e6 for each in stored_ns.values()]
            if record.opened_by in stored_ns:
                times.own_stored_ms.append((stored_ns[record.opened_by] - begin_ns) / 1e6)
            times.missing += len(set(record.boxes_triggered) - stored_ns.keys())
