"""Every figure of `bench gateway`.

CPU and memory are those of the gateway's own process with 1, 4, 16 and 64 Boxes at 12 kS/s on ptys, and a
real cloud that acknowledges its Measurements over CURVE. Windows, harmonics, 10 s frequency, events,
values on disk and ring are on; flicker, phasors and background compression are off, and their costs are
separate rows. The slope is the least-squares line over the numbers of Boxes; its constant part (Python,
ZeroMQ, timers) is "CPU at no Box". Samples that were lost, or never came because the Boxes had no CPU, count:
they make the figure too good. On a machine whose cores are busy the same work takes up to twice the CPU time
(shared caches, two threads on a core).

Baseline: one bare CurveZMQ hop of a Measurement's size in the same run, of which a request needs two.
"""

import lzma
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bench.harness.boxes import noisy
from bench.harness.house import BenchHouse, GatewayCost, house
from bench.harness.result import Baseline, BenchCase, BenchResult, case, cpu_of, percentile
from bench.pipeline import HOPS, bare_hop_ms
from opq_gateway.blocks import SampleBlock
from opq_gateway.ring import codec
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealed import CHUNK_SAMPLES, next_chunk_samples
from opq_gateway.ring.sealing import seal
from opq_proto.kit.service_sockets import local_endpoint
from opq_proto.messages import TimeSource
from opq_proto.wire.command_client import CommandClient
from opq_proto.wire.frames import data_command
from opq_tools.up.children import ChildLine

BOXES = (1, 4, 16, 64)
"""Numbers of Boxes that are measured."""
QUICK_BOXES = (1, 8)
"""The same in a quick run."""
SETTLE_S = 8.0
"""Time before a measurement begins."""
QUICK_SETTLE_S = 2.0
"""The same in a quick run."""
WATCH_S = 30.0
"""Length of a measurement."""
QUICK_WATCH_S = 4.0
"""The same in a quick run."""
APART_BOXES = 16
"""Number of Boxes for the cost of single features, switched on or off."""
REQUESTS = 300
"""Requests for samples."""
QUICK_REQUESTS = 10
"""The same in a quick run."""
REQUEST_S = 10
"""Span of a request."""
QUICK_REQUEST_S = 3
"""The same in a quick run."""
REQUEST_AGE_S = 2
"""Age of the newest sample of a request."""
SPARE_S = 3
"""Samples in the ring beyond those of a request."""
PAUSE_S = 0.05
LEAST_CYCLES = 59
"""Frames of an answer are cycles: so many of a second show that it is whole."""
UPLINK_S = 60.0
"""Time in which the uplink's bytes are counted."""
QUICK_UPLINK_S = 5.0
"""The same in a quick run."""
HEARTBEAT_S = 60.0
"""Heartbeat of the idle mode (config.Idle); its bytes are counted over whole heartbeats."""
IDLE_S = 4 * HEARTBEAT_S
DISK_S = 300
"""Length of the ring that is read."""
QUICK_DISK_S = 20
"""The same in a quick run."""
READS = 200
"""Reads of the ring."""
QUICK_READS = 20
"""The same in a quick run."""
SLOPE_MS = 2.5
"""Limit of CPU per Box and second: 400 Boxes on a core."""
MEMORY_MB = 120.0
"""Limit of the gateway's memory with one Box."""
REQUEST_MS = 20.0
"""Limit of a request for samples."""
ACCESS_MS = 5.0
"""Limit of an access to the ring."""
USUAL: dict[str, Any] = {"ring": {"compress": False}}
PLAIN: dict[str, Any] = {**USUAL, "measuring": {"flicker": False}}
PACE = 0.99
"""Least share of 12,000 samples per Box and second; with fewer, the Boxes did not keep pace."""


def run(quick: bool) -> BenchResult:
    """Takes some 11 minutes; `quick` half a minute on free cores.

    `quick` leaves out the features apart and the idle mode, whose heartbeats come once a minute.
    """
    bare = bare_hop_ms(HOPS)
    rows = [*_costs(quick), *([] if quick else _apart())]
    if quick:
        uplink, request_ms = _uplink_and_requests()
        rows += uplink
    else:
        rows += _uplink("busy", UPLINK_S) + _uplink("idle mode", IDLE_S)
        request_ms = requests_ms(REQUESTS)
    named = f"raw request of {QUICK_REQUEST_S if quick else REQUEST_S} s"
    rows += _disk(quick)
    rows.append(case(f"{named}: median", "ms", request_ms))
    rows.append(case(f"{named}: p99", "ms", request_ms, percentile(request_ms, 0.99), REQUEST_MS))
    base = Baseline(f"{named}, median: one bare CURVE hop (pyzmq)", statistics.median(bare), "ms")
    return BenchResult(tuple(rows), base, statistics.median(request_ms) / base.value)


def _costs(quick: bool) -> list[BenchCase]:
    """CPU and memory by the number of Boxes."""
    watch_s = QUICK_WATCH_S if quick else WATCH_S
    costs: dict[int, GatewayCost] = {}
    rows = []
    for boxes in QUICK_BOXES if quick else BOXES:
        click.echo(f"CPU and memory, {boxes} ...", err=True)
        with house(boxes, config=PLAIN) as up:
            up.rest(QUICK_SETTLE_S if quick else SETTLE_S)
            before, began = _samples(up), time.monotonic()
            cost = costs[boxes] = up.cost(watch_s)
            came, lost = (late - early for late, early in zip(_samples(up), before, strict=True))
            pace = came / (12_000 * boxes * (time.monotonic() - began))
        named = f"{boxes} Boxes" if boxes > 1 else "1 Box"
        rows.append(case(f"CPU, {named}", "ms/s", [cost.cpu_ms_per_s]))
        limit_mb = MEMORY_MB if boxes == 1 else None
        rows.append(case(f"memory, {named}", "MB", [cost.memory_bytes / 1e6], limit=limit_mb))
        rows.append(case(f"samples lost or not measured, {named}", "samples", [lost], limit=0.0))
        if pace < PACE:
            click.echo(f"{named} sent {pace:.0%} of their samples: the machine is too busy", err=True)
        rows.append(case(f"samples that did not come, {named}", "%", [max(0.0, 100 - 100 * pace)], limit=1.0))
    slope, at_none = np.polyfit(list(costs), [cost.cpu_ms_per_s for cost in costs.values()], 1)
    rows.append(case("CPU per Box: slope", "ms/s", [float(slope)], limit=SLOPE_MS))
    rows.append(case("Boxes per core: 1 / slope", "Boxes", [1e3 / float(slope)]))
    rows.append(case("CPU at no Box", "ms/s", [float(at_none)]))
    return rows


def _samples(up: BenchHouse) -> tuple[float, float]:
    """Samples of all Boxes since the start: received ones, and ones lost or not measured."""
    return up.counted("samples"), up.counted("missing_samples") + up.counted("unmeasured_samples")


def _apart() -> list[BenchCase]:
    """Cost of single features per Box, as differences to the same setup without them."""
    click.echo(f"parts apart, {APART_BOXES} Boxes ...", err=True)
    plain = _cpu_ms(PLAIN, WATCH_S)
    with_flicker = _cpu_ms(USUAL, WATCH_S)
    with_phasors = _cpu_ms({**PLAIN, "phasors": {"endpoint": "127.0.0.1:0"}}, WATCH_S)
    return [
        case("CPU per Box of flicker", "ms/s", [(with_flicker - plain) / APART_BOXES]),
        case("CPU per Box of phasors, 10 a second", "ms/s", [(with_phasors - plain) / APART_BOXES]),
    ]


def _cpu_ms(config: Mapping[str, Any], watch_s: float) -> float:
    with house(APART_BOXES, config=config) as up:
        up.rest(SETTLE_S)
        return up.cost(watch_s).cpu_ms_per_s


def _uplink(name: str, seconds: float) -> list[BenchCase]:
    """Bytes of the uplink of one Box with a quiet voltage."""
    click.echo(f"uplink, {name}, {seconds:g} s ...", err=True)
    config = {"uplink": {"idle": name != "busy"}, "idle": {"heartbeat_s": HEARTBEAT_S}}
    with house(1, metered=True, config=config) as up:
        up.rest(SETTLE_S)
        return _uplink_bytes(up, name, seconds)


def _uplink_bytes(up: BenchHouse, name: str, seconds: float) -> list[BenchCase]:
    before = up.uplink_bytes
    up.rest(seconds)
    rate = [(late - early) / seconds for early, late in zip(before, up.uplink_bytes, strict=True)]
    limit = 16.0 if name != "busy" else None
    return [
        case(f"uplink, {name}: sent", "B/s", [rate[0]], limit=limit),
        case(f"uplink, {name}: received", "B/s", [rate[1]]),
    ]


def _uplink_and_requests() -> tuple[list[BenchCase], list[float]]:
    """Of one gateway, because each start takes seconds; its requests have fewer samples."""
    click.echo(f"uplink, then raw requests of {QUICK_REQUEST_S} s ...", err=True)
    with house(1, metered=True, debug=True) as up:
        up.rest(QUICK_SETTLE_S)
        rows = _uplink_bytes(up, "busy", QUICK_UPLINK_S)
        return rows, _requests_ms(up, QUICK_REQUESTS, QUICK_REQUEST_S)


def _disk(quick: bool) -> list[BenchCase]:
    click.echo("ring and codec ...", err=True)
    seconds = QUICK_DISK_S if quick else DISK_S
    ring, coarse = (
        on_disk(counts, QUICK_READS if quick else READS)
        for counts in (noisy(seconds, 2.0), eight_bits(seconds))
    )
    rows = [
        case("ring, write: CPU per Box", "ms/s", [ring.write_ms_per_s]),
        case("ring, write", "MB/CPU s", [ring.write_mb_s]),
        case("ring, read 10 s", "MB/CPU s", [ring.read_mb_s]),
        *_accesses("ring", ring.sample_ms, ring.access_ms),
        case("ring, sealed: read 10 s", "MB/CPU s", [ring.sealed_read_mb_s]),
        *_accesses("ring, sealed", ring.sealed_sample_ms, ring.sealed_access_ms),
        *_accesses("ring, sealed, 8 bits", coarse.sealed_sample_ms, coarse.sealed_access_ms),
        case("compression in the background: CPU per Box", "ms/s", [ring.seal_ms_per_s]),
        case("ring, sealed file, noise of 2 LSB: ratio", "x", [ring.ratio]),
    ]
    for name, counts in recordings().items():
        of = packed(counts)
        rows.append(case(f"codec, {name}: ratio (peer lzma)", "x", [of.ratio], peer=of.lzma_ratio))
        rows.append(case(f"codec, {name}: encode", "MB/CPU s", [of.encode_mb_s]))
        rows.append(case(f"codec, {name}: decode", "MB/CPU s", [of.decode_mb_s]))
    return rows


def _accesses(name: str, sample_ms: list[float], second_ms: list[float]) -> list[BenchCase]:
    """Rows of the times of accesses anywhere in the ring; the median is in the columns."""
    return [
        case(f"{name}: {span} at random: p99", "ms", spans_ms, percentile(spans_ms, 0.99), limit=ACCESS_MS)
        for span, spans_ms in (("1 sample", sample_ms), ("1 s", second_ms))
    ]


def requests_ms(count: int) -> list[float]:
    """Milliseconds from a received command to its last Cycle in the socket; 10 s of samples each."""
    click.echo(f"raw requests of {REQUEST_S} s ...", err=True)
    with house(1, debug=True) as up:
        up.rest(REQUEST_S + REQUEST_AGE_S + SPARE_S)
        return _requests_ms(up, count, REQUEST_S)


def _requests_ms(up: BenchHouse, count: int, span_s: int) -> list[float]:
    commands, answers = (local_endpoint(name, up.folder) for name in ("commands", "answers"))
    with CommandClient(commands, answers) as client:
        for _ in range(count):
            end_ns = time.time_ns() - REQUEST_AGE_S * 10**9
            client.send_command(data_command("1", end_ns - span_s * 10**9, end_ns, client.identity), 10.0)
            time.sleep(PAUSE_S)
    found: list[float] = []
    received, wanted = 0, False
    for line in _lines(up, 1.0):
        match line.facts.get("event"):
            case "command.received":
                received = int(line.facts["monotonic_ns"])
            case "request.received":
                wanted = True
            case "answer.handed_on" if wanted and line.facts["frames"] > span_s * LEAST_CYCLES:
                found.append((int(line.facts["monotonic_ns"]) - received) / 1e6)
                wanted = False
    return found


def _lines(up: BenchHouse, quiet_s: float) -> list[ChildLine]:
    """All waiting log lines, until there are none for `quiet_s`."""
    found: list[ChildLine] = []
    while (line := up.line(quiet_s)) is not None and len(found) < 100_000:
        found.append(line)
    return found


RECORDED = ("event_9354_box1.i16", "event_9354_box4.i16")
FOLDERS = (Path("recordings"), Path(__file__).parents[2].parent / "shared" / "data" / "recordings")
"""Folders where `opq-tools recordings get` may have put the recordings."""
LZMA = [{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2, "preset": 9}]

RATE_HZ = 12_000
BLOCK = 200
START_NS = 1_800_000_000 * 10**9
V_PER_LSB = 0.0068


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """Figures of the codec for one signal."""

    ratio: float
    encode_mb_s: float
    """Raw megabytes per CPU second."""
    decode_mb_s: float
    lzma_ratio: float


@dataclass(frozen=True, slots=True)
class RingFigures:
    """Figures of one ring of one Box."""

    write_ms_per_s: float
    """CPU per second of signal, writing two blocks at a time."""
    write_mb_s: float
    read_mb_s: float
    """Reading ten seconds at once, warm, as one Waveform; raw megabytes per CPU second."""
    access_ms: list[float]
    """Wall time of reading one second anywhere."""
    sample_ms: list[float]
    """Wall time of reading the block around one sample anywhere."""
    sealed_read_mb_s: float
    sealed_access_ms: list[float]
    sealed_sample_ms: list[float]
    seal_ms_per_s: float
    """CPU of sealing per second of signal."""
    ratio: float
    """Raw bytes over bytes of the sealed file, with its heads and times."""


def eight_bits(seconds: int) -> NDArray[np.int16]:
    """(n,) counts of the same mains from an 8-bit converter, as in the recordings."""
    return noisy(seconds, 70.0) | np.int16(0xFF)


def packed(counts: NDArray[np.int16]) -> CodecFigures:
    """Packs the counts in chunks, as the ring seals them."""
    parts = [part for part, _ in as_sealed(counts)]
    encode_s, coded = cpu_of(lambda: [codec.pack(part) for part in parts])
    decode_s, back = cpu_of(lambda: [codec.unpack(part) for part in coded])
    assert all(np.array_equal(one, two) for one, two in zip(parts, back, strict=True))
    raw = counts.nbytes
    squeezed = len(lzma.compress(counts.tobytes(), format=lzma.FORMAT_RAW, filters=LZMA))
    return CodecFigures(
        raw / sum(map(len, coded)), raw / encode_s / 1e6, raw / decode_s / 1e6, raw / squeezed
    )


def on_disk(counts: NDArray[np.int16], reads: int) -> RingFigures:
    """Measures a ring of these samples, at least 12 s, in a temporary folder."""
    seconds = len(counts) / RATE_HZ
    blocks = [_block(counts, first) for first in range(0, len(counts), BLOCK)]
    chance = np.random.default_rng(3)
    starts = [START_NS + int(at * 1e9) for at in chance.uniform(0, seconds - 11, reads)]
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        ring = Ring(Path(folder), "1", 24.0)
        write_s, _ = cpu_of(lambda: _write_ring(ring, blocks))
        raw = _read_ring(ring, starts)
        ring.close()
        segment = ring.unsealed()[0]
        before = segment.file_bytes
        seal_s, sealed = cpu_of(lambda: seal(segment.path))
        if sealed is None or not ring.replace(segment, sealed):
            raise RuntimeError("the ring took no sealed segment")
        ratio = before / segment.file_bytes
        closed = _read_ring(ring, starts)
    return RingFigures(
        write_ms_per_s=write_s / seconds * 1e3,
        write_mb_s=counts.nbytes / write_s / 1e6,
        read_mb_s=raw[0],
        access_ms=raw[1],
        sample_ms=raw[2],
        sealed_read_mb_s=closed[0],
        sealed_access_ms=closed[1],
        sealed_sample_ms=closed[2],
        seal_ms_per_s=seal_s / seconds * 1e3,
        ratio=ratio,
    )


def _write_ring(ring: Ring, blocks: list[SampleBlock]) -> None:
    for at in range(0, len(blocks), 2):
        ring.append_all(blocks[at : at + 2])


def _read_ring(ring: Ring, starts: list[int]) -> tuple[float, list[float], list[float]]:
    """MB per CPU second of ten seconds at once; wall ms of one second each, and of one sample each."""
    ten_s, waves = cpu_of(lambda: [ring.read(start, start + 10 * 10**9) for start in starts[:10]])
    size = sum(wave.counts.nbytes for wave in waves if wave is not None)
    second_ms, sample_ms = ([_wall_ms(ring, start, lasting) for start in starts] for lasting in (10**9, 1))
    return size / ten_s / 1e6, second_ms, sample_ms


def _wall_ms(ring: Ring, start_ns: int, lasting_ns: int) -> float:
    began = time.perf_counter()
    ring.read(start_ns, start_ns + lasting_ns)
    return (time.perf_counter() - began) * 1e3


def _block(counts: NDArray[np.int16], first: int) -> SampleBlock:
    t_ns = START_NS + first * 10**9 // RATE_HZ
    return SampleBlock(
        1, V_PER_LSB, first, t_ns, 100, TimeSource.GPS, RATE_HZ * 1000, counts[first : first + BLOCK]
    )


def as_sealed(counts: NDArray[np.int16]) -> list[tuple[NDArray[np.int16], bytes]]:
    """The samples in pieces as the ring cuts them, each with its packed bytes."""
    pieces = []
    size = CHUNK_SAMPLES
    at = 0
    while at < len(counts):
        piece = counts[at : at + size]
        pieces.append((piece, codec.pack(piece)))
        size = next_chunk_samples(len(pieces[-1][1]), len(piece))
        at += len(piece)
    return pieces


def recordings() -> dict[str, NDArray[np.int16]]:
    """The available real recordings, by name."""
    found = {}
    for name in RECORDED:
        path = next((folder / name for folder in FOLDERS if (folder / name).exists()), None)
        if path is not None:
            found[path.stem] = np.fromfile(path, dtype="<i2").astype(np.int16)
    return found
