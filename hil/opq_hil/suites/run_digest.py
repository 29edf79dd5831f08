"""The result of a run that is the same on every emulator: samples, stamps, states, log, counters, flash, as
JSON.

A sample is compared with the world's value at its moment, whenever sampling began, and a stamp with the true
time of its conversion. So unavoidable differences between emulators do not appear (LEFT_OUT). Where a hash
would be too strict, the digest has figures, and `differences` has the tolerance.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_hil.backends.backend import FirmwareRun
from opq_hil.backends.firmware import Firmware
from opq_hil.suites import ticks
from opq_hil.suites.comparison import BoxStart, log_line, starts_of, states_of
from opq_hil.suites.scenario import require
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.firmware.image import Slot, read_header
from opq_proto.link.messages import Acknowledgement, GpsStatus, Health, Log, Samples
from opq_proto.messages import TimeSource

STAMP_NS = 25
"""Two ticks of 84 MHz. The stamps of a second lie within 1 to 3 ns on QEMU, so an error of 50 ns is found."""
STATE_S = 1.1
"""The Box reports once a second after its start: a change appears in one report or in the next."""
LEFT_OUT = (
    "when sampling began: samples are differences from what the world had at their moments, 0 when right",
    f"stamps: the error against the true time of conversion, least and most of each second, to {STAMP_NS} ns",
    "stamps within an inserted second: they stand on the moments at which blocks begin",
    f"states of the clock: when they are first reported, to {STATE_S} s, for the Box reports each second",
    "log: the time of a line, and the boot number in box.started",
    "counters: clipped samples (the saw reaches full scale), heap, load, temperature, frames, bytes",
    "noise on the Box's own bytes (the gateway's are damaged): what it hits depends on when they leave",
    "flash: bytes of the build and signatures (compared with the build instead), what a cut leaves of a word",
    "the length of the build's image in log and answers (compared with the build instead)",
    "answers of a command before its last: a Box that erases says so once or more",
    "how long an erase takes, and with it when blocks arrive; blocks past the ranges of samples named here",
    "oversampling and decimation: their filter mixes moments; scenario dip and the golden cases hold them",
)
LENGTH = "the build's length"
MASKED_VALUES = {"box.started": 1}
"""Event -> how many of its two values, from the first on, differ between emulators."""

Digest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DigestScope:
    """The parts of a run that are compared."""

    spans: tuple[tuple[int, int], ...] = ((2_400, 96_000),)
    """(first, count) of the samples, for each start of the Box."""
    stamps_s: tuple[int, ...] = ()
    """Seconds of virtual time whose stamps are compared."""
    flash: bool = True


def digest_of(run: FirmwareRun, scope: DigestScope, firmware: Firmware) -> Digest:
    """The digest of a run; JSON values only."""
    starts = starts_of(run.capture.received)
    lengths = set[int]()
    if scope.flash:
        lengths = {len(image) for image in firmware.images().values()}
    require(len(starts) == len(scope.spans), f"{len(starts)} starts of the Box; want {len(scope.spans)}")
    health = run.capture.of(Health)[-1]
    found: dict[str, Any] = {
        "ended": run.ended,
        "samples": [
            samples_digest(start, run.world, *span) for start, span in zip(starts, scope.spans, strict=True)
        ],
        "states": [[name, round(at / NS_PER_S, 3)] for name, at in states_of(run.capture.received)],
        "leap_seconds": [status.leap_seconds for status in run.capture.of(GpsStatus)][-1:],
        "log": [list(_unmasked(lengths, *log_line(line))) for line in run.capture.of(Log)],
        "answers": _last_answers(run, lengths),
        "counters": {
            "overruns": health.overruns,
            "missing_samples": health.missing_samples,
            "crc_errors": health.crc_errors,
            "tx_dropped": health.tx_dropped,
            "reset_cause": health.reset_cause,
            "damaged_frames": sum(
                run.capture.counters[name] for name in ("crc_errors", "malformed", "oversize")
            ),
        },
    }
    if scope.stamps_s:
        found["stamps"] = stamps_digest(starts[0], run.world, scope.stamps_s)
    if scope.flash and run.flash is not None:
        found["flash"] = flash_digest(run.flash.read_bytes(), firmware)
    return found


def _last_answers(run: FirmwareRun, lengths: set[int]) -> list[list[int | str]]:
    """The last [command, status, detail] of each answered command; how often it was answered varies."""
    last = {answer.command_id: answer for answer in run.capture.of(Acknowledgement)}
    words = {str(length): LENGTH for length in lengths}
    return [
        [number, answer.status.name, words.get(answer.detail, answer.detail)]
        for number, answer in sorted(last.items())
    ]


def _unmasked(lengths: set[int], event: str, *values: int) -> tuple[str | int | None, ...]:
    hidden = MASKED_VALUES.get(event, 0)
    shown = (LENGTH if value in lengths else value for value in values)
    return (event, *(None if number < hidden else value for number, value in enumerate(shown)))


def samples_digest(start: BoxStart, world: World, first: int, count: int) -> Digest:
    """Differences between samples and the world's values at their moments, hashed; counts missing ones."""
    whole = start.waveform()
    if whole is None:
        return {"first": first, "missing": count, "wrong": 0, "sha256": ""}
    counts, have = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    begin, end = max(first, whole.first_sample), min(first + count, whole.first_sample + len(whole.counts))
    if begin < end:
        theirs = slice(begin - whole.first_sample, end - whole.first_sample)
        counts[begin - first : end - first] = whole.counts[theirs]
        have[begin - first : end - first] = whole.have[theirs]
    assert isinstance(world.mains, Played)
    # relative to the origin that most samples agree on: one changed sample then counts as one, not as all but
    # one
    if world.mains.rate_millihz == ticks.TICK_HZ * 1000:
        low = (counts - ticks.TICKS_PER_SAMPLE * (first + np.arange(count))) % ticks.TURN
        off = (low - np.bincount(low[have], minlength=1).argmax()) % ticks.TURN
    else:
        off = (counts - _played(world.mains.counts, counts)) % ticks.TURN
    off[~have] = 0
    packed = off.astype("<u2").tobytes() + np.packbits(have).tobytes()
    return {
        "first": first,
        "count": count,
        "missing": int(np.count_nonzero(~have)),
        "conflicts": whole.conflicts,
        "wrong": int(np.count_nonzero(off)),
        "sha256": hashlib.sha256(packed).hexdigest(),
    }


def _played(recording: NDArray[np.int16], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stretch of a recording that agrees best with the samples; comparing a quarter of them is enough."""
    best, where = -1, 0
    for at in range(len(recording) - len(counts) + 1):
        if recording[at + 7] == counts[7] or recording[at + len(counts) // 2] == counts[len(counts) // 2]:
            agree = int(np.count_nonzero(recording[at : at + len(counts) : 4] == counts[::4]))
            best, where = max((best, where), (agree, at))
    return recording[where : where + len(counts)].astype(np.int64)


def stamps_digest(start: BoxStart, world: World, at_s: tuple[int, ...]) -> Digest:
    """Minimum and maximum error of the stamps in each second, ns, and their sources of time."""
    received, blocks = zip(*_agreeing(list(start.blocks.values())), strict=True)
    timed = [block for block in blocks if block.source is not TimeSource.FREE]
    require(bool(timed), "no stamp names a source of time")
    moments = ticks.settle(ticks.moments(blocks, received), world, timed)
    seconds: dict[int, list[Samples]] = {second: [] for second in at_s}
    for block in blocks:
        second = int(moments.virtual_ns(block.first_sample) // NS_PER_S)
        if second in seconds:
            seconds[second].append(block)
    require(all(seconds.values()), "a second has no block")
    errors = {second: [moments.late_ns(block, world) for block in found] for second, found in seconds.items()}
    return {
        "at_s": list(at_s),
        "least_ns": [round(min(found)) for found in errors.values()],
        "most_ns": [round(max(found)) for found in errors.values()],
        "sources": sorted({block.source.name.lower() for found in seconds.values() for block in found}),
    }


def _agreeing(blocks: list[tuple[int, Samples]]) -> list[tuple[int, Samples]]:
    """Blocks whose samples all agree on the most common origin; `samples_digest` reports changed samples."""
    signs = [
        np.unique(
            (block.counts - ticks.TICKS_PER_SAMPLE * (block.first_sample + np.arange(len(block.counts))))
            % ticks.TURN
        )
        for _, block in blocks
    ]
    usual = Counter(int(low[0]) for low in signs).most_common(1)[0][0]
    return [block for block, low in zip(blocks, signs, strict=True) if len(low) == 1 and low[0] == usual]


def flash_digest(flash: bytes, firmware: Firmware) -> Digest:
    """Settings by hash, slots and boot loader by comparison with the build, and the marks."""
    built = firmware.image.flash.read_bytes()
    images = firmware.images()
    slots = {}
    for slot, begin in ((Slot.A, 0x20000), (Slot.B, 0x80000)):
        image = images[slot]
        held = flash[begin : begin + len(image)]
        rest = flash[begin + len(image) : begin + 0x60000]
        state = "the build's image" if held == image else "empty" if set(held) == {0xFF} else "something else"
        slots[f"slot_{slot.name.lower()}"] = state
        slots[f"marks_{slot.name.lower()}"] = _marks(rest, image)
    return {
        "boot": "the build's"
        if flash[:0x8000] == built[:0x8000].ljust(0x8000, b"\xff")
        else "something else",
        "settings_sha256": hashlib.sha256(flash[0x8000:0x10000]).hexdigest(),
        **slots,
    }


def _marks(rest: bytes, image: bytes) -> str:
    """The words after an image that are not empty; the word that identifies the image appears as `tag`."""
    words = np.frombuffer(rest[len(rest) % 4 :], "<u4")
    tag = int.from_bytes(read_header(image).sha256[:4], "little")
    return " ".join("tag" if word == tag else f"{word:08x}" for word in words[words != 0xFFFF_FFFF][:16])


def differences(expected: Digest, found: Digest) -> list[str]:
    """Texts that say where a digest differs from the saved one."""
    wrong = []
    for name in sorted(expected.keys() | found.keys()):
        want, have = expected.get(name), found.get(name)
        if want is None or have is None:
            wrong.append(f"{name}: {'not kept' if want is None else 'not found'}")
        elif name == "stamps":
            wrong += _stamp_differences(want, have)
        elif name == "states":
            late = [abs(there - here) for (_, there), (_, here) in zip(want, have, strict=False)]
            if [state for state, _ in want] != [state for state, _ in have] or max(late, default=0) > STATE_S:
                wrong.append(f"states: {have}; kept {want}")
        elif name in ("log", "answers"):
            entries = [f"{name}: {entry} is missing" for entry in want if entry not in have]
            entries += [f"{name}: {entry} was not there" for entry in have if entry not in want]
            if want != have:
                wrong += entries or [f"{name}: another order or number: {json.dumps(have)}"]
        elif want != have:
            wrong.append(f"{name}: {json.dumps(have)}; kept {json.dumps(want)}")
    return wrong


def _stamp_differences(want: Digest, have: Digest) -> list[str]:
    if want["at_s"] != have["at_s"]:
        return [f"stamps: of seconds {have['at_s']}; kept {want['at_s']}"]
    wrong = []
    if want["sources"] != have["sources"]:
        wrong.append(f"stamps: sources {have['sources']}; kept {want['sources']}")
    for bound in ("least_ns", "most_ns"):
        off = [here - there for there, here in zip(want[bound], have[bound], strict=True)]
        worst = max(range(len(off)), key=lambda number: abs(off[number]))
        if abs(off[worst]) > STAMP_NS:
            at = f"{bound} of second {want['at_s'][worst]}"
            wrong.append(f"stamps: {at} is {off[worst]} ns off the kept one; at most {STAMP_NS}")
    return wrong
