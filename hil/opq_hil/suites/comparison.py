"""How two saved runs of one world differ: samples, stamps, states, counters, log, flash.

Two runs on one emulator are the same to the byte. Instructions take other times on another emulator, so
sampling begins at another moment (microseconds); `digests` has what must be equal all the same.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from opq_hil.world.capture import CapturedWaveform, TimedMessage, read_log, waveform
from opq_hil.world.world import NS_PER_S
from opq_proto.errors import OpqError
from opq_proto.link import log_codes
from opq_proto.link.messages import FLAG_RESENT, GpsStatus, Health, Hello, Log, Samples

COMPARED_COUNTERS = ("overruns", "clipped", "missing_samples", "crc_errors", "tx_dropped", "reset_cause")
"""Counters of a Box's last Health that are compared."""
AREAS = (
    ("boot loader", 0x8000),
    ("settings", 0x10000),
    ("spare", 0x20000),
    ("slot A", 0x80000),
    ("slot B", 0xE0000),
    ("beyond", 0x100000),
)
"""Name and end of each part of the flash, from 0x08000000 on (device/README.md)."""
LOG_LINES_NAMED = 8
"""Number of log lines that a row names."""


class SavedRunError(OpqError):
    """A folder holds no run."""


@dataclass(slots=True)
class BoxStart:
    """The messages of a Box between two starts of its app."""

    boot_id: int
    received: list[TimedMessage] = field(default_factory=list)

    @property
    def blocks(self) -> dict[int, tuple[int, Samples]]:
        """First sample -> (virtual time, block), as first sent, without those sent again."""
        return {
            block.first_sample: (entry.t_ns, block)
            for entry in self.received
            if isinstance(block := entry.message, Samples) and not block.flags & FLAG_RESENT
        }

    def waveform(self) -> CapturedWaveform | None:
        """All samples by their index, with those sent again; None if there are none."""
        blocks = [entry.message for entry in self.received if isinstance(entry.message, Samples)]
        return waveform(blocks) if blocks else None


def starts_of(received: Sequence[TimedMessage]) -> list[BoxStart]:
    """Splits messages by start of the Box, at its hellos; earlier messages belong to the first start."""
    found: list[BoxStart] = []
    for entry in received:
        if isinstance(entry.message, Hello) and (
            not found or found[-1].boot_id not in (0, entry.message.boot_id)
        ):
            found.append(BoxStart(entry.message.boot_id))
        if not found:
            found.append(BoxStart(0))
        if isinstance(entry.message, Hello):
            found[-1].boot_id = entry.message.boot_id
        found[-1].received.append(entry)
    return found


def states_of(received: Sequence[TimedMessage]) -> list[tuple[str, int]]:
    """Each change of the clock's state: (state, virtual time of the report that first has it)."""
    found: list[tuple[str, int]] = []
    for entry in received:
        if isinstance(entry.message, GpsStatus):
            name = entry.message.state.name.lower()
            if not found or found[-1][0] != name:
                found.append((name, entry.t_ns))
    return found


def log_line(line: Log) -> tuple[str, int, int]:
    """(event, a, b): the part of a log line that does not depend on when it was written."""
    code = log_codes.CODES.get(line.code)
    return (code.event if code else f"code {line.code}", line.a, line.b)


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as saved in a folder."""

    folder: Path
    world: bytes
    received: tuple[TimedMessage, ...]
    link_counters: Mapping[str, int]
    report: Mapping[str, Any]
    flash: bytes


def read_saved_run(folder: Path) -> SavedRun:
    """Reads the world, log, report and flash of a run.

    Raises:
        SavedRunError: the folder holds no log of a run.
    """
    log = folder / "uart1.log"
    if not log.is_file():
        raise SavedRunError(
            f"{folder}: no uart1.log in it; give the folder of one run, e.g. hil-DATE/cold_start/run"
        )
    capture = read_log(log)

    def content(name: str) -> bytes:
        path = folder / name
        return path.read_bytes() if path.is_file() else b""

    report = json.loads(content("report.json") or b"{}")
    return SavedRun(
        folder, content("world.txt"), capture.received, capture.counters, report, content("flash.bin")
    )


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One line of the table."""

    what: str
    equal: bool
    text: str


def compare(a: SavedRun, b: SavedRun) -> tuple[ComparisonRow, ...]:
    """Compares two runs; one row for each thing that a run leaves."""
    rows = [
        ComparisonRow("world", a.world == b.world, "" if a.world == b.world else "not the same world file")
    ]
    starts = list(zip(starts_of(a.received), starts_of(b.received), strict=False))
    count = (len(starts_of(a.received)), len(starts_of(b.received)))
    if count[0] != count[1]:
        rows.append(ComparisonRow("starts", False, f"{count[0]} starts of the Box in A, {count[1]} in B"))
    rows += [_samples(starts), _stamps(starts), _states(a, b), _counters(a, b), _log(a, b), _flash(a, b)]
    return tuple(rows)


def _samples(starts: Sequence[tuple[BoxStart, BoxStart]]) -> ComparisonRow:
    both = differ = alone = 0
    first = ""
    for number, pair in enumerate(starts):
        a, b = (start.waveform() for start in pair)
        if a is None or b is None:
            alone += sum(int(have.have.sum()) for have in (a, b) if have is not None)
            continue
        begin = max(a.first_sample, b.first_sample)
        end = min(a.first_sample + len(a.counts), b.first_sample + len(b.counts))
        cut_a, cut_b = (slice(begin - w.first_sample, max(begin, end) - w.first_sample) for w in (a, b))
        have = a.have[cut_a] & b.have[cut_b]
        wrong = have & (a.counts[cut_a] != b.counts[cut_b])
        both += int(have.sum())
        differ += int(wrong.sum())
        alone += int(a.have.sum()) + int(b.have.sum()) - 2 * int(have.sum())
        if wrong.any() and not first:
            at = int(np.argmax(wrong))
            values = a.counts[cut_a][at], b.counts[cut_b][at]
            first = f", the first at {begin + at} of start {number}: {values[0]} in A, {values[1]} in B"
    text = f"{differ} of {both} differ{first}"
    if alone:
        text += f"; {alone} are in one run only"
    return ComparisonRow("samples", not differ and not alone, text)


def _stamps(starts: Sequence[tuple[BoxStart, BoxStart]]) -> ComparisonRow:
    found: list[tuple[int, int, int]] = []
    sources = 0
    for number, (a, b) in enumerate(starts):
        theirs = b.blocks
        for first, (_, block) in a.blocks.items():
            if first in theirs:
                other = theirs[first][1]
                found.append((other.t_ns - block.t_ns, number, first))
                sources += other.source is not block.source
    if not found:
        return ComparisonRow("stamps", False, "no block is in both runs")
    most_ns, number, first = max(found, key=lambda entry: abs(entry[0]))
    text = f"{len(found)} blocks, largest difference {abs(most_ns)} ns"
    if most_ns:
        usual_ns = int(np.median([float(late) for late, _, _ in found]))
        beside_ns = max(abs(late - usual_ns) for late, _, _ in found)
        text += f" at sample {first} of start {number}"
        if usual_ns:
            text += f"; {beside_ns} ns beside their median, {usual_ns} ns"
    if sources:
        text += f"; {sources} blocks name another source of time"
    return ComparisonRow("stamps", not most_ns and not sources, text)


def _states(a: SavedRun, b: SavedRun) -> ComparisonRow:
    ours, theirs = states_of(a.received), states_of(b.received)
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        lines = (
            " ".join(f"{name} {at / NS_PER_S:.3f} s" for name, at in states) for states in (ours, theirs)
        )
        return ComparisonRow("states", False, "; B: ".join(("A: " + next(lines), next(lines))))
    late = max((abs(at - other) for (_, at), (_, other) in zip(ours, theirs, strict=True)), default=0)
    names = " ".join(name for name, _ in ours) or "none"
    return ComparisonRow("states", late == 0, f"{names}; times differ by at most {late / 1e6:.3f} ms")


def _counters(a: SavedRun, b: SavedRun) -> ComparisonRow:
    ours, theirs = (dict(_counted(run)) for run in (a, b))
    shared = ours.keys() & theirs.keys()
    differ = [
        f"{name} {ours[name]} in A, {theirs[name]} in B"
        for name in sorted(shared)
        if ours[name] != theirs[name]
    ]
    more = f" and {len(differ) - LOG_LINES_NAMED} more" if len(differ) > LOG_LINES_NAMED else ""
    text = "; ".join(differ[:LOG_LINES_NAMED]) + more if differ else f"{len(shared)} equal"
    return ComparisonRow("counters", not differ, text)


def _counted(run: SavedRun) -> Iterator[tuple[str, Any]]:
    """Counters of the Box, the link and the emulator's models, without those that only one emulator has."""
    health = [entry.message for entry in run.received if isinstance(entry.message, Health)]
    if health:
        yield from ((f"box.{name}", getattr(health[-1], name)) for name in COMPARED_COUNTERS)
    yield from ((f"link.{name}", value) for name, value in run.link_counters.items())
    yield from _leaves("", run.report)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(f"{place}.{name}" if place else str(name), part)
    elif isinstance(value, int | float | str):
        yield place, value


def _log(a: SavedRun, b: SavedRun) -> ComparisonRow:
    ours, theirs = (
        [_words(entry.message) for entry in run.received if isinstance(entry.message, Log)] for run in (a, b)
    )
    differ = [
        f"only in {'A' if line[0] == '-' else 'B'}: {line[2:]}"
        for line in difflib.ndiff(ours, theirs)
        if line[0] in "-+"
    ]
    more = f" and {len(differ) - LOG_LINES_NAMED} more" if len(differ) > LOG_LINES_NAMED else ""
    text = "; ".join(differ[:LOG_LINES_NAMED]) + more if differ else f"{len(ours)} lines, the same"
    return ComparisonRow("log", not differ, text)


def _words(line: Log) -> str:
    event, a, b = log_line(line)
    return f"{event} {a} {b}"


def _flash(a: SavedRun, b: SavedRun) -> ComparisonRow:
    if not a.flash or not b.flash or len(a.flash) != len(b.flash):
        sizes = f"{len(a.flash)} bytes in A, {len(b.flash)} in B"
        return ComparisonRow("flash", len(a.flash) == len(b.flash), sizes)
    wrong = np.flatnonzero(np.frombuffer(a.flash, np.uint8) != np.frombuffer(b.flash, np.uint8))
    if not len(wrong):
        return ComparisonRow("flash", True, "every byte the same")
    begin, parts = 0, []
    for name, end in AREAS:
        count = int(np.count_nonzero((wrong >= begin) & (wrong < end)))
        if count:
            parts.append(f"{name} {count}")
        begin = end
    return ComparisonRow(
        "flash",
        False,
        f"{len(wrong)} bytes differ ({', '.join(parts)}), the first at 0x{0x08000000 + int(wrong[0]):08X}",
    )
