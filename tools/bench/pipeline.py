"""Time of each stage from the sample to the page, and the cost of a Box.

The whole system runs as under `up`: simulated Boxes on ptys, gateway, compact cloud, page. Sags are
injected at Box 1, one after the other at varying moments of the measurement window, and followed
by the log lines of the services. CPU per Box is the difference between a system of many Boxes and
one of a single Box, at the original's rate of a Measurement per 60 cycles. Memory (PSS) and the time
until everything runs are those of `opq-tools up` with one Box.

The baseline, in the same run, is one bare CurveZMQ hop (pyzmq, PUB to SUB, a 106-byte message as
large as a Measurement with four metrics): the floor under `measurement_to_trigger`.

Then Mauka by itself: its cost of events, and of joining findings to an incident of 10,000 Boxes.
"""

import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import psutil
import zmq

from bench.harness.mauka_runs import burst, idle_ms, spent_of_events
from bench.harness.mauka_waveforms import waveform_ms
from bench.harness.own_processes import cpu_s, proportional_bytes
from bench.harness.result import Baseline, BenchCase, BenchResult, case, named, percentile
from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.store import open_store
from opq_proto.errors import OpqError
from opq_proto.kit.ports import PORTS
from opq_proto.messages import Finding
from opq_sim.box.control import request_control
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.plan import UpPlan
from opq_tools.up.port_claims import free_offset
from opq_tools.up.session import UpSession

SAGS = 50
"""Sags of a run."""
QUICK_SAGS = 2
"""The same in a quick run."""
APART_S = 4.37
"""Time from sag to sag: longer than an event's span (1 s before, 1 s window, 1 s after), and not a whole
number of windows, so that the sags fall on every moment of a window."""
START_S = 30.0
INCIDENT_S = 20.0
MANY_BOXES = 12
"""Boxes of the run with many."""
QUICK_MANY_BOXES = 4
"""The same in a quick run."""
SETTLE_S = 8.0
"""Time before a measurement begins."""
QUICK_SETTLE_S = 2.0
"""The same in a quick run."""
WATCH_S = 30.0
"""Length of a measurement."""
QUICK_WATCH_S = 4.0
"""The same in a quick run."""
HOPS = 500
MESSAGE_BYTES = 106
"""Size of a Measurement with four metrics on the wire."""
MAUKA = "Mauka: "
"""Beginning of its rows."""
OUR_SERVICES = ("gateway", "cloud")
"""Processes whose cost is counted; simulated Boxes represent hardware."""
MEMORY_MB = {"gateway": 120.0, "cloud": 250.0}
"""Limit of the memory of each, with one Box."""
UP_MEMORY_MB = 500.0
"""Limit of the memory of everything that `up` starts with one Box, and of `up` itself."""
ENDS_S = 120.0
"""`up` that has not ended so long after Ctrl-C is killed."""
UP_S = 10.0
"""Limit of the time from the command until everything runs, in a new folder."""


@contextmanager
def running(boxes: int, trace: bool) -> Iterator[tuple[UpSession, UpPlan]]:
    """A system of simulated Boxes in its own folder, ready when the block begins."""
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        offset = free_offset(PORTS)
        if offset is None:
            raise OpqError("no port offset is free for a house of the benchmark's own")
        plan = UpPlan(Path(folder), offset, plan_fleet(sim=boxes), (), {}, trace)
        plan.prepare()
        session = UpSession(plan, f"http://127.0.0.1:{PORTS['view'] + offset}")
        session.start()
        try:
            _await_sampling(session, boxes)
            yield session, plan
        finally:
            session.stop()


def _await_sampling(session: UpSession, boxes: int) -> None:
    sampling: set[str] = set()
    until = time.monotonic() + START_S
    while len(sampling) < boxes or not session.feed.connected.is_set():
        if time.monotonic() > until:
            raise OpqError(f"only {len(sampling)} of {boxes} Boxes sample after {START_S:g} s")
        line = session.next_line(0.1)
        if line and line.facts.get("event") == "box.sampling":
            sampling.add(str(line.facts.get("box_id")))


def latencies(sags: int) -> dict[str, list[float]]:
    """Milliseconds of each stage, per sag; a sag with a missing stage is an error."""
    found: dict[str, list[float]] = {}
    with running(1, trace=True) as (session, plan):
        time.sleep(3.0)  # for the trigger's state and the first windows
        done: set[int] = set()
        for number in range(sags):
            began = time.monotonic()
            request_control(
                plan.ports_dir, {"do": "event", "box": "1", "kind": "sag", "depth": 0.4, "cycles": 6}
            )
            way = None
            while way is None:
                if time.monotonic() - began > INCIDENT_S:
                    raise OpqError(f"sag {number + 1} of {sags}: no incident on the page in {INCIDENT_S:g} s")
                session.next_line(0.05)
                for incident_id in session.incident_ids:
                    seen = session.seen(incident_id, time.monotonic_ns())
                    if incident_id not in done and seen:
                        done.add(incident_id)
                        way = seen
            if not way.complete:
                raise OpqError(
                    f"sag {number + 1} of {sags}: its way is not known in full: {way.latency_ms()}"
                )
            for stage, milliseconds in way.latency_ms().items():
                if milliseconds is not None:
                    found.setdefault(stage, []).append(milliseconds)
            time.sleep(max(0.0, began + APART_S - time.monotonic()))
    return found


def cost(boxes: int, watch_s: float, settle_s: float = SETTLE_S) -> dict[str, float]:
    """Process -> CPU seconds per second with `boxes` quiet Boxes."""
    with running(boxes, trace=False) as (session, _):
        watched = {child.name: child.pid or 0 for child in session.children if child.name in OUR_SERVICES}
        _drain(session, settle_s)
        before = {name: cpu_s(pid) for name, pid in watched.items()}
        began = time.monotonic()
        _drain(session, watch_s)
        elapsed = time.monotonic() - began
        return {name: (cpu_s(pid) - before[name]) / elapsed for name, pid in watched.items()}


def _drain(session: UpSession, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        session.next_line(0.2)


def up_rows(settle_s: float) -> Iterator[BenchCase]:
    """Yields time and memory of `opq-tools up` with one Box, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        words = [sys.executable, "-m", "opq_tools.cli", "up", "--sim", "1", "--free-ports"]
        began = time.monotonic()
        words += ["--data-dir", folder]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
            assert up.stdout is not None
            try:
                if not any("everything runs" in line for line in up.stdout):
                    raise OpqError("`up` ended before everything ran")
                yield case("up of one Box: all running", "s", [time.monotonic() - began], limit=UP_S)
                time.sleep(settle_s)
                for each in psutil.Process(up.pid).children():
                    name = next((name for name in OUR_SERVICES if f"opq_{name}" in each.cmdline()), None)
                    if name is not None:
                        memory_mb = proportional_bytes(each.pid) / 1e6
                        yield case(f"up of one Box: memory, {name}", "MB", [memory_mb], limit=MEMORY_MB[name])
                memory_mb = proportional_bytes(up.pid) / 1e6
                yield case("up of one Box: memory, everything", "MB", [memory_mb], limit=UP_MEMORY_MB)
            finally:
                up.send_signal(signal.SIGINT)
                try:
                    up.communicate(timeout=ENDS_S)
                except subprocess.TimeoutExpired:
                    up.kill()  # its services end with it
                    raise


def bare_hop_ms(hops: int) -> list[float]:
    """Milliseconds of each message over a bare CURVE PUB to SUB hop, one message at a time."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server_public, server_secret = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    receiver = context.socket(zmq.SUB)
    sender = context.socket(zmq.PUB)
    try:
        receiver.setsockopt(zmq.CURVE_SERVER, 1)
        receiver.setsockopt(zmq.CURVE_SECRETKEY, server_secret)
        receiver.setsockopt(zmq.SUBSCRIBE, b"")
        port = receiver.bind_to_random_port("tcp://127.0.0.1")
        for option, key in (
            (zmq.CURVE_SERVERKEY, server_public),
            (zmq.CURVE_PUBLICKEY, public),
            (zmq.CURVE_SECRETKEY, secret),
        ):
            sender.setsockopt(option, key)
        sender.connect(f"tcp://127.0.0.1:{port}")
        message = [b"0001", bytes(MESSAGE_BYTES)]
        while not receiver.poll(20):  # the subscription takes time to arrive
            sender.send_multipart(message)
        while receiver.poll(100):
            receiver.recv_multipart()
        found = []
        for _ in range(hops):
            began = time.perf_counter_ns()
            sender.send_multipart(message)
            receiver.recv_multipart()
            found.append((time.perf_counter_ns() - began) / 1e6)
            time.sleep(0.002)
        return found
    finally:
        sender.close(0)
        receiver.close(0)
        context.term()


def run(quick: bool) -> BenchResult:
    """Takes about ten minutes; `quick` a minute on free cores."""
    sags = QUICK_SAGS if quick else SAGS
    many = QUICK_MANY_BOXES if quick else MANY_BOXES
    watch_s = QUICK_WATCH_S if quick else WATCH_S
    bare = bare_hop_ms(HOPS)
    click.echo(f"{sags} sags at one Box, some {sags * APART_S:.0f} s ...", err=True)
    stages = latencies(sags)
    rows: list[BenchCase] = []
    for stage, values in stages.items():
        rows.append(case(f"{stage}.median", "ms", values))
        rows.append(case(f"{stage}.p99", "ms", values, percentile(values, 0.99)))
    click.echo(f"cost of 1 and of {many} Boxes ...", err=True)
    settle_s = QUICK_SETTLE_S if quick else SETTLE_S
    one, all_of_them = (cost(boxes, watch_s, settle_s) for boxes in (1, many))
    for name in OUR_SERVICES:
        cpu = (all_of_them[name] - one[name]) / (many - 1) * 1e3
        rows.append(case(f"cpu_per_box.{name}", "ms/s", [cpu]))
        rows.append(case(f"cpu_of_one_box_house.{name}", "ms/s", [one[name] * 1e3]))
    rows += up_rows(settle_s)
    floor = statistics.median(bare)
    ours = statistics.median(stages["measurement_to_trigger"])
    rows += [named(f"{MAUKA}{row.case}", row) for row in (*event_rows(quick), *joining_rows(quick))]
    return BenchResult(
        tuple(rows),
        Baseline("measurement_to_trigger.median: one bare CURVE hop (pyzmq)", floor, "ms"),
        ours / floor,
    )


JOINED_BOXES = 10_000
"""Boxes of the incident."""
QUICK_JOINED_BOXES = 400
"""The same in a quick joining_rows."""
SEED = 1
START_NS = 1_765_792_486_000_000_000
SPREAD_NS = 180_000_000
JOIN_LIMIT_MS = 2.0
"""Limit of CPU per finding."""
JOIN_S = 1.0
"""Limit of joining all findings."""
SMALL_STORE = 1_000
EVENT_BOXES = 50


def joining_rows(quick: bool) -> list[BenchCase]:
    """Cost of joining findings.

    Findings of one disturbance come in a random order, one of each Box, their onsets within 180 ms: all in
    one plan; one per plan, as from Boxes that answer late; and 50 per plan, as from an event of 50 Boxes.
    The peer of a finding that comes is one that comes while the incident is small.
    """
    boxes = QUICK_JOINED_BOXES if quick else JOINED_BOXES
    counted = min(SMALL_STORE, boxes // 2)
    rows: list[BenchCase] = []
    click.echo(f"an incident of {boxes} Boxes in one plan ...", err=True)
    (joined_ms,) = _grow(boxes, boxes)
    rows.append(case(f"an incident of {boxes} Boxes, all in one plan", "s", [joined_ms / 1000], limit=JOIN_S))
    for together in (EVENT_BOXES, 1):
        click.echo(f"an incident of {boxes} Boxes, {together} findings a plan ...", err=True)
        spent_ms = list(_grow(boxes, together))
        small, large = _means(spent_ms, together, boxes)
        name = f"a finding that comes, {together} a plan"
        rows.append(case(f"{name}, the last {counted}", "ms", [large], limit=JOIN_LIMIT_MS, peer=small))
        whole = sum(spent_ms)
        rows.append(case(f"all {boxes} findings, {together} a plan", "s", [whole / 1000]))
        longest = max(spent_ms)
        why = "a finding earlier than all before"
        rows.append(case(f"the dearest plan, {together} a plan", "ms", [longest], because=why))
    return rows


def _grow(boxes: int, together: int) -> Iterator[float]:
    """Grows an incident; yields CPU ms of each plan."""
    chance = random.Random(SEED)
    findings = [_joined_finding(str(number + 1), chance.randrange(SPREAD_NS)) for number in range(boxes)]
    with TemporaryDirectory() as folder:
        store = open_store(None, Path(folder))
        try:
            writer = FindingWriter(lambda: store)
            for first in range(0, boxes, together):
                began_s = time.process_time()
                writer.put_findings(first // together + 1, findings[first : first + together])
                yield 1000 * (time.process_time() - began_s)
            assert [len(one.box_ids) for one in store.incidents()] == [boxes]
        finally:
            store.close()


def _means(spent_ms: Sequence[float], together: int, boxes: int) -> tuple[float, float]:
    """Mean CPU per finding of the first and the last SMALL; includes those with a new earliest onset."""
    plans = min(SMALL_STORE, boxes // 2) // together
    return sum(spent_ms[:plans]) / (plans * together), sum(spent_ms[-plans:]) / (plans * together)


def _joined_finding(box_id: str, after_ns: int) -> Finding:
    start_ns = START_NS + after_ns
    return Finding("sag", box_id, start_ns, start_ns + 100_000_000, 1000, residual_percent=70.0)


WAVEFORM_MS = 150.0
LATENCY_MS = 250.0
EVENTS = 60
"""Events of a run."""
QUICK_EVENTS = 5
"""The same in a quick run."""
ONE_BY_ONE = 400


def event_rows(quick: bool) -> Iterator[BenchCase]:
    """Yields all event_rows; the CPU of a plain waveform is for comparison with an eventful one."""
    click.echo("all analyses on 10 s ...", err=True)
    yield case("all analyses on a plain 10 s, CPU", "ms", [waveform_ms(eventful=False)])
    yield case("all analyses on an eventful 10 s, CPU", "ms", [waveform_ms(eventful=True)], limit=WAVEFORM_MS)
    for boxes, many in ((2, QUICK_EVENTS if quick else ONE_BY_ONE), (12, 2 if quick else ONE_BY_ONE // 10)):
        yield from _latencies(boxes, many)
    count = QUICK_EVENTS if quick else EVENTS
    for processes in (0, 1, 2):
        click.echo(f"{count} events at once, {processes} processes ...", err=True)
        wall_s, cpu_s = burst(count, processes)
        name = f"{processes} processes" if processes else "Mauka's own process"
        yield case(f"events a second, a burst, {name}", "1/s", [count / wall_s])
        yield case(f"CPU of an event of a burst, {name}", "ms", [1000 * cpu_s / count])
        yield case(f"cores that a burst got, {name}", "", [cpu_s / wall_s])
    yield case("an idle runner, CPU of each second", "ms", [idle_ms()])


def _latencies(boxes: int, count: int) -> Iterator[BenchCase]:
    """Percentiles of wall time, and of the thread's own CPU, which depends less on other load."""
    click.echo(f"{count} events of {boxes} Boxes, one at a time ...", err=True)
    spent = list(spent_of_events(boxes, count))
    for until in ("its incident announced", "all findings stored"):
        for what in ("", ", CPU"):
            spent_ms = [each[until, what] for each in spent]
            name = f"waveforms of {boxes} Boxes stored to {until}{what}"
            for percent in (50, 90, 99):
                is_limited = percent == 99 and not what and until == "its incident announced"
                limit = LATENCY_MS if is_limited else None
                value = percentile(spent_ms, percent / 100)
                yield case(f"{name}, p{percent}", "ms", spent_ms, value, limit=limit)
