"""The golden vectors of link and features as MicroPython: statements to run, and what has to come of them.

The same statements run in MicroPython on this PC and on the Box at its prompt, so each is one line and short
enough for a Box's memory. What they print begins with # and the case's name.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cobs import cobs
from golden_signals import golden_signal

GOLDEN = Path(__file__).resolve().parents[2] / "proto" / "golden"
PRELUDE = "import gc; from opq import link, dsp; from binascii import a2b_base64 as b64"
README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = 200
"""Samples per push: a Box's own block."""


def dialogue() -> list[tuple[str, str]]:
    """The prompt's dialogue in device/README.md: each statement, and what is printed after it."""
    lines = re.findall(r"^    (>>> .*|'.*')$", README.read_text(encoding="utf-8"), re.MULTILINE)
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith(">>> "):
            found.append((line[4:], ""))
        else:
            found[-1] = (found[-1][0], line)
    return found


@dataclass
class Case:
    """One golden case: its statements, and the lines that were printed under its name."""

    name: str
    statements: list[str]
    judge: Callable[[list[list[str]]], None]
    printed: list[list[str]] = field(default_factory=list)


def facts(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def python_bytes(data: bytes) -> str:
    return f"b64('{base64.b64encode(data).decode()}')"


def cases() -> list[Case]:
    """Every case of cobs, crc32, link, stream and dsp."""
    found = [
        *(_signal(path) for path in sorted((GOLDEN / "dsp").glob("*.txt"))),  # first: memory is in one piece
        *(_codes(path) for topic in ("crc32", "cobs") for path in sorted((GOLDEN / topic).glob("*.txt"))),
        *(_frame(path) for path in sorted((GOLDEN / "link").glob("*.txt"))),
        *(_stream(path) for path in sorted((GOLDEN / "stream").glob("*.txt"))),
    ]
    assert len(found) > 60
    return found


def _prints(*wanted: str) -> Callable[[list[list[str]]], None]:
    def judge(printed: list[list[str]]) -> None:
        assert printed == [list(wanted)]

    return judge


def _codes(path: Path) -> Case:
    known = dict(facts(path))
    data = bytes.fromhex(known["hex"])
    name = f"{path.parent.name}/{path.stem}"
    if "crc32" in known:
        return Case(
            name, [f"print('#', '{name}', link.crc32({python_bytes(data)}))"], _prints(known["crc32"])
        )
    code = bytes.fromhex(known["cobs"])
    both = "link.cobs_encode(d) == c, link.cobs_decode(c) == d"
    return Case(
        name,
        [f"d = {python_bytes(data)}; c = {python_bytes(code)}; print('#', '{name}', {both})"],
        _prints("True", "True"),
    )


def _frame(path: Path) -> Case:
    known = dict(facts(path))
    frame = bytes.fromhex(known["frame"])
    name = f"link/{path.stem}"
    kind, sequence, payload = known["type"], known["sequence"], cobs.decode(frame[:-1])[3:-4]
    return Case(
        name,
        [
            f"d = {python_bytes(payload)}",
            f"f = {python_bytes(frame)}",
            f"print('#', '{name}', link.frame({kind}, {sequence}, d) == f, "
            f"link.decode(f)[0] == [({kind}, {sequence}, d)])",
        ],
        _prints("True", "True"),
    )


COUNTERS = ("crc_errors", "malformed", "oversize", "bytes_skipped", "sequence_gaps")


def _stream(path: Path) -> Case:
    rows = facts(path)
    data = bytes.fromhex(dict(rows)["bytes"])
    name = f"stream/{path.stem}"
    pieces = [data[at : at + 600] for at in range(0, len(data), 600)]
    good = [value.replace(" ", ",") for word, value in rows if word == "good"]
    counts = dict(value.split() for word, value in rows if word == "count")
    return Case(
        name,
        [
            "s = bytearray()",
            *(f"s += {python_bytes(piece)}" for piece in pieces),
            "r = link.decode(s)",
            f"print('#', '{name}', *('%d,%d' % f[:2] for f in r[0]), *r[1])",
        ],
        _prints(*good, *(counts[counter] for counter in COUNTERS)),
    )


def _signal(path: Path) -> Case:
    rows = facts(path)
    known = {word: value.split() for word, value in rows}
    signal = golden_signal(path)
    name = f"dsp/{path.stem}"
    config = (known["rate_hz"][0], known["nominal_hz"][0], known["nominal_v"][0], known["v_per_lsb"][0])
    return Case(
        name,
        [
            "f = s = r = d = None; gc.collect()",  # 12 KB in one piece: there is room for one
            f"f = dsp.Features({', '.join((*config, *known['limits_pu']))})",
            *_pushes(name, signal.counts.astype("<i2").tobytes(), signal.gap),
        ],
        lambda printed: _judge_signal(rows, known, signal.gap, printed),
    )


def _pushes(name: str, data: bytes, gap: tuple[int, int] | None) -> Iterator[str]:
    at, samples = 0, len(data) // 2
    statement = "w = f.measurement(); x = f.crossing()"
    statement += f"; w and print('#', '{name}', *w); x and print('#', '{name}', *x)"
    while at < samples:
        part = min(BLOCK, samples - at)
        if gap and at < gap[0]:
            part = min(part, gap[0] - at)
        first = at + (gap[1] if gap and at >= gap[0] else 0)
        yield f"f.push({python_bytes(data[2 * at : 2 * (at + part)])}, {first}, False); {statement}"
        at += part


def _judge_signal(
    rows: list[tuple[str, str]],
    known: Mapping[str, list[str]],
    gap: tuple[int, int] | None,
    printed: list[list[str]],
) -> None:
    """As golden_dsp.c: README of proto/golden has the rules."""
    windows = [list(map(float, row[:6])) for row in printed if len(row) == 9]
    crossings = [row for row in printed if len(row) == 5]
    begin, end = map(int, known["settled"])
    missing = gap[1] if gap else 0
    inside = [w for w in windows if w[0] >= begin and w[0] + w[1] <= end + missing]
    assert len(windows) == int(known["windows"][0]) if "windows" in known else len(windows) >= 2
    for key, value, tolerance in (row.split() for word, row in rows if word == "window"):
        column = ("rms_v", "f_hz", "thd", "trans_v").index(key) + 2
        off = [abs(window[column] - float(value)) for window in inside]
        # a transient is in one of the windows, the others hold less; `not <=` takes NaN as wrong
        assert (min(off) if key == "trans_v" else max(off)) <= float(tolerance), (key, off)
    wanted = [list(map(int, row.split())) for word, row in rows if word == "crossing"]
    assert len(crossings) == len(wanted), (crossings, wanted)
    for (sample, kind, entering, *_), (want_kind, want_entering, want_sample, tolerance) in zip(
        crossings, wanted, strict=True
    ):
        assert (int(kind), entering == "True") == (want_kind, want_entering == 1)
        assert abs(int(sample) - want_sample) <= tolerance


def collect(all_cases: list[Case], output: str) -> None:
    """Give each case its lines of the output."""
    by_name = {case.name: case for case in all_cases}
    for line in output.splitlines():
        mark, *words = line.split() or [""]
        if mark == "#" and words and words[0] in by_name:
            by_name[words[0]].printed.append(words[1:])
